"""The shear of a population together with parameters of its distributions, from the draws of its galaxies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats
from scipy.stats import qmc

from lanewise.engine import psis
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import cut_probability, ellipticity, mixture, weights
from lanewise.families.shear.population.cut_probability import Table
from lanewise.families.shear.population.nodes import Array, Nodes
from lanewise.families.shear.population_config import HYPER
from lanewise.families.shear.priors import Prior

# Points of a Student t around the mode, half of them the mirror images of the others: the same for all realizations,
# so that ±g share them.
_LOG2_POINTS, _DF = 9, 5.0
# The search ends when a step promises to gain less [nats]; curvatures below a share of those of the axes count as that.
_STEPS, _GAIN, _LEAST = 50, 1e-6, 1e-6
_COMPONENTS = ("g1", "g2")
# Points at which the probability of the cut is computed at a time.
_TOGETHER = 32


class Draws(NamedTuple):
    """What the galaxies have left, in float64.

    Attributes:
        e: sheared ellipticities, shape (galaxy, draw, 2).
        logs: logarithms of the quantities with a distribution of their own, shape (galaxy, draw, quantity).
        log_weight: against the interim posterior, shape (galaxy, draw).
        log_interim: log density of the interim priors that distributions replace, shape (galaxy, draw); less that of
            a catalogue, which has no free parameters.
        counts: whether a galaxy counts, shape (galaxy,); of the others everything is finite.
    """

    e: jax.Array
    logs: jax.Array
    log_weight: jax.Array
    log_interim: jax.Array
    counts: jax.Array


class Cut(NamedTuple):
    """Galaxies that are cut, of which only the number is known.

    Attributes:
        n: their number, float64.
        table: gives the probability of it.
    """

    n: jax.Array
    table: Table


@dataclass(frozen=True)
class Found:
    """The joint posterior.

    Attributes:
        draws: of each free component of the shear and each free parameter, shape (draw,).
        khat: Pareto shape of the weights that the draws come from.
        cut_error: of each, the error of its mean from that of the probability of the cut, in posterior standard
            deviations; empty without a cut.
        cut_size: effective number of galaxies behind that probability at the posterior mean; NaN without a cut.
    """

    draws: dict[str, Array]
    khat: float
    cut_error: Mapping[str, float]
    cut_size: float


def draws_of(config: ShearConfig, names: tuple[str, ...], latents: Array, log_weight: Array) -> Draws:
    """The draws in the form of `posterior`.

    Args:
        names: of the latents.
        latents: shape (galaxy, draw, latent); galaxies without a finite draw do not count.
        log_weight: shape (galaxy, draw).
    """
    assert config.population is not None
    counts = np.asarray(np.isfinite(latents).all(axis=(1, 2)) & np.isfinite(log_weight).any(axis=1))
    latents = np.where(counts[:, None, None], latents, 0.5).astype(np.float64)
    weight = np.where(counts[:, None], log_weight, 0.0).astype(np.float64)
    e = latents[..., [names.index(name) for name in _COMPONENTS]]
    e = np.where(np.sum(e**2, axis=-1, keepdims=True) < 1, e, 0.0)
    interim = -np.sum(e**2, axis=-1) / (2 * config.population.interim**2)
    logs = []
    for name, _ in config.population.distributions:
        values, prior = latents[..., names.index(name)], config.parameters[name]
        assert isinstance(prior, Prior)
        interim = interim + np.asarray(prior.distribution().log_prob(values))
        logs.append(np.log(values))
    catalogue = config.population.catalogue
    if catalogue is not None:
        values = latents[..., [names.index(name) for name in catalogue.names]]
        for at, name in enumerate(catalogue.names):
            prior = config.parameters[name]
            assert isinstance(prior, Prior)
            interim = interim + np.asarray(prior.distribution().log_prob(values[..., at]))
        interim = interim - np.asarray(mixture.log_density(jnp.asarray(values), catalogue))
    return Draws(
        jnp.asarray(e),
        jnp.asarray(np.stack(logs, axis=-1) if logs else np.empty((*e.shape[:2], 0))),
        jnp.asarray(weight),
        jnp.asarray(interim),
        jnp.asarray(counts),
    )


def log_normal(log_value: jax.Array, mean: float | jax.Array, sigma: float | jax.Array) -> jax.Array:
    """Log density of a LogNormal of this median and width at exp(log_value)."""
    z = (log_value - jnp.log(mean)) / sigma
    return -(z**2) / 2 - jnp.log(sigma) - log_value - jnp.log(2 * jnp.pi) / 2


def cut_of(config: ShearConfig, n: int) -> Cut | None:
    """The galaxies that are cut, as `posterior` needs them; None if the likelihood does not hold them."""
    there = config.population.selection if config.population else None
    if there is None or not there.in_likelihood or not n:
        return None
    return Cut(jnp.asarray(float(n)), cut_probability.table(config, Nodes.of(config)))


def posterior(
    config: ShearConfig,
    draws: Draws,
    start: Mapping[str, float],
    n: int,
    cut: Cut | None = None,
) -> Found:
    """The joint posterior of the shear and the free parameters.

    Its mode is found, and points of a Student t around it get weights. The likelihood is that of the draws, corrected
    for their number as with known distributions, and that of the number of galaxies that are cut.

    Args:
        start: shear at which the search begins.
        n: number of draws.

    Raises:
        ValueError: there is no mode: the density has no finite curvature.
    """
    assert config.population is not None
    program, names = _program(config), free_names(config)
    known = {name: np.log(config.population.known(name)) for name, _ in config.population.free}
    mode, covariance = _mode(program, (draws, cut), np.array([{**start, **known}[name] for name in names]))
    root = np.linalg.cholesky(covariance)
    steps, log_proposal = _points(len(names))
    points = mode + steps @ root.T
    log_ratio = np.asarray(program.at_points(jnp.asarray(points), (draws, None))) - log_proposal
    missed = None if cut is None else np.asarray(program.missed(jnp.asarray(points), cut))
    if missed is not None:
        log_ratio += missed[:, -1]
    log_ratio = np.where(np.isfinite(log_ratio), log_ratio, -np.inf)
    share, khat = psis.smooth(log_ratio)
    mean = share @ points
    wanted = np.linalg.cholesky((points - mean).T @ ((points - mean) * share[:, None]))
    # The draws get the mean and covariance of the weighted points, which have no scatter of a choice.
    chosen = points[np.searchsorted(np.cumsum(share), (np.arange(n) + 0.5) / n * share.sum())]
    own = np.linalg.cholesky(np.cov(chosen.T, ddof=0).reshape(len(names), -1))
    matched = mean + np.linalg.solve(own, (chosen - chosen.mean(axis=0)).T).T @ wanted.T
    found = {name: matched[:, at] if name in _COMPONENTS else np.exp(matched[:, at]) for at, name in enumerate(names)}
    if missed is None or cut is None:
        return Found(found, float(khat), {}, float("nan"))
    error = _moved(points, share, missed) / np.sqrt(np.diag(wanted @ wanted.T))
    middle = dict(zip(names, mean, strict=True))
    size = cut_probability.effective(
        config, cut.table, {name: np.exp(middle[name]) for name, _ in config.population.free}
    )
    return Found(found, float(khat), dict(zip(names, error.tolist(), strict=True)), size)


def _moved(points: Array, share: Array, missed: Array) -> Array:
    """Standard error of the posterior mean, from the scatter between sets of galaxies behind the cut's probability.

    Args:
        share: weights of the points, shape (point,).
        missed: log likelihood of the cut at them by each set, and by all, shape (point, set + 1).
    """
    change = missed[:, :-1] - missed[:, -1:]
    by_set = share[:, None] * np.exp(change - change.max(axis=0))
    means = (by_set / by_set.sum(axis=0)).T @ points
    found: Array = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    return found


def free_names(config: ShearConfig) -> tuple[str, ...]:
    """The components of the shear that are inferred, then the free parameters."""
    assert config.population is not None
    return (*(name for name in _COMPONENTS if name in config.latents), *(name for name, _ in config.population.free))


_Data = tuple[Draws, Cut | None]


class _Program(NamedTuple):
    """Functions of a position (shear, logarithms of the free parameters) and data, or of many positions.

    `missed` is the log likelihood of the cut alone, as of `cut_probability.log_missed`.
    """

    value: Callable[[jax.Array, _Data], jax.Array]
    slopes: Callable[[jax.Array, _Data], tuple[jax.Array, jax.Array]]
    at_points: Callable[[jax.Array, _Data], jax.Array]
    missed: Callable[[jax.Array, Cut], jax.Array]


@functools.lru_cache(maxsize=8)
def _program(config: ShearConfig) -> _Program:
    population, names = config.population, free_names(config)
    assert population is not None
    nodes = Nodes.of(config)
    priors = {**config.latents, **dict(population.free)}

    def named(position: jax.Array) -> tuple[dict[str, jax.Array], jax.Array, dict[str, jax.Array]]:
        p = dict(zip(names, position, strict=True))
        g = jnp.stack([jnp.asarray(p.get(name, config.fixed.get(name, 0.0))) for name in _COMPONENTS])
        return p, g, {name: jnp.exp(p[name]) for name, _ in population.free}

    def of_cut(position: jax.Array, cut: Cut) -> jax.Array:
        _, g, hyper = named(position)
        return cut.n * cut_probability.log_missed(config, nodes, cut.table, g, hyper)

    def value(position: jax.Array, data: _Data) -> jax.Array:
        draws, cut = data
        p, g, hyper = named(position)

        def parameter(quantity: str, field: str) -> jax.Array | float:
            name = next(one for one, where in HYPER.items() if where == (quantity, field))
            return hyper.get(name, population.known(name))

        sigma = parameter("ellipticity", "sigma")
        ratio = ellipticity.log_density(draws.e, g, population.ellipticity, sigma, population.table)
        ratio -= draws.log_interim
        for at, (quantity, _) in enumerate(population.distributions):
            ratio += log_normal(draws.logs[..., at], parameter(quantity, "mean"), parameter(quantity, "sigma"))
        each = jax.vmap(weights.log_likelihood)(ratio[..., None], draws.log_weight)[:, 0]
        found = jnp.sum(jnp.where(draws.counts, each, 0.0))
        for name, prior in priors.items():
            if name in _COMPONENTS:
                found += prior.distribution().log_prob(p[name])
            else:
                found += prior.distribution().log_prob(jnp.exp(p[name])) + p[name]
        return found if cut is None else found + of_cut(position, cut)[-1]

    def slopes(position: jax.Array, data: _Data) -> tuple[jax.Array, jax.Array]:
        return jax.grad(value)(position, data), jax.hessian(value)(position, data)

    def at_points(points: jax.Array, data: _Data) -> jax.Array:
        found: jax.Array = jax.lax.map(lambda one: value(one, data), points)
        return found

    def missed(points: jax.Array, cut: Cut) -> jax.Array:
        found: jax.Array = jax.lax.map(lambda one: of_cut(one, cut), points, batch_size=_TOGETHER)
        return found

    return _Program(jax.jit(value), jax.jit(slopes), jax.jit(at_points), jax.jit(missed))


def _mode(program: _Program, data: _Data, position: Array) -> tuple[Array, Array]:
    """The mode, by Newton steps that are halved until the density grows, and the inverse of its curvature."""
    here = float(program.value(jnp.asarray(position), data))
    for _ in range(_STEPS):
        gradient, hessian = (np.asarray(one, np.float64) for one in program.slopes(jnp.asarray(position), data))
        if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            raise ValueError("the density of the shear and the free parameters is not finite")
        scale = np.sqrt(np.abs(np.diag(hessian)))
        values, axes = np.linalg.eigh(-hessian / np.outer(scale, scale))
        covariance = axes @ np.diag(1 / np.maximum(np.abs(values), _LEAST)) @ axes.T / np.outer(scale, scale)
        step = covariance @ gradient
        # The gain that a parabola promises [nats].
        if gradient @ step < _GAIN:
            break
        for _ in range(_STEPS):
            there = float(program.value(jnp.asarray(position + step), data))
            if there > here:
                break
            step = step / 2
        else:
            break
        position, here = position + step, there
    return position, covariance


@functools.lru_cache(maxsize=8)
def _points(n: int) -> tuple[Array, Array]:
    """Points of a multivariate Student t, shape (point, n), and their log density up to a constant."""
    shares = qmc.Sobol(n + 1, seed=1).random_base2(_LOG2_POINTS)
    shares = np.clip(shares, 1e-9, 1 - 1e-9)
    normal = stats.norm.ppf(shares[:, :n]) / np.sqrt(stats.chi2.ppf(shares[:, n:], _DF) / _DF)
    points = np.concatenate([normal, -normal])
    log_density: Array = -(_DF + n) / 2 * np.log1p(np.sum(points**2, axis=1) / _DF)
    return points, log_density

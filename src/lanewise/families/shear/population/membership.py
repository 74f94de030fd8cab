"""A galaxy on its lane leaves its log likelihood at the nodes; the realization's posterior comes from their sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from lanewise.engine.results import Diagnostics, Result
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import ellipticity, ensemble, free, mixture, selection, weights
from lanewise.families.shear.population.nodes import Array, Nodes
from lanewise.families.shear.population_config import Population
from lanewise.families.shear.priors import Prior
from lanewise.manifest.problem import Data, Members, Membership, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.statistics.numbers import percent

COMPONENTS = ("g1", "g2")
# The group of a result's own arrays.
GROUP = "population"
_DRAWS = 1000
# As of a galaxy's weights.
_KHAT_MAX = 0.7
# Largest error from the probability of the cut [posterior standard deviations].
_CUT_ERROR_MAX = 0.1


def membership(config: ShearConfig) -> Membership[ShearConfig, Result]:
    """How a population of this config ends."""
    assert config.population is not None
    population, nodes, n_draws = config.population, Nodes.of(config), config.inference.importance.samples
    interims = tuple(prior for name in population.replaced if isinstance(prior := config.parameters[name], Prior))

    def reduce(
        problem: Problem, records: Mapping[str, jax.Array], whole: Mapping[str, jax.Array], data: Data
    ) -> Mapping[str, jax.Array]:
        # Importance keeps the first draws of its rounds.
        latents = jax.vmap(problem.constrain)(records["position"][:n_draws])
        return reduced(population, nodes, problem.names, latents, records["log_weight"][:n_draws], interims)

    return Membership(combine, reduce)


def reduced(
    population: Population,
    nodes: Nodes,
    names: tuple[str, ...],
    latents: jax.Array,
    log_weights: jax.Array,
    interims: tuple[Prior, ...] = (),
) -> dict[str, jax.Array]:
    """What a galaxy leaves.

    Args:
        names: of the latents; g1 and g2 are the galaxy's sheared ellipticity.
        latents: independent draws, shape (draw, latent).
        log_weights: of the draws against the interim posterior, shape (draw,).
        interims: the interim priors of `population.replaced`.

    Returns:
        `ln_l`, the log likelihood at the nodes up to a constant; `half`, what half of the draws would add to it, as
        coefficients of `_powers`; `size`, the effective number of draws, at the node where it is smallest; `khat` of
        the weights; with `keep: draws` also `draws`, shape (draw, latent), and `log_weight`, smoothed.
    """
    smoothed, khat = weights.smooth(log_weights)
    # A draw outside the disc has no weight; a valid one in its place keeps NaN away.
    e = latents[:, jnp.array([names.index(name) for name in COMPONENTS])]
    e = jnp.where(jnp.sum(e**2, axis=1, keepdims=True) < 1, e, 0.0)
    interim = -jnp.sum(e**2, axis=1) / (2 * population.interim**2)
    n_own = len(population.distributions)
    for (name, distribution), prior in zip(population.distributions, interims[:n_own], strict=True):
        values = latents[:, names.index(name)]
        interim += prior.distribution().log_prob(values) - distribution.distribution().log_prob(values)
    if population.catalogue is not None:
        values = latents[:, jnp.array([names.index(name) for name in population.catalogue.names])]
        for at, prior in enumerate(interims[n_own:]):
            interim += prior.distribution().log_prob(values[:, at])
        interim -= mixture.log_density(values, population.catalogue)
    shears = jnp.asarray(nodes.points, e.dtype)
    intrinsic = population.ellipticity, population.sigma, population.table
    ratio = ellipticity.log_density(e[:, None], shears, *intrinsic) - interim[:, None]
    value, n = weights.log_likelihood(ratio, smoothed), len(smoothed)
    halves = [weights.log_likelihood(ratio[part], smoothed[part]) for part in (slice(n // 2), slice(n // 2, n))]
    found = {
        "ln_l": value.reshape(nodes.shape),
        "half": (jnp.asarray(np.linalg.pinv(_powers(nodes)), e.dtype) @ (sum(halves) / 2 - value))[1:],
        "size": 1 / jnp.max(jnp.sum(jax.nn.softmax(ratio + smoothed[:, None], axis=0) ** 2, axis=0)),
        "khat": khat,
    }
    found |= {name: found[name].astype(jnp.float32) for name in ("half", "size", "khat")}
    if population.keeps_draws:
        found |= {"draws": latents.astype(jnp.float32), "log_weight": smoothed.astype(jnp.float32)}
    return found


def combine(config: ShearConfig, blank: Result, members: Members) -> Result:
    """The posterior of the shear that the galaxies share.

    Galaxies that are cut count by the probability of it. Galaxies with doubtful weights count: to leave them out would
    be a selection by their data. FAILED or NOT_CONVERGED if too many are doubtful or have failed; NOT_CONVERGED if the
    posterior reaches beyond the nodes.
    """
    assert config.population is not None
    nodes, cut = Nodes.of(config), config.population.selection
    if "ln_l" not in members.record:
        told = [reason for reason, _ in Counter(members.reasons.values()).most_common(1)]
        told = told or [f"None passes population.selection; lower {' or '.join(cut.limits if cut else ())}."]
        return replace(blank, status=LaneStatus.FAILED, reason=f"No galaxy could be used. {told[0]}")
    values = members.record["ln_l"][:, 0].astype(np.float64)
    usable = np.isfinite(values).all(axis=(1, 2))
    values[~usable] = np.nan
    missed = was_cut(members)
    n = int(np.sum(~missed))
    if cut is not None and cut.in_likelihood and missed.any():
        values[missed] = selection.log_missed(config, nodes)
    total = np.nansum(values, axis=0)
    found = ensemble.posterior(total, nodes, log_prior(config))
    half = np.nansum(members.record["half"][usable, 0].astype(np.float64), axis=0)
    halved = (_powers(nodes)[:, 1:] @ half).reshape(nodes.shape)
    draws, inferred = found.draws(_DRAWS), [name for name in COMPONENTS if config.fixed.get(name) is None]
    blocks, expansion = ensemble.blocks(values), ensemble.expansion(total, nodes)
    summary = {
        "without_block": ensemble.jackknife(found, nodes, blocks),
        "from_half": found.mean(nodes.at(halved, found.grid)),
        "expansion": expansion.value,
        "expansion_std": expansion.std,
        "expansion_without_block": ensemble.expansion(total - blocks, nodes).value,
        "expansion_from_half": ensemble.expansion(total + halved, nodes).value,
        "smallest_size": np.nanmin(members.record["size"], keepdims=True).ravel(),
        "n_usable": np.array([int(usable.sum())]),
        "n_selected": np.array([n]),
    }
    if config.population.free:
        known = ensemble.posterior(total, nodes, lambda g: np.zeros(g.shape[:-1]))
        summary |= {"known_mean": known.mean(), "known_std": np.sqrt(np.diag(known.covariance))}
    result = replace(
        blank,
        posterior={name: draws[None, :, COMPONENTS.index(name)] for name in inferred},
        diagnostics=Diagnostics(khat=_largest(members.record["khat"])),
        groups={GROUP: summary},
    )
    failed, lost = int(np.sum(members.status != LaneStatus.OK)), n - int(usable.sum())
    if failed > config.population.max_failed_frac * n:
        (first, _), *_ = Counter(members.reasons.values()).most_common(1)
        status = LaneStatus.FAILED if lost > config.population.max_failed_frac * n else LaneStatus.NOT_CONVERGED
        reason = f"{failed} of {n} galaxies have failed or have doubtful weights, the limit is "
        reason += f"{percent(config.population.max_failed_frac)} (population.max_failed_frac). Most often: {first}"
        return replace(result, status=status, reason=reason)
    if config.population.free:
        result = _joined(config, result, found, members)
    if found.cut:
        text = f"Not converged: the posterior of {' and '.join(found.cut)} reaches beyond ± "
        text += f"{config.population.half_width:g}; raise population.half_width."
        return replace(result, status=LaneStatus.NOT_CONVERGED, reason=text)
    return result


def _joined(config: ShearConfig, result: Result, known: ensemble.Posterior, members: Members) -> Result:
    """The result with the joint posterior of the shear and the free parameters in place of that for known ones.

    NOT_CONVERGED if its weights are doubtful, or if there is no mode.
    """
    kept = (members.record[name][:, 0] for name in ("draws", "log_weight"))
    draws = free.draws_of(config, tuple(config.one_galaxy.latents), *kept)
    cut = free.cut_of(config, int(np.sum(was_cut(members))))
    mean = known.mean()
    try:
        found = free.posterior(config, draws, dict(zip(COMPONENTS, mean, strict=True)), _DRAWS, cut)
    except (ValueError, np.linalg.LinAlgError) as error:
        reason = f"Not converged: no posterior of the free parameters. {error}; give tighter priors in population.free."
        return replace(result, status=LaneStatus.NOT_CONVERGED, reason=reason)
    posterior = {name: values[None] for name, values in found.draws.items()}
    summary = dict(result.groups[GROUP])
    # Half of the draws were tried with known parameters: the change is taken over.
    moved = [posterior[name].mean() - mean[at] if name in posterior else 0.0 for at, name in enumerate(COMPONENTS)]
    summary |= {"from_half": summary["from_half"] + np.array(moved), "khat_free": np.array([found.khat])}
    if found.cut_error:
        summary |= {"cut_error": np.array([*found.cut_error.values()]), "cut_size": np.array([found.cut_size])}
    result = replace(result, posterior=posterior, groups={GROUP: summary})
    if not found.khat < _KHAT_MAX:
        reason = f"Not converged: k̂ of the weights of the free parameters is {found.khat:.2f}; give tighter priors in "
        reason += "population.free, or more galaxies."
        return replace(result, status=LaneStatus.NOT_CONVERGED, reason=reason)
    worst = max(found.cut_error, key=lambda name: found.cut_error[name], default=None)
    if worst is not None and not found.cut_error[worst] < _CUT_ERROR_MAX:
        told = f"{found.cut_error[worst]:.2f} standard deviations of {worst}, from {found.cut_size:.0f} galaxies"
        reason = f"Not converged: the error of the cut's probability is {told}; give tighter population.free priors."
        return replace(result, status=LaneStatus.NOT_CONVERGED, reason=reason)
    return result


def was_cut(members: Members) -> NDArray[np.bool_]:
    """Which galaxies did not pass the cut, shape (member,): they are OK, and no lane has left k̂."""
    found: NDArray[np.bool_] = (members.status == LaneStatus.OK) & np.isnan(members.record["khat"][:, 0])
    return found


def log_prior(config: ShearConfig) -> ensemble.LogPrior:
    """The log prior density of the shear that the galaxies share."""
    priors = {COMPONENTS.index(name): prior.distribution() for name, prior in config.latents.items()}

    def of(g: Array) -> Array:
        found = np.zeros(g.shape[:-1])
        for at, prior in priors.items():
            found += np.asarray(prior.log_prob(g[..., at]), np.float64)
        return found

    return of


def _powers(nodes: Nodes) -> Array:
    """1, g1, g2, g1², g1 g2, g2² at the nodes, shape (node, 6), in units of the range; 0 for a known component."""
    g1, g2 = (
        points / axis.half_width if axis.known is None else 0 * points
        for axis, points in zip(nodes.axes, nodes.points.T, strict=True)
    )
    return np.stack([np.ones_like(g1), g1, g2, g1**2, g1 * g2, g2**2], axis=-1)


def _largest(khat: np.ndarray) -> float | None:
    known = khat[np.isfinite(khat)]
    return float(known.max()) if known.size else None

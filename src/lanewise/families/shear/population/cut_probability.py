"""The probability of a cut under every shear, as a smooth function of the free parameters of a population.

Galaxies of a wide population are rendered once per campaign. For other parameters they get weights, and fluxes are on
a grid, so that the probability has derivatives without a scatter of its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import ellipticity, selection
from lanewise.families.shear.population.nodes import Array, Axis, Nodes
from lanewise.families.shear.population_config import HYPER, Population
from lanewise.families.shear.priors import Prior

# Independent sets of galaxies, whose scatter is the error, and galaxies of each, in eight orientations.
N_SETS, _LOG2_GALAXIES = 4, 9
# Fluxes of the grid, and how far it reaches beyond likely medians, in widths of the widest likely distribution.
_N_FLUXES, _REACH = 128, 3.5
# Standard deviations of the priors that count as likely.
_LIKELY = 2.0

Hyper = Mapping[str, float | jax.Array]


class Table(NamedTuple):
    """Galaxies of the wide population and how often noise cuts them.

    Attributes:
        square: |e|² before the shear, shape (set, galaxy).
        log_size: logarithm of the half-light radius, shape (set, galaxy); 0 if it is not free.
        log_weight: of each galaxy in the wide population, shape (set, galaxy).
        log_flux: of each set's grid, shape (set, flux); a single 0 if no parameter of the flux is free.
        missed: probability to be cut, the mean over orientations, shape (set, galaxy, flux, node).
    """

    square: jax.Array
    log_size: jax.Array
    log_weight: jax.Array
    log_flux: jax.Array
    missed: jax.Array


@functools.lru_cache(maxsize=4)
def table(config: ShearConfig, nodes: Nodes) -> Table:
    """The table of a config with `population.selection` and `population.free`."""
    assert config.population is not None
    wide = replace(config, population=widened(config.population))
    sets = [_of_set(wide, nodes, number, _fluxes(config.population, number)) for number in range(N_SETS)]
    return Table(*(jnp.asarray(np.stack(parts)) for parts in zip(*sets, strict=True)))


def widened(population: Population) -> Population:
    """The population whose ellipticities and sizes cover those of all likely values of the free parameters."""
    free = dict(population.free)
    sigma = _high(free["ellipticity_sigma"]) if "ellipticity_sigma" in free else population.sigma
    distributions = dict(population.distributions)
    if _is_free(population, "half_light_radius"):
        median, spread, high = _range(population, "half_light_radius")
        distributions["half_light_radius"] = Prior("LogNormal", (median, math.hypot(spread, high)))
    return replace(population, sigma=sigma, distributions=tuple(distributions.items()))


def log_missed(config: ShearConfig, nodes: Nodes, table: Table, g: jax.Array, hyper: Hyper) -> jax.Array:
    """ln (1 − P): the log probability of a galaxy to be cut, from each set of galaxies and from all, shape (set + 1,).

    Args:
        g: reduced shear, shape (2,).
        hyper: values of the free parameters.
    """
    weight, share = weights(config, table, hyper), _flux_shares(config, table, hyper)
    each = jnp.einsum("sj,sjn->sn", weight, jnp.einsum("sf,sjfn->sjn", share, table.missed))
    whole = weight.sum(axis=1)
    found = jnp.concatenate([each / whole[:, None], each.sum(axis=0, keepdims=True) / whole.sum()])
    at_nodes = jnp.log(jnp.maximum(found, np.finfo(np.float64).tiny)).reshape(-1, *nodes.shape)
    first, second = (_basis(axis, one) for axis, one in zip(nodes.axes, g, strict=True))
    return jnp.einsum("a,sab,b->s", first, at_nodes, second)


def weights(config: ShearConfig, table: Table, hyper: Hyper) -> jax.Array:
    """Weights of the galaxies for these values, up to a factor, shape (set, galaxy)."""
    population = config.population
    assert population is not None
    wide, found = widened(population), table.log_weight
    if "ellipticity_sigma" in hyper:
        for sigma, sign in ((hyper["ellipticity_sigma"], 1), (wide.sigma, -1)):
            density = -table.square / (2 * sigma**2) - ellipticity.log_norm(population.ellipticity, sigma)
            found = found + sign * density
    if _is_free(population, "half_light_radius"):
        mean, sigma = _values(population, "half_light_radius", hyper)
        fields = dict(wide.distributions)["half_light_radius"].fields
        z, wide_z = (
            (table.log_size - jnp.log(one)) / width for one, width in ((mean, sigma), (fields["mean"], fields["sigma"]))
        )
        found = found + (wide_z**2 - z**2) / 2 - jnp.log(sigma / fields["sigma"])
    return jnp.exp(found - jax.lax.stop_gradient(jnp.max(found)))


def effective(config: ShearConfig, table: Table, hyper: Hyper) -> float:
    """Effective number of galaxies that the probability for these values comes from."""
    weight = np.asarray(weights(config, table, hyper)).ravel()
    return float(weight.sum() ** 2 / np.sum(weight**2))


def _basis(axis: Axis, g: jax.Array) -> jax.Array:
    """As `Axis.basis`, at one shear, shape (node,)."""
    if axis.known is not None:
        return jnp.ones(1)
    powers = [jnp.ones(()), g / axis.half_width]
    while len(powers) < len(axis.points):
        powers.append(2 * powers[1] * powers[-1] - powers[-2])
    to_coefficients = np.linalg.inv(chebyshev.chebvander(axis.points / axis.half_width, len(axis.points) - 1))
    return jnp.stack(powers) @ to_coefficients


def _flux_shares(config: ShearConfig, table: Table, hyper: Hyper) -> jax.Array:
    """Weights of the fluxes of each grid, of sum 1, shape (set, flux): the density by an even quadrature."""
    assert config.population is not None
    if not _is_free(config.population, "flux"):
        return jnp.ones_like(table.log_flux)
    mean, sigma = _values(config.population, "flux", hyper)
    return jax.nn.softmax(-(((table.log_flux - jnp.log(mean)) / sigma) ** 2) / 2, axis=1)


def _of_set(wide: ShearConfig, nodes: Nodes, number: int, log_flux: Array) -> tuple[Array, ...]:
    """A set's part of each array; with a known distribution of the flux `missed` is the mean over it."""
    assert wide.population is not None
    drawn = selection.galaxies(wide, _LOG2_GALAXIES, selection.SEED + number)
    response, cuts = selection.responses(wide, drawn.shapes, drawn.others, nodes.points), selection.cuts(wide)
    is_free = _is_free(wide.population, "flux")
    fluxes = np.exp(log_flux) if is_free else selection.fluxes(wide)
    found = []
    for one in response:  # of each node, which is what fits into memory
        missed = selection.missed(cuts, one[..., None] * fluxes / selection.noise(wide))
        turned = missed.reshape(-1, selection.TURNS, len(fluxes)).mean(axis=1)
        found.append(turned if is_free else turned.mean(axis=1, keepdims=True))
    first = slice(None, None, selection.TURNS)
    square = np.sum(drawn.shapes[first] ** 2, axis=1)
    with np.errstate(divide="ignore"):
        log_weight = np.log(drawn.weights[first])
    sizes = drawn.others.get("half_light_radius")
    is_sized = sizes is not None and _is_free(wide.population, "half_light_radius")
    log_size = np.log(sizes[first]) if is_sized and sizes is not None else np.zeros(len(square))
    return square, log_size, log_weight, log_flux, np.stack(found, axis=-1)


def _fluxes(population: Population, number: int) -> Array:
    """Logarithms of the fluxes of a set's grid, which lie between those of other sets; 0 if the flux is not free.

    A bright limit is a step between fluxes: the sets' scatter holds what the grid's steps do to it.
    """
    if not _is_free(population, "flux"):
        return np.zeros(1)
    median, spread, high = _range(population, "flux")
    reach = _LIKELY * spread + _REACH * high
    return math.log(median) + reach * (2 * (np.arange(_N_FLUXES) + (number + 0.5) / N_SETS) / _N_FLUXES - 1)


def _range(population: Population, quantity: str) -> tuple[float, float, float]:
    """Median, spread of the logarithm of likely medians, and largest likely width of a LogNormal."""
    free, known = dict(population.free), dict(population.distributions)[quantity].fields
    mean, sigma = (free.get(f"{quantity}_{field}") for field in ("mean", "sigma"))
    median, spread = (mean.fields["mean"], mean.fields["sigma"]) if mean else (known["mean"], 0.0)
    return median, spread, _high(sigma) if sigma else known["sigma"]


def _high(prior: Prior) -> float:
    """The largest likely value of a LogNormal."""
    return prior.fields["mean"] * math.exp(_LIKELY * prior.fields["sigma"])


def _is_free(population: Population, quantity: str) -> bool:
    return any(HYPER[name][0] == quantity for name, _ in population.free)


def _values(population: Population, quantity: str, hyper: Hyper) -> tuple[float | jax.Array, float | jax.Array]:
    """Mean and sigma of a LogNormal: free values, or known ones."""
    names = (f"{quantity}_mean", f"{quantity}_sigma")
    mean, sigma = (hyper[name] if name in hyper else population.known(name) for name in names)
    return mean, sigma

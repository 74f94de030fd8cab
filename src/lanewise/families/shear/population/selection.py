"""A cut on the S/N or the size of galaxies: who passes it, and how probable it is to be cut under each shear.

Both are measured in filters that are the same for all galaxies: linear in the image, so that their noise is Gaussian
and their signals proportional to the flux. Both are averaged over without random numbers.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special
from scipy.stats import qmc

from lanewise.families.shear import image_simulator, truth_draws
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.grid import GridRenderer
from lanewise.families.shear.model.render import choose_grid, in_precision
from lanewise.families.shear.population import ellipticity
from lanewise.families.shear.population.nodes import Array, Nodes
from lanewise.families.shear.population_config import SHAPE, drawn_from
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.simulation_config import Simulation
from lanewise.statistics.bivariate import both_above

# Galaxies of the average, each in eight orientations. In configs/selection.yaml eight times as many, and four times as
# many fluxes, change what a shear does to ln (1 − P) by .2 %.
_LOG2_GALAXIES, TURNS, _N_FLUXES = 8, 8, 256
SEED = 1
# Relative step of the size at which templates are compared.
_STEP = 1e-3


class Drawn(NamedTuple):
    """Galaxies that are spread evenly over a population, each in `TURNS` orientations, which follow one another.

    Attributes:
        shapes: intrinsic ellipticities, shape (galaxy, 2).
        others: values of the other parameters but the flux, by name, shape (galaxy,).
        weights: of sum 1, shape (galaxy,).
    """

    shapes: Array
    others: dict[str, Array]
    weights: Array


class Cut(NamedTuple):
    """A filter, shape (ny, nx), norm 1, and the smallest signal in it that passes, in units of its noise."""

    weights: Array
    limit: float


@functools.lru_cache(maxsize=8)
def cuts(config: ShearConfig) -> tuple[Cut, ...]:
    """One for each limit of `population.selection`.

    The S/N is that in the template, the image of the typical galaxy. A galaxy is larger than a size if a larger
    template fits it better than that of this size: the derivative of the normalised template by the size is a filter
    in which a galaxy of this size has no signal, and a larger one a positive signal.
    """
    assert config.population is not None
    assert config.population.selection is not None
    there, found = config.population.selection, []
    if there.snr_min is not None:
        found.append(Cut(template(config), there.snr_min))
    if there.size_min is not None:
        smaller, larger = (template(config, there.size_min * (1 + step)) for step in (-_STEP, _STEP))
        found.append(Cut((larger - smaller) / np.linalg.norm(larger - smaller), 0.0))
    return tuple(found)


@functools.lru_cache(maxsize=8)
def template(config: ShearConfig, size: float | None = None) -> Array:
    """The image of the model's typical galaxy, round, in the middle of the stamp; shape (ny, nx), norm 1.

    Typical are the fixed values and the centres of the priors.

    Args:
        size: half-light radius [arcsec], in place of the typical one.
    """
    model = replace(config, simulation=Simulation())
    truth = {**model.central(model.galaxy), **dict.fromkeys(SHAPE, 0.0)}
    image = image_simulator.drawn(model, truth if size is None else {**truth, "half_light_radius": size})
    found: Array = image / np.linalg.norm(image)
    return found


def passes(config: ShearConfig, image: np.ndarray) -> bool:
    """Whether an image passes all cuts."""
    return all(float(np.vdot(cut.weights, image)) / noise(config) >= cut.limit for cut in cuts(config))


@functools.lru_cache(maxsize=8)
def log_missed(config: ShearConfig, nodes: Nodes) -> Array:
    """ln (1 − P(g)) at the nodes, P being the probability of a galaxy of the population to pass the cut.

    The population is that of the model: its distributions, and the priors in `gal` of everything else. All nodes have
    the same galaxies.

    Returns:
        Shape `nodes.shape`.

    Source:
        Bernstein et al. 2016 (arXiv:1508.05655), eq. 15: the term of galaxies that are not selected.
    """
    assert config.population is not None
    assert config.population.selection is not None
    there = galaxies(config, _LOG2_GALAXIES, SEED)
    response = responses(config, there.shapes, there.others, nodes.points)
    flux = fluxes(config)
    cut = [missed(cuts(config), one[..., None] * flux / noise(config)).mean(axis=1) for one in response]
    # No galaxy of such a population is ever cut; the logarithm stays finite.
    found = np.maximum(np.array(cut) @ there.weights, np.finfo(np.float64).tiny)
    return np.log(found).reshape(nodes.shape)


def fluxes(config: ShearConfig) -> Array:
    """Fluxes that are spread evenly over the population, shape (flux,)."""
    assert config.population is not None
    flux = drawn_from(config.population, config.galaxy, config.galaxy)["flux"]
    shares = (np.arange(_N_FLUXES) + 0.5) / _N_FLUXES
    return np.array([flux.quantile(share) for share in shares] if isinstance(flux, Prior) else [flux])


def missed(cuts: tuple[Cut, ...], signals: Array) -> Array:
    """Probability not to pass all cuts, for signals in units of the noise, shape (cut, …) → (…)."""
    first, *rest = (cut.limit - signal for cut, signal in zip(cuts, signals, strict=True))
    if not rest:
        return np.asarray(special.ndtr(first))
    return 1 - both_above(first, rest[0], float(np.vdot(cuts[0].weights, cuts[1].weights)))


def noise(config: ShearConfig) -> float:
    """Standard deviation of the noise of a pixel, and of the signal in a filter."""
    assert config.image.noise.sigma is not None
    return config.image.noise.sigma


def galaxies(config: ShearConfig, log2_galaxies: int, seed: int) -> Drawn:
    """Galaxies of the population, 2 to this power, of one of several even spreads."""
    assert config.population is not None
    population = config.population
    there = drawn_from(config.population, config.galaxy, config.galaxy)
    free = {name: p for name, p in there.items() if isinstance(p, Prior) and name != "flux"}
    centres = config.galaxy.centres
    points = qmc.Sobol(2 + len(free), seed=seed).random_base2(log2_galaxies)
    points = np.clip(points, 1e-9, 1 - 1e-9)
    squares, shares = ellipticity.spread(population.ellipticity, population.sigma, points[:, 0], population.table)
    drawn = [
        {**centres, **{name: p.quantile(share) for (name, p), share in zip(free.items(), row, strict=True)}}
        for row in points[:, 2:]
    ]
    exists = np.array([truth_draws.exists(one | dict.fromkeys(SHAPE, 0.0)) for one in drawn])
    weights = np.repeat(np.where(exists, shares, 0.0), TURNS)
    # Ellipticities turn by a whole circle where galaxies turn by a half.
    angles = 2 * np.pi * (points[:, 1:2] + np.arange(TURNS)) / TURNS
    shapes = np.sqrt(squares)[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    others = {
        name: np.repeat([one[name] if ok else centres[name] for one, ok in zip(drawn, exists, strict=True)], TURNS)
        for name in free
    }
    return Drawn(shapes.reshape(-1, 2), others, weights / weights.sum())


def responses(config: ShearConfig, shapes: Array, others: dict[str, Array], shears: Array) -> Array:
    """Signals in the filters of galaxies of flux 1, shape (shear, cut, galaxy)."""
    single = in_precision(config.one_galaxy, "float32")
    renderer = GridRenderer(single, choose_grid(config.one_galaxy))
    middle, filters = config.image.middle, [jnp.asarray(cut.weights, jnp.float32) for cut in cuts(config)]
    centres = config.central(config.galaxy) | {"flux": 1.0, "e1": 0.0, "e2": 0.0}
    intrinsic = shapes @ [1, 1j]

    def response(e: jax.Array, other: dict[str, jax.Array]) -> jax.Array:
        p = {**{name: jnp.float32(value) for name, value in centres.items()}, "g1": e[0], "g2": e[1], **other}
        image = renderer(p | {axis: p[axis] - at for axis, at in middle.items()})
        return jnp.stack([jnp.vdot(weights, image) for weights in filters])

    every = jax.jit(lambda e, other: jax.lax.map(lambda one: response(*one), (e, other)))
    same = {name: value.astype(np.float32) for name, value in others.items()}
    found = []
    for shear in shears @ [1, 1j]:
        e = (intrinsic + shear) / (1 + shear.conjugate() * intrinsic)
        found.append(every(np.stack([e.real, e.imag], axis=-1, dtype=np.float32), same).T)
    return np.array(found, np.float64)

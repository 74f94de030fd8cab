"""The choice of the renderer's grid: the cheapest whose error does not matter.

With `image.accuracy: answer` an error matters if it shifts an estimate: by the Gauss–Newton step that the error of the
image causes. With `strict`, and where the noise is not known or simulated images have none, the image itself counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import jax
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.fourier import Grid, GridRenderer
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.scene import DOMAINS, quantity

# Largest error of an image, relative to its peak, if the grid is strict: it shifts no shear estimate by more than 1e-6.
TOLERANCE = 1e-6
# Largest shift of an estimate [its standard deviation], and of a shear relative to itself: a tenth of what surveys
# require of a multiplicative bias. A shear counts as at least that of the probe.
SHIFT_TOLERANCE, _BIAS_TOLERANCE = 0.01, 1e-4
# The predicted error must be below this share of the tolerance: between the probes it can be a tenth larger.
_PREDICTION_MARGIN = 0.75
_PROBE_SHEAR, _PROBE_OFFSET_PIXELS = 0.1, 2.0
_SIZE_QUANTITIES = ("half_light_radius", "n", "beta")
# Step of the numerical derivatives, relative to the value or, near 0, to a tenth.
_STEP = 1e-4


STAMP = Grid(1, 1)
CAREFUL = Grid(3, 2, 4)


def is_strict(config: ShearConfig) -> bool:
    """Whether the error of the image counts, and not what it does to the estimates."""
    noise = config.image.noise
    return config.image.accuracy == "strict" or not noise.simulated or noise.sigma is None


def choose_grid(config: ShearConfig) -> Grid:
    """The cheapest grid whose predicted error is tolerable around the centres of the priors.

    The prediction compares with the grid CAREFUL at the prior's centre, and at 1σ of the prior on size, a shear of 0.1
    and a centre two pixels off. It runs in float64 for every precision of the campaign, because float32 cannot resolve
    a millionth of the peak. `ShearProblem.flaw` checks fits that end farther out.
    """
    with jax.enable_x64(True):
        return _choose(in_precision(config, "float64"))


def in_precision(config: ShearConfig, precision: str) -> ShearConfig:
    """The config with `inference.precision` replaced, e.g. by `float32`."""
    return dataclasses.replace(config, inference=dataclasses.replace(config.inference, precision=precision))


def _choose(config: ShearConfig) -> Grid:
    padding = config.image.padding
    if padding == 1:
        return STAMP
    grids = _grids(padding or 2)
    if padding is None:
        grids = (STAMP, Grid(1, 2), *grids)
    probes = list(_probes(config))
    careful = jax.jit(GridRenderer(config, CAREFUL))
    expected = [np.asarray(careful(p)) for p in probes]
    strict = is_strict(config)
    for grid in grids[:-1]:
        render = jax.jit(GridRenderer(config, grid))
        errors = [np.asarray(render(p)) - image for p, image in zip(probes, expected, strict=True)]
        relative = [np.abs(error).max() / image.max() for error, image in zip(errors, expected, strict=True)]
        if max(relative) < _PREDICTION_MARGIN * TOLERANCE:
            return grid
        if strict:
            continue
        shifts = [_shift(config, careful, p, error) for p, error in zip(probes, errors, strict=True)]
        if max(shifts) < _PREDICTION_MARGIN:
            return grid
    return grids[-1]


def _shift(config: ShearConfig, draw: Callable[..., jax.Array], at: Mapping[str, float], error: np.ndarray) -> float:
    """Largest shift of an estimate by an error of the image, in units of its tolerance."""
    priors, sigma = config.latents, config.image.noise.sigma
    assert sigma is not None

    def slope(name: str) -> np.ndarray:
        step = _STEP * max(abs(at[name]), 0.1)
        ends = (np.asarray(draw({**at, name: at[name] + side * step})) for side in (1, -1))
        return np.asarray((next(ends) - next(ends)).ravel() / (2 * step))

    jacobian = np.stack([slope(name) for name in priors], axis=1) / sigma
    widths = np.array([prior.high - prior.centre for prior in priors.values()])
    covariance = np.linalg.inv(jacobian.T @ jacobian + np.diag(widths**-2.0))
    shift = np.abs(covariance @ jacobian.T @ (error.ravel() / sigma))
    tolerance = SHIFT_TOLERANCE * np.sqrt(np.diag(covariance))
    shear = max(float(np.hypot(at["g1"], at["g2"])), _PROBE_SHEAR)
    limits = [
        min(one, _BIAS_TOLERANCE * shear) if name in ("g1", "g2") else one
        for name, one in zip(priors, tolerance, strict=True)
    ]
    return float(np.max(shift / np.array(limits)))


def finer(config: ShearConfig, grid: Grid) -> Grid | None:
    """The grid for fits that end where the error of `grid` is too large; None if there is none.

    The cheapest strict grid, which is chosen for the images themselves, then the most accurate of all. With
    `image.padding: 1` the config rules both out.
    """
    if config.image.padding == 1:
        return None
    strict = dataclasses.replace(config, image=dataclasses.replace(config.image, accuracy="strict"))
    ladder = list(dict.fromkeys([choose_grid(config), choose_grid(strict), _grids(config.image.padding or 2)[-1]]))
    above = ladder[ladder.index(grid) + 1 :]
    return above[0] if above else None


def better(grid: Grid) -> Grid:
    """A more accurate grid: its error is negligible if that of `grid` is above the tolerance."""
    return Grid(2, 2, 1) if grid.padding == 1 else Grid(grid.padding, 2, grid.levels + 2)


def _grids(padding: int) -> tuple[Grid, ...]:
    """Candidate grids of one padding, from cheap to accurate."""
    return tuple(Grid(padding, oversampling, levels) for levels in (0, 2, 4) for oversampling in (1, 2))


def _probes(config: ShearConfig) -> list[dict[str, float]]:
    centre = config.galaxy.centres
    priors = {name: p for name, p in config.galaxy.parameters if not isinstance(p, float)}
    wide = {name: _widest(name, prior) for name, prior in priors.items() if quantity(name) in _SIZE_QUANTITIES}
    shear = {"g1": _PROBE_SHEAR, "g2": _PROBE_SHEAR / 2}
    offset = {"x": _PROBE_OFFSET_PIXELS, "y": -_PROBE_OFFSET_PIXELS}
    return [{**centre, "x": 0.3, "y": 0.4}, {**centre, **shear, **offset, **wide}]


def _widest(name: str, prior: Prior) -> float:
    """The value with the longest wings within about 1σ: a large size or index, a small Moffat exponent."""
    low, high = prior.bounds
    least, most = DOMAINS[quantity(name)]
    if quantity(name) == "beta":
        return max(2 * prior.centre - prior.high, low, least)
    return min(prior.high, high, most)

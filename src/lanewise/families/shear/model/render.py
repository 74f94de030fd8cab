"""The choice of the renderer's grid: the cheapest whose error does not matter.

With `image.accuracy: answer` an error matters if it shifts an estimate: by the Gauss–Newton step that the error of the
image causes. With `strict`, and where the noise is not known or simulated images have none, the image itself counts.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.grid import Grid, GridRenderer, Modes, modes_of, rectangles
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
CAREFUL = Grid(3, 8, 4)
# Candidates. A padding below 1.5 leaves no room for the windows of refinements.
_PADDINGS, _BANDS, _LEVELS = (1, 1.25, 1.5, 1.75, 2), (1, 1.25, 1.5, 1.75, 2, 3, 4, 8), (0, 2, 4)
_PADDING_OF_LEVELS = 1.5


def is_strict(config: ShearConfig) -> bool:
    """Whether the error of the image counts, and not what it does to the estimates."""
    noise = config.image.noise
    # Correlated noise has modes with little noise, where an error of the image counts for more.
    unlike = noise.sigma is None or noise.type == "Correlated"
    return config.image.accuracy == "strict" or not noise.simulated or unlike


def choose_grid(config: ShearConfig) -> Grid:
    """The cheapest grid whose predicted error is tolerable around the centres of the priors.

    The prediction compares with the grid CAREFUL at the prior's centre, and at a shear of 0.1 and a centre two pixels
    off; there a strict grid must also hold at 1σ of the prior on size. It runs in float64 for every precision of the
    campaign, because float32 cannot resolve a millionth of the peak. `ShearProblem.flaw` checks where each fit ends;
    the engine repeats those for which the grid is too rough.
    """
    with jax.enable_x64(True):
        return _choose(in_precision(config, "float64"))


def in_precision(config: ShearConfig, precision: str) -> ShearConfig:
    """The config with `inference.precision` replaced, e.g. by `float32`."""
    return dataclasses.replace(config, inference=dataclasses.replace(config.inference, precision=precision))


def _choose(config: ShearConfig) -> Grid:
    if config.image.padding == 1:
        return STAMP
    at = probes(config)
    draw = _Drawing(config)
    expected = [draw(p, CAREFUL) for p in at]
    shifts = [] if is_strict(config) else [_shifts(config, draw, p) for p in at]
    for grid in draw.grids:
        errors = [draw(p, grid) - image for p, image in zip(at, expected, strict=True)]
        relative = [np.abs(error).max() / image.max() for error, image in zip(errors, expected, strict=True)]
        if max(relative) < _PREDICTION_MARGIN * TOLERANCE:
            return grid
        if shifts and max(of(error) for of, error in zip(shifts, errors, strict=True)) < _PREDICTION_MARGIN:
            return grid
    return grid


class _Drawing:
    """Images on every candidate grid by the same compiled program: all their rectangles of modes get equal sizes.

    Attributes:
        grids: candidates, from cheap to accurate.
    """

    def __init__(self, config: ShearConfig) -> None:
        renderer = GridRenderer(config, STAMP)
        self._draw = jax.jit(lambda p, modes: renderer.image(renderer.numbers(p), (modes,)))
        self._modes = functools.lru_cache(functools.partial(self._modes_of, config))
        found = _by_cost(config)
        self.grids = list(found)
        sizes = [*found.values(), [each.size for each in rectangles(config, CAREFUL)]]
        self._whole, self._refinement = (
            tuple(map(max, *rectangle)) for rectangle in ([s[0] for s in sizes], [s[-1] for s in sizes if len(s) > 1])
        )

    def __call__(self, p: Mapping[str, Any], grid: Grid = CAREFUL) -> np.ndarray:
        """The image, shape (ny, nx) [flux per pixel]."""
        return np.asarray(sum(np.asarray(self._draw(p, modes)) for modes in self._modes(grid)))

    def _modes_of(self, config: ShearConfig, grid: Grid) -> tuple[Modes, ...]:
        return modes_of(config, grid, [self._whole, *[self._refinement] * grid.levels])


def _shifts(config: ShearConfig, draw: Callable[..., Any], at: Mapping[str, float]) -> Callable[[np.ndarray], float]:
    """The function from an error of the image to the largest shift of an estimate, in units of its tolerance."""
    priors, sigma = config.latents, config.image.noise.sigma
    assert sigma is not None

    jacobian = derivative(config, draw, at).reshape(len(priors), -1).T / sigma
    widths = np.array([prior.high - prior.centre for prior in priors.values()])
    covariance = np.linalg.inv(jacobian.T @ jacobian + np.diag(widths**-2.0))
    tolerance = SHIFT_TOLERANCE * np.sqrt(np.diag(covariance))
    shear = max(float(np.hypot(at["g1"], at["g2"])), _PROBE_SHEAR)
    limits = np.array(
        [
            min(one, _BIAS_TOLERANCE * shear) if name in ("g1", "g2") else one
            for name, one in zip(priors, tolerance, strict=True)
        ]
    )
    return lambda error: float(np.max(np.abs(covariance @ jacobian.T @ (error.ravel() / sigma)) / limits))


def derivative(config: ShearConfig, draw: Callable[..., Any], at: Mapping[str, float]) -> np.ndarray:
    """Numerical derivatives of the image by every latent, shape (n_latents, ny, nx)."""

    def slope(name: str) -> np.ndarray:
        step = _STEP * max(abs(at[name]), 0.1)
        above, below = (np.asarray(draw({**at, name: at[name] + side * step})) for side in (1, -1))
        return np.asarray((above - below) / (2 * step))

    return np.stack([slope(name) for name in config.latents])


def finer(config: ShearConfig, grid: Grid) -> Grid | None:
    """The grid for fits that end where the error of `grid` is too large; None if there is none.

    The cheapest strict grid, which is chosen for the images themselves, then the most accurate of all. With
    `image.padding: 1` the config rules both out.
    """
    if config.image.padding == 1:
        return None
    strict = dataclasses.replace(config, image=dataclasses.replace(config.image, accuracy="strict"))
    ladder = list(dict.fromkeys([choose_grid(config), choose_grid(strict), list(_by_cost(config))[-1]]))
    above = ladder[ladder.index(grid) + 1 :]
    return above[0] if above else None


def better(grid: Grid) -> Grid:
    """A more accurate grid: its error is negligible if that of `grid` is above the tolerance."""
    return Grid(max(grid.padding, 2), grid.band + 0.5, grid.levels + (2 if grid.padding == 2 else 1))


def _by_cost(config: ShearConfig) -> dict[Grid, tuple[tuple[int, int], ...]]:
    """Candidates from cheap to accurate, with the sizes of their rectangles of modes."""
    paddings = (config.image.padding,) if config.image.padding else _PADDINGS
    found: dict[tuple[float, Any], Grid] = {}
    for grid in itertools.starmap(Grid, itertools.product(paddings, _BANDS, _LEVELS)):
        if not grid.levels or grid.padding >= _PADDING_OF_LEVELS:
            # Where the transfer ends before the band, a narrower band is the same grid.
            found.setdefault((grid.padding, tuple(each.size for each in rectangles(config, grid))), grid)
    sizes = {grid: sizes for (_, sizes), grid in found.items()}
    return dict(sorted(sizes.items(), key=lambda item: sum(math.prod(size) for size in item[1])))


def probes(config: ShearConfig) -> list[dict[str, float]]:
    """Parameters at which errors are predicted: the priors' centre, and a sheared galaxy off the centre."""
    centre = config.galaxy.centres
    priors = {name: p for name, p in config.galaxy.parameters if not isinstance(p, float)}
    wide = {name: _widest(name, prior) for name, prior in priors.items() if quantity(name) in _SIZE_QUANTITIES}
    shear = {"g1": _PROBE_SHEAR, "g2": _PROBE_SHEAR / 2}
    offset = {"x": _PROBE_OFFSET_PIXELS, "y": -_PROBE_OFFSET_PIXELS}
    return [{**centre, "x": 0.3, "y": 0.4}, {**centre, **shear, **offset, **(wide if is_strict(config) else {})}]


def _widest(name: str, prior: Prior) -> float:
    """The value with the longest wings within about 1σ: a large size or index, a small Moffat exponent."""
    low, high = prior.bounds
    least, most = DOMAINS[quantity(name)]
    if quantity(name) == "beta":
        return max(2 * prior.centre - prior.high, low, least)
    return min(prior.high, high, most)

"""The renderer: parameters in, noise-free image out. A small interface, so that forms can be exchanged and compared.

`fourier` is ours and the default; `jax-galsim` is the reference: the same algorithm as GalSim's, differentiable.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.fourier import GridRenderer
from lanewise.families.shear.model.light import intrinsic_shear
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.scene import DOMAINS, Psf, quantity

# (flux, half_light_radius, e1, e2, g1, g2, x, y) by name → image of shape (ny, nx) [flux per pixel]
Renderer = Callable[[Mapping[str, Any]], jax.Array]

# A shear that no pixel can tell from none.
_ALMOST_ROUND = 1e-18
# Predicted errors below this share of the peak shift no shear by more than 1e-6.
TOLERANCE = 1e-6
# What is predicted may be so much of it: places that no probe is at are up to a tenth worse.
_PREDICTED = 0.75
_PROBE_SHEAR, _PROBE_OFFSET_PIXELS = 0.1, 2.0
_WIDENING = ("half_light_radius", "n", "beta")


@dataclass(frozen=True)
class Grid:
    """The grid of the renderer `fourier`: its size in stamps, its points per pixel along an axis, its refinement."""

    padding: int
    oversampling: int
    levels: int = 0


STAMP = Grid(1, 1)
CAREFUL = Grid(3, 2, 4)


def choose_grid(config: ShearConfig) -> Grid:
    """The cheapest grid whose predicted error is tolerable around the priors' centres.

    The prediction compares with the careful grid at 1σ of the prior on size, a shear of 0.1 and a centre two pixels
    off, in float64 whatever the campaign's precision: float32 could not see a millionth of the peak. A fit that ends
    farther out is looked at by `ShearProblem.flaw`.
    """
    with jax.enable_x64(True):
        return _predicted(in_precision(config, "float64"))


def in_precision(config: ShearConfig, precision: str) -> ShearConfig:
    """The config with another precision."""
    return dataclasses.replace(config, inference=dataclasses.replace(config.inference, precision=precision))


def _predicted(config: ShearConfig) -> Grid:
    padding = config.image.padding
    if padding == 1:
        return STAMP
    grids = _grids(padding or 2)
    if padding is None:
        grids = (STAMP, Grid(1, 2), *grids)
    probes = list(_probes(config))
    careful = jax.jit(draw_on(config, CAREFUL))
    expected = [np.asarray(careful(p)) for p in probes]
    for grid in grids[:-1]:
        render = jax.jit(draw_on(config, grid))
        errors = [np.abs(np.asarray(render(p)) - e).max() / e.max() for p, e in zip(probes, expected, strict=True)]
        if max(errors) < _PREDICTED * TOLERANCE:
            return grid
    return grids[-1]


def better(grid: Grid) -> Grid:
    """A grid whose error is small beside that of `grid` where the latter is too large."""
    return Grid(2, 2, 1) if grid.padding == 1 else Grid(grid.padding, 2, grid.levels + 2)


def _grids(padding: int) -> tuple[Grid, ...]:
    """From cheap to accurate."""
    return tuple(Grid(padding, oversampling, levels) for levels in (0, 2, 4) for oversampling in (1, 2))


def draw_on(config: ShearConfig, grid: Grid) -> GridRenderer:
    """The renderer `fourier` on a grid."""
    return GridRenderer(config, grid.padding, grid.oversampling, grid.levels)


def _probes(config: ShearConfig) -> list[dict[str, float]]:
    centre = {name: p if isinstance(p, float) else p.centre for name, p in config.galaxy.parameters}
    priors = {name: p for name, p in config.galaxy.parameters if not isinstance(p, float)}
    wide = {name: _widest(name, prior) for name, prior in priors.items() if quantity(name) in _WIDENING}
    shear = {"g1": _PROBE_SHEAR, "g2": _PROBE_SHEAR / 2}
    offset = {"x": _PROBE_OFFSET_PIXELS, "y": -_PROBE_OFFSET_PIXELS}
    return [{**centre, "x": 0.3, "y": 0.4}, {**centre, **shear, **offset, **wide}]


def _widest(name: str, prior: Prior) -> float:
    """The likely value with the longest wings: a large size or index, a small Moffat exponent."""
    low, high = prior.bounds
    least, most = DOMAINS[quantity(name)]
    if quantity(name) == "beta":
        return max(2 * prior.centre - prior.high, low, least)
    return min(prior.high, high, most)


def build(config: ShearConfig, grid: Grid) -> Renderer:
    """The renderer that the config asks for."""
    if config.image.renderer == "jax-galsim":
        return jax_galsim(config)
    return draw_on(config, grid)


def jax_galsim(config: ShearConfig) -> Renderer:
    """The renderer of JAX-GalSim at the config's FFT size."""
    # JAX-GalSim checks its arguments by host callbacks, which raise (a lane must not) and keep a program out of the
    # compilation cache. Equinox reads this when it is first imported; the model sees to it that every argument exists.
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    with warnings.catch_warnings():
        # JAX-GalSim asks for float64 constants while it is imported, also where float32 is wanted.
        warnings.filterwarnings("ignore", message="Explicitly requested dtype")
        import jax_galsim as galsim

    image, psf = config.image, config.psf
    settings = galsim.GSParams(minimum_fft_size=image.fft_size, maximum_fft_size=image.fft_size)
    dtype = jnp.dtype(config.inference.precision)

    def profile(p: Mapping[str, Any]) -> Any:
        shape = {"flux": p["flux"], "half_light_radius": p["half_light_radius"], "gsparams": settings}
        galaxy = galsim.Exponential(**shape) if config.galaxy.type == "Exponential" else galsim.Gaussian(**shape)
        intrinsic = intrinsic_shear(p)
        # JAX-GalSim's grid follows the major axis by a hypot, whose derivative JAX ≥ 0.12 calls NaN for a round galaxy.
        is_round = (p["g1"] == 0) & (p["g2"] == 0) & (p["e1"] == 0) & (p["e2"] == 0)
        g2 = jnp.where(is_round, _ALMOST_ROUND, 0.0) + p["g2"]
        return galaxy.shear(g1=intrinsic[0], g2=intrinsic[1]).shear(g1=p["g1"], g2=g2)

    def point_spread() -> Any:
        # The checks have seen to it that the point-spread function is no image.
        assert isinstance(psf, Psf)
        return round_one(psf).shear(e1=psf.e1, e2=psf.e2) if psf.e1 or psf.e2 else round_one(psf)

    def round_one(psf: Psf) -> Any:
        if psf.type == "Moffat":
            return galsim.Moffat(beta=psf.beta, fwhm=psf.sigma, gsparams=settings)
        return galsim.Gaussian(sigma=psf.sigma, gsparams=settings)

    def render(p: Mapping[str, Any]) -> jax.Array:
        seen = galsim.Convolve([profile(p), point_spread()], gsparams=settings)
        drawn = seen.drawImage(
            nx=image.size_x,
            ny=image.size_y,
            scale=image.pixel_scale,
            offset=galsim.PositionD(p["x"], p["y"]),
            dtype=dtype,
        )
        return jnp.asarray(drawn.array)

    return render

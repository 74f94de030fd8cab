"""Images by JAX-GalSim: GalSim's algorithm in JAX, differentiable and independent of our renderer."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.light import intrinsic_shear
from lanewise.families.shear.point_spread import Psf

# JAX-GalSim checks its arguments by host callbacks, which raise where a sampler strays, and keep the program out of the
# compilation cache. Equinox reads this variable at its first import.
os.environ.setdefault("EQX_ON_ERROR", "nan")
with warnings.catch_warnings():
    # JAX-GalSim requests float64 constants during its import, also in float32 mode.
    warnings.filterwarnings("ignore", message="Explicitly requested dtype")
    import jax_galsim as galsim

# A shear too small to change any pixel.
_TINY_SHEAR = 1e-18

# Parameters by name → image of shape (ny, nx) [flux per pixel].
Renderer = Callable[[Mapping[str, Any]], jax.Array]


def jax_galsim(config: ShearConfig, fft_size: int = 128) -> Renderer:
    """The renderer of an Exponential or a Gaussian through an analytic PSF.

    Args:
        config: with a grid of `fft_size` points at least as large as the stamp.
        fft_size: points of the FFT along an axis.
    """
    image, psf = config.image, config.psf
    settings = galsim.GSParams(minimum_fft_size=fft_size, maximum_fft_size=fft_size)
    dtype = jnp.dtype(config.inference.precision)

    def profile(p: Mapping[str, Any]) -> Any:
        shape = {"flux": p["flux"], "half_light_radius": p["half_light_radius"], "gsparams": settings}
        galaxy = galsim.Exponential(**shape) if config.galaxy.type == "Exponential" else galsim.Gaussian(**shape)
        intrinsic = intrinsic_shear(p)
        # JAX-GalSim computes the major axis with a hypot; in JAX ≥ 0.12 its derivative is NaN for a round galaxy.
        is_round = (p["g1"] == 0) & (p["g2"] == 0) & (p["e1"] == 0) & (p["e2"] == 0)
        g2 = jnp.where(is_round, _TINY_SHEAR, 0.0) + p["g2"]
        return galaxy.shear(g1=intrinsic[0], g2=intrinsic[1]).shear(g1=p["g1"], g2=g2)

    def point_spread() -> Any:
        assert isinstance(psf, Psf)
        return unsheared(psf).shear(e1=psf.e1, e2=psf.e2) if psf.e1 or psf.e2 else unsheared(psf)

    def unsheared(psf: Psf) -> Any:
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

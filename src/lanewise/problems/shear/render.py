"""The renderer: parameters in, noise-free image out. A small interface, so that forms can be exchanged and compared.

`jax-galsim` is the reference form: the same algorithm as GalSim's, differentiable.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lanewise.problems.shear.config import ShearConfig

# A shear that no pixel can tell from none.
_ALMOST_ROUND = 1e-18

# (flux, half_light_radius, e1, e2, g1, g2, x, y) by name → image of shape (ny, nx) [flux per pixel]
Renderer = Callable[[Mapping[str, Any]], jax.Array]


def jax_galsim(config: ShearConfig) -> Renderer:
    """The renderer of JAX-GalSim at the config's FFT size."""
    # JAX-GalSim checks its arguments by host callbacks, which raise (a lane must not) and keep a program out of the
    # compilation cache. Equinox reads this when it is first imported; the model itself sees to it that every argument
    # exists.
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
        # The distortion as a reduced shear: unlike GalSim's own conversion it has a derivative at e = 0.
        to_g = 1 / (1 + jnp.sqrt(1 - p["e1"] ** 2 - p["e2"] ** 2))
        # JAX-GalSim's grid follows the major axis by a hypot, whose derivative JAX ≥ 0.12 calls NaN for a round galaxy.
        is_round = (p["g1"] == 0) & (p["g2"] == 0) & (p["e1"] == 0) & (p["e2"] == 0)
        g2 = jnp.where(is_round, _ALMOST_ROUND, 0.0) + p["g2"]
        return galaxy.shear(g1=p["e1"] * to_g, g2=p["e2"] * to_g).shear(g1=p["g1"], g2=g2)

    def point_spread() -> Any:
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

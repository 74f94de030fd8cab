"""Fourier transforms of light profiles, of unit flux.

A galaxy's transform is a function of t = |Sᵀk|² r², with S its shear and r its scale radius; a point-spread
function's is a function of |k|, evaluated once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

from lanewise.problems.shear.config import Psf


@dataclass(frozen=True)
class Profile:
    """A galaxy profile.

    Attributes:
        transform: t → (T(t), d ln T / dt); the transform and its logarithmic derivative.
        half_light: half-light radius in units of the scale radius.
    """

    transform: Callable[[jax.Array], tuple[jax.Array, jax.Array]]
    half_light: float


def _exponential(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    # The transform of exp(−r/r₀) is (1 + k²r₀²)^(−3/2).
    root = jax.lax.rsqrt(1 + t)
    return root * root * root, -1.5 * root * root


def _gaussian(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.exp(-0.5 * t), jnp.full_like(t, -0.5)


GALAXIES = {
    # (1 + x) exp(−x) = ½ at the half-light radius.
    "Exponential": Profile(
        _exponential, float(optimize.brentq(lambda x: (1 + x) * math.exp(-x) - 0.5, 1, 2, xtol=1e-15))
    ),
    "Gaussian": Profile(_gaussian, math.sqrt(2 * math.log(2))),
}


def point_spread(psf: Psf, k: np.ndarray) -> np.ndarray:
    """Transform of a point-spread function at wave numbers k ≥ 0 [rad/arcsec].

    Source:
        Moffat (untruncated): 2 (k r/2)^(β−1) K_{β−1}(k r) / Γ(β−1), with r from the full width at half maximum.
    """
    if psf.type == "Gaussian":
        found: np.ndarray = np.exp(-0.5 * (k * psf.sigma) ** 2)
        return found
    order = psf.beta - 1
    radius = psf.sigma / (2 * math.sqrt(2 ** (1 / psf.beta) - 1))
    # The limit at 0 is 1; K itself overflows there.
    z = np.maximum(k * radius, 1e-10)
    transform: np.ndarray = 2 * (z / 2) ** order * special.kv(order, z) / special.gamma(order)
    return transform

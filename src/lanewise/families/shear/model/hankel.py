"""Exact Fourier transforms of radial profiles that have no closed form on a device; computed on the host.

Lengths are in half-light radii, t = (k · half_light_radius)², and the flux is 1.
"""

from __future__ import annotations

import numpy as np
from scipy import special

# Real part of the contour of the Mellin integral, and step along it. The discrete sum adds aliases of the transform at
# e^(±2π/step) times the wave number, with weight e^(−2π contour/step) = 1e-17.
_CONTOUR, _STEP = 0.25, 0.04
# The integrand falls as exp(−π n ω / 2); it is cut at exp(−_EFOLDS).
_EFOLDS = 42.0


def sersic(t: np.ndarray, n: float) -> np.ndarray:
    """Transform of exp(−b (r/half_light_radius)^(1/n)), absolute error below 1e-12 for n from ½ to 6 and all t ≥ 0.

    Source:
        ∫ κ^(s−1) J₀(κu) dκ = 2^(s−1) Γ(s/2) / Γ(1 − s/2) u^(−s) makes the transform an inverse Mellin integral,
        (1/2πi) ∫ M(s) κ^(−s) ds with M(s) = 2^(s−1) Γ(s/2) Γ(n(2−s)) / (Γ(1−s/2) Γ(2n)) and κ = k r₀, along a line of
        real part between 0 and 3/2. M is analytic there, so that the trapezoidal rule converges exponentially.
    """
    b = special.gammaincinv(2 * n, 0.5)
    omega = np.arange(0, 2 * _EFOLDS / (np.pi * n) + 10, _STEP)
    s = _CONTOUR + 1j * omega
    log_mellin = (s - 1) * np.log(2) + special.loggamma(s / 2) - special.loggamma(1 - s / 2)
    log_mellin += special.loggamma(n * (2 - s)) - special.gammaln(2 * n)
    weight = np.exp(log_mellin) * _STEP / np.pi
    weight[0] /= 2
    # Below t = 1e-16 the transform is 1 in double precision, and the sum would be less accurate.
    log_kappa = 0.5 * np.log(np.maximum(t, 1e-16)) - n * np.log(b)
    terms = np.exp(-np.multiply.outer(log_kappa, s)) @ weight
    return np.where(t < 1e-16, 1.0, terms.real)


def moffat(t: np.ndarray, beta: float) -> np.ndarray:
    """Transform of (1 + (r/r₀)²)^(−β), untruncated, β > 1.

    Source:
        2 (z/2)^(β−1) K_{β−1}(z) / Γ(β−1) with z = k r₀; half of the light is inside r₀ √(2^(1/(β−1)) − 1).
    """
    return moffat_of(np.sqrt(t / (2 ** (1 / (beta - 1)) - 1)), beta)


def moffat_of(z: np.ndarray, beta: float) -> np.ndarray:
    """The same transform as a function of z = k r₀."""
    order = beta - 1
    # The limit at z = 0 is 1, but K overflows there.
    z = np.maximum(z, 1e-10)
    return np.asarray(2 * (z / 2) ** order * special.kv(order, z) / special.gamma(order))

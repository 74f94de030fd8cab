"""Fourier transforms of point-spread functions, of unit flux; evaluated once, on the host."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from lanewise.problems.shear.scene import Psf


def transform(psf: Psf, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """The transform at wave numbers [rad/arcsec], shape (len(ky), len(kx)).

    Source:
        Moffat (untruncated): 2 (k r/2)^(β−1) K_{β−1}(k r) / Γ(β−1), with r from the full width at half maximum.
    """
    k = np.hypot(ky[:, None], kx)
    if psf.type == "Gaussian":
        found: np.ndarray = np.exp(-0.5 * (k * psf.sigma) ** 2)
        return found
    order = psf.beta - 1
    radius = psf.sigma / (2 * math.sqrt(2 ** (1 / psf.beta) - 1))
    # The limit at 0 is 1; K itself overflows there.
    z = np.maximum(k * radius, 1e-10)
    moffat: np.ndarray = 2 * (z / 2) ** order * special.kv(order, z) / special.gamma(order)
    return moffat

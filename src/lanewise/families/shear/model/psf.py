"""Fourier transforms of point-spread functions, of unit flux; evaluated once, on the host."""

from __future__ import annotations

import math

import numpy as np

from lanewise.families.shear import psf_image
from lanewise.families.shear.model import hankel
from lanewise.families.shear.scene import Psf, PsfImage


def transform(psf: Psf | PsfImage, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """The transform at wave numbers [rad/arcsec], shape (len(ky), len(kx)); complex for a PSF image.

    Raises:
        DataError: the file of a PSF image has changed, or contains no point-spread function.
    """
    if isinstance(psf, PsfImage):
        return psf_image.transform(psf_image.read(psf), psf.pixel_scale, kx=kx, ky=ky)
    k = _sheared(psf, kx, ky[:, None])
    if psf.type == "Gaussian":
        return np.exp(-0.5 * (k * psf.sigma) ** 2)
    return hankel.moffat_of(k * (psf.sigma / (2 * math.sqrt(2 ** (1 / psf.beta) - 1))), psf.beta)


def _sheared(psf: Psf, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """|Sᵀk|, where S is the shear matrix of unit determinant with distortion (e1, e2)."""
    to_g = 1 / (1 + math.sqrt(1 - psf.e1**2 - psf.e2**2))
    g1, g2 = psf.e1 * to_g, psf.e2 * to_g
    return np.hypot((1 + g1) * kx + g2 * ky, g2 * kx + (1 - g1) * ky) / math.sqrt(1 - g1**2 - g2**2)

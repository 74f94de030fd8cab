"""Fourier transforms of point-spread functions, of unit flux; evaluated once, on the host."""

from __future__ import annotations

import math

import numpy as np

from lanewise.families.shear import psf_image
from lanewise.families.shear.model import hankel
from lanewise.families.shear.point_spread import AnyPsf, Psf, PsfImage, PsfImages


def transform(psf: AnyPsf, kx: np.ndarray, ky: np.ndarray, frame: np.ndarray | None = None) -> np.ndarray:
    """The transform at wave numbers [rad/arcsec], shape (len(ky), len(kx)); complex for a PSF image.

    Args:
        frame: of an exposure, see `exposures.Exposure`: an analytic function has the axes of the sky, an image those
            of the pixels.

    Raises:
        DataError: the file of a PSF image has changed, or contains no point-spread function.
    """
    if isinstance(psf, PsfImage):
        return psf_image.transform(psf_image.read(psf), psf.pixel_scale, kx=kx, ky=ky)
    psf = psf.typical if isinstance(psf, PsfImages) else psf
    a = np.eye(2) if frame is None else frame
    k = _sheared(psf, a[0, 0] * kx + a[1, 0] * ky[:, None], a[0, 1] * kx + a[1, 1] * ky[:, None])
    if psf.type == "Gaussian":
        return np.exp(-0.5 * (k * psf.sigma) ** 2)
    return hankel.moffat_of(k * (psf.sigma / (2 * math.sqrt(2 ** (1 / psf.beta) - 1))), psf.beta)


def _sheared(psf: Psf, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """|Sᵀk|, where S is the shear matrix of unit determinant with distortion (e1, e2)."""
    to_g = 1 / (1 + math.sqrt(1 - psf.e1**2 - psf.e2**2))
    g1, g2 = psf.e1 * to_g, psf.e2 * to_g
    return np.hypot((1 + g1) * kx + g2 * ky, g2 * kx + (1 - g1) * ky) / math.sqrt(1 - g1**2 - g2**2)

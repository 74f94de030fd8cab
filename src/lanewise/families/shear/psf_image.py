"""Point-spread functions from image files, and the Fourier transform of the interpolated image."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import point_spread, stamp_files
from lanewise.families.shear.point_spread import PsfImage
from lanewise.manifest.document import Document

_FILE_KEY = ("psf", "file")


def resolve(config: Document) -> dict[str, Any]:
    """The config with its PSF file found, checked and pinned by its SHA-256.

    Raises:
        ManifestError: the file is missing, contains no point-spread function, or its header has another pixel scale.
    """
    value: dict[str, Any] = config.value
    if not isinstance(value["psf"]["file"], str):
        return value
    resolved = {**value, "psf": {**value["psf"], "file": stamp_files.resolve_one(config, _FILE_KEY)}}
    try:
        read(point_spread.parse(resolved["psf"]))
    except DataError as error:
        raise ManifestError([config.complaint(_FILE_KEY, str(error))]) from None
    return resolved


@functools.lru_cache(maxsize=4)
def read(psf: PsfImage) -> np.ndarray:
    """The image, shape (ny, nx), normalized to unit sum.

    Raises:
        DataError: the file has changed, contains no point-spread function, or its header has another pixel scale.
        InputUnreachable: it is not there, or storage cannot be reached.
    """
    path = psf.file.path
    stamps = stamp_files.load(psf.file, psf.array)
    stated, values = stamps.pixel_scale, stamps.values
    if stated is not None and (message := stamp_files.contradiction(stated, psf.pixel_scale, "psf.pixel_scale")):
        raise DataError(f"{path}: {message}")
    if len(values) != 1:
        raise DataError(f"{path}: expected one image, got {len(values)}")
    return normalized(values[0], path)


def normalized(values: np.ndarray, path: str) -> np.ndarray:
    """An image of a point-spread function, shape (ny, nx), with unit sum.

    Raises:
        DataError: a pixel is not finite, or the sum is not positive.
    """
    image: np.ndarray = values.astype(np.float64)
    if count := int((~np.isfinite(image)).sum()):
        raise DataError(f"{path}: {count} pixels are not finite; pixels of a PSF cannot be masked")
    if image.sum() <= 0:
        raise DataError(f"{path}: the pixels sum to {image.sum():g}; the sum of a PSF must be positive")
    return np.asarray(image / image.sum())


def half_light_radius(psf: PsfImage) -> float:
    """Radius of the circle around the image's centre that contains half of the light [arcsec]."""
    image = read(psf)
    y, x = (np.arange(size) - (size - 1) / 2 for size in image.shape)
    radius = np.hypot(y[:, None], x).ravel()
    order = np.argsort(radius)
    return float(radius[order][np.searchsorted(np.cumsum(image.ravel()[order]), 0.5)] * psf.pixel_scale)


def transform(
    image: np.ndarray,
    pixel_scale: float,
    *,
    kx: np.ndarray,
    ky: np.ndarray,
    centre: tuple[float, float] | None = None,
) -> np.ndarray:
    """Fourier transform of the image, interpolated by GalSim's quintic kernel, at kx, ky [rad/arcsec].

    The origin is `centre` (x, y) [pixel from the lower left corner], by default that of the image: the middle pixel of
    an odd size, the corner between the middle pixels of an even one. GalSim's InterpolatedImage interpolates this
    transform a second time, and by default cuts it at the Nyquist frequency of the image; here it is exact.

    Returns:
        Shape (len(ky), len(kx)), complex.
    """
    ny, nx = image.shape
    middle = centre or (nx / 2, ny / 2)
    x, y = ((np.arange(size) + 0.5 - at) * pixel_scale for size, at in zip((nx, ny), middle, strict=True))
    waves_x, waves_y = np.exp(-1j * np.outer(x, kx)), np.exp(-1j * np.outer(ky, y))
    kernel = _quintic(ky * pixel_scale / (2 * np.pi))[:, None] * _quintic(kx * pixel_scale / (2 * np.pi))
    return np.asarray((waves_y @ image @ waves_x) * kernel)


def _quintic(u: np.ndarray) -> np.ndarray:
    """Transform of the interpolation kernel at u [cycles per pixel].

    Source:
        Bernstein & Gruen 2014, the piecewise quintic polynomial kernel of GalSim's `quintic`.
    """
    sinc, phase = np.sinc(u), np.pi * u
    return np.asarray(sinc**5 * (sinc * (55 - 19 * phase**2) + 2 * np.cos(phase) * (phase**2 - 27)))

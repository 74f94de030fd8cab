"""Noise whose pixels are correlated: the correlation of a file or of COSMOS, its power spectrum, and draws of it.

The noise is stationary: the covariance of two pixels depends on their distance alone.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import scene, stamp_files
from lanewise.families.shear.scene import COSMOS, PER_EXPOSURE, Correlation, Image
from lanewise.manifest.document import Document, Path

if TYPE_CHECKING:
    import galsim

# A covariance matrix of 80 × 80 pixels takes 330 MB.
MOST_PIXELS = 6400
# Smallest power of any mode relative to the largest. Below, the noise leaves modes without noise, and the likelihood
# believes errors of the renderer in them.
_LEAST_POWER = 1e-5
# GalSim's correlation of COSMOS: half the size of its image [pixel], and their size [arcsec].
_COSMOS_REACH, _COSMOS_SCALE = 40, 0.03


def resolve(config: Document, place: Path) -> dict[str, Any]:
    """The noise at `place` of a config, with its file found, checked and pinned by its SHA-256.

    Raises:
        ManifestError: the file is missing, or its content is no correlation of noise.
    """
    noise: dict[str, Any] = config.at(place)
    here = (*place, "correlation")
    given = noise.get("correlation")
    if isinstance(given, str) and given not in (COSMOS, PER_EXPOSURE):
        noise = {**noise, "correlation": stamp_files.resolve_one(config, here)}
    known = scene.noise(noise).correlation
    try:
        if known is not None:
            lags(known, float(config.value["image"]["pixel_scale"]))
    except DataError as error:
        raise ManifestError([config.complaint(here, str(error))]) from None
    return noise


@functools.lru_cache(maxsize=4)
def lags(correlation: Correlation, pixel_scale: float) -> np.ndarray:
    """The correlation at whole-pixel lags, shape (2 n_y + 1, 2 n_x + 1), 1 at lag 0 in the middle; 0 beyond.

    Args:
        pixel_scale: of the stamp [arcsec].

    Raises:
        DataError: the file has changed, or its content is no correlation of noise.
        InputUnreachable: the file is not there, or storage cannot be reached.
    """
    if correlation.file is None:
        # Other noise is planned without it.
        import galsim

        where = COSMOS
        size = 2 * math.ceil(_COSMOS_REACH * _COSMOS_SCALE / pixel_scale) + 1
        drawn = galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1)).drawImage(galsim.ImageD(size, size, scale=pixel_scale))
        found = drawn.array
    else:
        where = correlation.file.path
        values = stamp_files.load(correlation.file, correlation.array).values
        if len(values) != 1:
            raise DataError(f"{where}: expected one image, got {len(values)}")
        found = values[0].astype(np.float64)
    try:
        return scaled(found)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def scaled(found: np.ndarray) -> np.ndarray:
    """A covariance of noise, lag 0 in the middle, as a correlation: 1 in the middle.

    Raises:
        DataError: it is no covariance of noise, or that of a noise with modes of almost no power.
    """
    if not all(n % 2 for n in found.shape):
        raise DataError(f"expected an odd size, with lag 0 in the middle, got shape {found.shape}")
    top = found[found.shape[0] // 2, found.shape[1] // 2]
    if not (np.all(np.isfinite(found)) and top > 0 and np.abs(found).max() <= top):
        raise DataError("expected a correlation, whose largest value stands in the middle, at lag 0")
    known: np.ndarray = found / top
    if np.abs(known - known[::-1, ::-1]).max() > 1e-6:
        raise DataError("expected the same value at a lag and at the opposite one, got differences")
    spectrum = np.fft.fft2(known, [4 * n for n in known.shape])
    y, x = (np.fft.fftfreq(4 * n) * (n // 2) for n in known.shape)
    power = (spectrum * np.exp(2j * np.pi * (y[:, None] + x))).real
    if power.min() < _LEAST_POWER * power.max():
        raise DataError(
            f"the smallest power of a mode is {power.min() / power.max():.1g} of the largest, expected at "
            f"least {_LEAST_POWER:g}, as of noise with a white part; add some to lag 0, or use larger pixels"
        )
    return known


def of_stamp(image: Image) -> np.ndarray:
    """The correlation at the stamp's pixel scale, as `lags`."""
    assert image.noise.correlation is not None
    return lags(image.noise.correlation, image.pixel_scale)


def power(image: Image) -> np.ndarray:
    """Variance of each mode of rfft2 of the noise, per pixel [flux²], as if the stamp were periodic.

    Returns:
        Shape (ny, nx // 2 + 1); σ² for white noise. It can be negative if the correlation is wider than the stamp.
    """
    assert image.noise.sigma is not None
    return image.noise.sigma**2 * periodic_power(of_stamp(image), (image.size_y, image.size_x))


def periodic_power(lags: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Variance of each mode of rfft2 per pixel, shape (ny, nx // 2 + 1), as if a stamp of (ny, nx) were periodic.

    Args:
        lags: covariances at whole-pixel lags, of odd size, lag 0 in the middle.
    """
    return np.asarray(np.fft.rfft2(_periodic(lags, shape)).real)


def of_power(power: np.ndarray) -> np.ndarray:
    """Covariances at whole-pixel lags, of odd size, lag 0 in the middle.

    Args:
        power: variance of each mode of fft2 per pixel, shape (ny, nx), in the order of fft2.

    Raises:
        DataError: a mode and its opposite have different powers, so that this is no power of noise.
    """
    opposite = np.roll(power[::-1, ::-1], (1, 1), axis=(0, 1))
    if not np.allclose(power, opposite, rtol=1e-6, atol=1e-6 * float(np.abs(power).max())):
        raise DataError("expected the same power of a mode and of the opposite one, got differences")
    found = np.fft.fftshift(np.fft.ifft2(power).real)
    # Of an even size, the farthest lag stands on one side and means both.
    for axis, n in enumerate(power.shape):
        if n % 2 == 0:
            first = np.take(found, [0], axis=axis) / 2
            found = np.concatenate([first, np.delete(found, 0, axis=axis), first], axis=axis)
    return np.asarray(found)


def draw(image: Image, seed: int) -> np.ndarray:
    """Noise for a stamp, by GalSim, shape (ny, nx) [flux].

    GalSim's noise is periodic, so it is drawn on a larger stamp, in which no lag between the pixels that are kept is
    shorter the other way round.
    """
    import galsim

    n_y, n_x = (n + lag for n, lag in zip((image.size_y, image.size_x), of_stamp(image).shape, strict=True))
    drawn = galsim.ImageD(n_x, n_y, scale=image.pixel_scale)
    noise = _noise(image)
    noise.rng.seed(seed)
    drawn.addNoise(noise)
    return np.asarray(drawn.array[: image.size_y, : image.size_x])


@functools.lru_cache(maxsize=2)
def _noise(image: Image) -> galsim.BaseCorrelatedNoise:
    """GalSim's noise, which remembers its power spectrum."""
    import galsim

    assert image.noise.sigma is not None
    table = galsim.ImageD(of_stamp(image) * image.noise.sigma**2)
    profile = galsim.InterpolatedImage(table, scale=image.pixel_scale, x_interpolant="linear", normalization="sb")
    return galsim.BaseCorrelatedNoise(galsim.BaseDeviate(1), profile, galsim.PixelScale(image.pixel_scale))


def _periodic(correlation: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The correlation on a periodic grid, lag 0 first; lags that meet are added."""
    found = np.zeros(shape)
    rows, columns = ((np.arange(n) - n // 2) % size for n, size in zip(correlation.shape, shape, strict=True))
    np.add.at(found, (rows[:, None], columns), correlation)
    return found

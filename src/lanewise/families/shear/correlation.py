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
from lanewise.families.shear.scene import COSMOS, Correlation, Image
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
    if isinstance(given, str) and given != COSMOS:
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
        if len(values) != 1 or not all(n % 2 for n in values.shape[1:]):
            raise DataError(f"{where}: expected one image of odd size, lag 0 in the middle, got shape {values.shape}")
        found = values[0].astype(np.float64)
    top = found[found.shape[0] // 2, found.shape[1] // 2]
    if not (np.all(np.isfinite(found)) and top > 0 and np.abs(found).max() <= top):
        raise DataError(f"{where}: expected a correlation, whose largest value stands in the middle, at lag 0")
    scaled: np.ndarray = found / top
    if np.abs(scaled - scaled[::-1, ::-1]).max() > 1e-6:
        raise DataError(f"{where}: expected the same value at a lag and at the opposite one, got differences")
    spectrum = np.fft.fft2(scaled, [4 * n for n in scaled.shape])
    y, x = (np.fft.fftfreq(4 * n) * (n // 2) for n in scaled.shape)
    power = (spectrum * np.exp(2j * np.pi * (y[:, None] + x))).real
    if power.min() < _LEAST_POWER * power.max():
        raise DataError(
            f"{where}: the smallest power of a mode is {power.min() / power.max():.1g} of the largest, expected at "
            f"least {_LEAST_POWER:g}, as of noise with a white part; add some to lag 0, or use larger pixels"
        )
    return scaled


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
    return np.asarray(
        image.noise.sigma**2 * np.fft.rfft2(_periodic(of_stamp(image), (image.size_y, image.size_x))).real
    )


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

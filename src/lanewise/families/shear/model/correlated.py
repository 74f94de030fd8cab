"""The likelihood of correlated noise: exact, or with a periodic covariance where that is as good.

The covariance of a stamp's pixels is C, exact, or the K of a periodic stamp, which its power spectrum divides mode by
mode. They differ at the edges. An estimate from K is not biased, but its scatter differs from the width that K
predicts; `periodic_error` computes by how much.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, signal

from lanewise.families.shear import correlation
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.exposures import Exposure
from lanewise.families.shear.model.fourier import multiplicity
from lanewise.families.shear.model.grid import GridRenderer
from lanewise.families.shear.model.render import CAREFUL, derivative, in_precision, probes
from lanewise.families.shear.scene import Image
from lanewise.manifest.problem import Data

# Largest relative error of a posterior width by the periodic covariance, and largest excess of the scatter.
TOLERANCE = 0.002
# Largest share of the squared weights of `whitened_by` across the edge of the stamp.
_ACROSS = 1e-4


class CorrelatedLikelihood:
    """Gaussian noise with one covariance for all images, or one for each exposure, for drawn images.

    Args:
        periodic: divide by the power spectrum of a periodic stamp: two transforms by products of small matrices. False:
            multiply with the root of the inverse covariance, one matrix of all pixels.
    """

    def __init__(self, config: ShearConfig, renderer: GridRenderer, *, periodic: bool) -> None:
        self._image, self._renderer, self._periodic = config.image, renderer, periodic
        dtype = np.dtype(config.inference.precision)
        self._per_exposure = config.image.noise.per_exposure
        if periodic:
            waves = _waves(config.image)
            if not self._per_exposure:
                self._root = jnp.asarray(_root(config.image, correlation.power(config.image)), dtype)
            self._x, self._y = (tuple(jnp.asarray(part, dtype) for part in axis) for axis in waves)
        else:
            inverse = linalg.solve_triangular(factor(config.image), np.eye(_n_pixels(config.image)), lower=True)
            self._inverse = jnp.asarray(inverse, dtype)

    def prepare(self, data: Mapping[str, np.ndarray], exposure: Exposure | None = None) -> dict[str, np.ndarray]:
        """The whitened image, computed once on the host in double precision.

        Of an exposure also its `frame`, and the `root` of the power of a noise of its own.
        """
        image = np.asarray(data["image"], np.float64)
        own, counts = ({}, True) if exposure is None else ({"frame": exposure.frame}, exposure.counts)
        if not self._periodic:
            return {"white": counts * whitened(self._image, image).ravel(), **own}
        root = _root(self._image, data["power"] if self._per_exposure else correlation.power(self._image))
        modes = counts * np.fft.rfft2(image) * root
        own |= {"root": root} if self._per_exposure else {}
        return {"white": np.concatenate([modes.real.ravel(), modes.imag.ravel()]), **own}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Log likelihood up to a constant of the data."""
        return -0.5 * jnp.sum((data["white"] - self.prediction(p, data)) ** 2)

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The whitened model, with independent noise of variance 1."""
        image = self._renderer(p, data)
        if not self._periodic:
            return self._inverse @ image.ravel()
        (cos_x, sin_x), (cos_y, sin_y) = self._x, self._y
        even, odd = image @ cos_x, image @ sin_x
        re, im = cos_y @ even - sin_y @ odd, -(sin_y @ even) - cos_y @ odd
        root = data["root"] if self._per_exposure else self._root
        return jnp.concatenate([(root * re).ravel(), (root * im).ravel()])


def mode_sigma(image: Image) -> np.ndarray:
    """Standard deviation of each mode of rfft2 of the periodic noise, per root of a pixel [flux]."""
    return np.asarray(np.sqrt(correlation.power(image)))


def whitened(image: Image, pixels: np.ndarray) -> np.ndarray:
    """Images whose noise is then exactly white, of variance 1: a pixel in the noise that the ones before do not tell.

    Args:
        pixels: shape (…, ny, nx) [flux].
    """
    flat = pixels.reshape(-1, _n_pixels(image)).T
    found: np.ndarray = linalg.solve_triangular(factor(image), flat, lower=True, check_finite=False)
    return found.T.reshape(pixels.shape)


def whitened_by(power: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Images whose noise is then white, of variance 1, in the pixels of `inner`.

    Args:
        power: of the noise, as `correlation.power`, shape (…, ny, nx // 2 + 1) [flux²].
        pixels: shape (…, ny, nx) [flux].
    """
    return np.asarray(np.fft.irfft2(np.fft.rfft2(pixels) / np.sqrt(power), pixels.shape[-2:]))


def inner(power: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels that `whitened_by` makes of pixels of the stamp alone, and of none across its edge, shape (…, ny, nx)."""
    squares = np.fft.irfft2(1 / np.sqrt(power), shape) ** 2
    kept = []
    for axis in (-2, -1):
        n = shape[axis]
        along = squares.sum(axis=-3 - axis)
        lag = np.minimum(np.arange(n), n - np.arange(n))
        beyond = np.stack([along[..., lag > reach].sum(axis=-1) for reach in range(n // 2 + 1)], axis=-1)
        reach = np.argmax(beyond <= _ACROSS * along.sum(axis=-1, keepdims=True), axis=-1)[..., None]
        kept.append((np.arange(n) >= reach) & (np.arange(n) < n - reach))
    return np.asarray(kept[0][..., :, None] & kept[1][..., None, :])


@functools.lru_cache(maxsize=2)
def factor(image: Image) -> np.ndarray:
    """Lower Cholesky factor of the covariance of the stamp's pixels, row by row [flux], shape (n, n)."""
    found: np.ndarray = linalg.cholesky(covariance(image), lower=True, overwrite_a=True)
    return found


def covariance(image: Image) -> np.ndarray:
    """Covariance of the stamp's pixels, row by row [flux²], shape (n, n)."""
    assert image.noise.sigma is not None
    known = correlation.of_stamp(image)
    # All lags of the stamp, 0 where none is known.
    n_y, n_x = image.size_y - 1, image.size_x - 1
    found = np.zeros((2 * n_y + 1, 2 * n_x + 1))
    reach_y, reach_x = min(n_y, known.shape[0] // 2), min(n_x, known.shape[1] // 2)
    middle_y, middle_x = known.shape[0] // 2, known.shape[1] // 2
    found[n_y - reach_y : n_y + reach_y + 1, n_x - reach_x : n_x + reach_x + 1] = known[
        middle_y - reach_y : middle_y + reach_y + 1, middle_x - reach_x : middle_x + reach_x + 1
    ]
    y, x = np.divmod(np.arange(_n_pixels(image)), image.size_x)
    return np.asarray(image.noise.sigma**2 * found[y[:, None] - y + n_y, x[:, None] - x + n_x])


@functools.lru_cache(maxsize=4)
def periodic_error(config: ShearConfig) -> float:
    """Largest relative error that a periodic covariance makes, around the centres of the priors; ∞ if there is none.

    Of the width of a linear estimate: the predicted one against its true scatter, and the scatter against that of the
    exact covariance, of every latent under its prior.

    Source:
        Generalized least squares with A = JᵀK⁻¹J: its estimate has covariance A⁻¹ JᵀK⁻¹ C K⁻¹J A⁻¹.
    """
    image = config.image
    power = correlation.power(image)
    if power.min() <= 0:
        return np.inf
    return max(_periodic_error(config, power, one) for one in slopes_at_probes(config))


def _periodic_error(config: ShearConfig, power: np.ndarray, slopes: np.ndarray) -> float:
    """`periodic_error` for these slopes of the image, shape (n_latents, ny, nx)."""
    image = config.image
    weighted = _weighted(slopes, power).reshape(len(slopes), -1)
    # The exact covariance of the weighted sums, by its root.
    root = factor(image).T @ weighted.T
    exact = whitened(image, slopes).reshape(len(slopes), -1)
    claimed, scatter = _widths(config, slopes, weighted, root.T @ root)
    best = np.sqrt(np.diag(np.linalg.inv(exact @ exact.T + _prior(config))))
    return float(max(np.abs(claimed / scatter - 1).max(), np.abs(scatter / best - 1).max()))


def _root(image: Image, power: np.ndarray) -> np.ndarray:
    """From modes of rfft2 to modes of variance 1, shape (ny, nx // 2 + 1)."""
    return np.asarray(multiplicity(image.size_x) ** 0.5 / np.sqrt(power * _n_pixels(image)))


def _waves(image: Image) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Cosine and sine of rfft2's waves along x, shape (nx, nx // 2 + 1), and along y, shape (ny, ny)."""
    x = 2 * np.pi * np.outer(np.arange(image.size_x), np.fft.rfftfreq(image.size_x))
    y = 2 * np.pi * np.outer(np.fft.fftfreq(image.size_y), np.arange(image.size_y))
    return (np.cos(x), np.sin(x)), (np.cos(y), np.sin(y))


@functools.lru_cache(maxsize=8)
def slopes_at_probes(config: ShearConfig) -> tuple[np.ndarray, ...]:
    """At each of `render.probes` the derivatives of the image by the latents, shape (n_latents, ny, nx)."""
    with jax.enable_x64(True):
        draw = jax.jit(GridRenderer(in_precision(config, "float64"), CAREFUL))
        return tuple(derivative(config, draw, at) for at in probes(config))


def width_error(config: ShearConfig, power: np.ndarray, lags: np.ndarray) -> float:
    """Largest relative error of a predicted width by a periodic covariance, as the first of `periodic_error`.

    Without a matrix of all pixels, so that it serves for the noise of each exposure. Where the predicted width is the
    true scatter, errors hold; the exact covariance may still have a smaller scatter.

    Args:
        power: of the periodic noise, as `correlation.power` [flux²].
        lags: covariances of the exact noise, as `correlation.lags` [flux²].
    """
    return max(_width_error(config, one, power, lags) for one in slopes_at_probes(config))


def _width_error(config: ShearConfig, slopes: np.ndarray, power: np.ndarray, lags: np.ndarray) -> float:
    images = _weighted(slopes, power)
    spread = signal.fftconvolve(images, lags[None], mode="same", axes=(1, 2)).reshape(len(slopes), -1)
    weighted = images.reshape(len(slopes), -1)
    claimed, scatter = _widths(config, slopes, weighted, weighted @ spread.T)
    return float(np.abs(claimed / scatter - 1).max())


def _weighted(slopes: np.ndarray, power: np.ndarray) -> np.ndarray:
    """K⁻¹ J as images, shape (n_latents, ny, nx)."""
    return np.asarray(np.fft.irfft2(np.fft.rfft2(slopes) / power, slopes.shape[1:]))


def _widths(
    config: ShearConfig, slopes: np.ndarray, weighted: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted width and true scatter of every latent.

    Args:
        weighted: K⁻¹ J, shape (n_latents, n).
        spread: covariance JᵀK⁻¹ C K⁻¹J of the weighted sums.
    """
    prior = _prior(config)
    claimed = np.linalg.inv(slopes.reshape(len(slopes), -1) @ weighted.T + prior)
    scatter = claimed @ (spread + prior) @ claimed
    return np.sqrt(np.diag(claimed)), np.sqrt(np.diag(scatter))


def _prior(config: ShearConfig) -> np.ndarray:
    return np.diag([(p.high - p.centre) ** -2.0 for p in config.latents.values()])


def _n_pixels(image: Image) -> int:
    return image.size_y * image.size_x

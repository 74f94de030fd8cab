"""The renderer in Fourier space, and a likelihood that needs no Fourier transform per evaluation.

The image is a sum over the modes of a periodic grid: flux · T_galaxy(Sᵀk) · T_psf(k) · T_pixel(k) · exp(−i k·x).
Shear and size act on the k grid; the centre is a phase, separable in x and y. White noise stays white under the
transform (Parseval), so the data are transformed once and compared mode by mode. One evaluation with its gradient
costs about two transforms of the stamp.

The periodic grid of the stamp itself is exact if the galaxy fits the stamp and the point-spread function ends before
the Nyquist frequency. Otherwise, and for noise that differs from pixel to pixel, images are drawn; see `grid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model import exposures, psf
from lanewise.families.shear.model.exposures import Exposure
from lanewise.families.shear.model.light import Ellipse, Light, Part
from lanewise.manifest.problem import Data

# Modes whose transfer is below this are left out: they contain noise only. The transfer is 1 at k = 0.
_BAND_EDGE = 1e-9


def transfer(config: ShearConfig, kx: np.ndarray, ky: np.ndarray, exposure: Exposure | None = None) -> np.ndarray:
    """Product of the transforms of point-spread function and pixel, shape (len(ky), len(kx)); k [rad/arcsec].

    Args:
        exposure: whose point-spread function, Jacobian and centre replace those of the config; k is in its pixels.
    """
    found = exposure.transfer(config, kx, ky) if exposure else psf.transform(config.psf, kx, ky)
    if config.psf.includes_pixel:
        return found
    scale = config.image.pixel_scale
    return found * (np.sinc(ky * scale / (2 * np.pi))[:, None] * np.sinc(kx * scale / (2 * np.pi)))


class _Band(NamedTuple):
    """The modes of a periodic grid that the point-spread function and the pixel let through.

    Attributes:
        rows, columns: their indices in the output of rfft2.
        kx, ky: their wave numbers [rad/arcsec].
        transfer: transform of point-spread function and pixel at these modes, shape (len(ky), len(kx)).
    """

    rows: np.ndarray
    columns: np.ndarray
    kx: np.ndarray
    ky: np.ndarray
    transfer: np.ndarray


def _band(config: ShearConfig, shape: tuple[int, int], spacing: float) -> _Band:
    kx, ky = 2 * np.pi * np.fft.rfftfreq(shape[1], spacing), 2 * np.pi * np.fft.fftfreq(shape[0], spacing)
    full = transfer(config, kx, ky)
    size = np.abs(full)
    columns, rows = np.flatnonzero(size.max(axis=0) > _BAND_EDGE), np.flatnonzero(size.max(axis=1) > _BAND_EDGE)
    return _Band(rows, columns, kx[columns], ky[rows], full[np.ix_(rows, columns)])


def on_device(values: Any, dtype: Any) -> Any:
    """Arrays on the device, in this precision.

    They are rounded on the host, because a conversion by JAX would have to be compiled.
    """
    return jax.tree.map(lambda array: jax.device_put(array.astype(dtype)), values)


class Numbers(NamedTuple):
    """The quantities that the modes depend on: the ellipse, the centre [arcsec] and the components."""

    ellipse: Ellipse
    x: jax.Array
    y: jax.Array
    parts: tuple[Part, ...]


def numbers_of(light: Light, p: Mapping[str, Any], pixel_scale: float, frame: jax.Array | None) -> Numbers:
    """The quantities for parameters p; x, y [pixel] are offsets along the axes of the sky.

    Args:
        frame: of an exposure; None: the pixels have the axes of the sky.
    """
    ellipse, x, y = light.ellipse(p), p["x"] * pixel_scale, p["y"] * pixel_scale
    if frame is not None:
        ellipse, x, y = exposures.seen(ellipse, x, y, frame)
    return Numbers(ellipse, x, y, light.parts(p))


class ModeLikelihood:
    """Gaussian likelihood of the modes of the stamp's own grid, for white noise, or noise of a periodic covariance.

    data after `prepare`: `re`, `im`, shape (n_ky, n_kx), the whitened modes inside the band. Modes outside it contain
    noise only and add a constant, which is left out. Of an exposure also its `frame` and its whitened `transfer`.

    Args:
        sigma: standard deviation of a pixel [flux]; of correlated noise, that of each mode of rfft2 per root of a
            pixel, shape (ny, nx // 2 + 1); None: every exposure has its `power`, the square of that.
    """

    def __init__(self, config: ShearConfig, sigma: float | np.ndarray | None) -> None:
        self._config, image = config, config.image
        self._dtype = jnp.dtype(config.inference.precision)
        self._light = Light(config, self._dtype)
        self._band = _band(config, (image.size_y, image.size_x), image.pixel_scale)
        kx, ky = self._band.kx, self._band.ky
        self._whiten = None if sigma is None else self._whitening(sigma)
        self._kx, self._ky = on_device(kx, self._dtype), on_device(ky, self._dtype)
        # Without a noise of the config each exposure brings its own, in its transfer.
        shared = np.abs(self._band.transfer) * (1.0 if self._whiten is None else self._whiten)
        self._transfer = on_device(shared, self._dtype)
        centre_x, centre_y = ((size - 1) / 2 * image.pixel_scale for size in (image.size_x, image.size_y))
        # The phase of a PSF image is removed from the data, so that the transfer is real; the noise stays white.
        self._recentre = np.exp(1j * (ky[:, None] * centre_y + kx * centre_x))
        self._scale = image.pixel_scale
        self._log_likelihood = _with_gradient(self._value, self._terms)

    def prepare(self, data: Mapping[str, np.ndarray], exposure: Exposure | None = None) -> dict[str, np.ndarray]:
        """The whitened modes of `image` about its centre, computed once on the host in double precision."""
        found = np.fft.rfft2(data["image"])[np.ix_(self._band.rows, self._band.columns)]
        whiten = self._whitening(np.sqrt(data["power"])) if self._whiten is None else self._whiten
        if exposure is None:
            modes = found * self._turn(self._band.transfer) * whiten
            return {"re": modes.real, "im": modes.imag}
        own = transfer(self._config, self._band.kx, self._band.ky, exposure)
        modes = exposure.counts * found * self._turn(own) * whiten
        return {"re": modes.real, "im": modes.imag, "transfer": np.abs(own) * whiten, "frame": exposure.frame}

    def _whitening(self, sigma: float | np.ndarray) -> np.ndarray:
        """Factor from a mode to one whose noise has variance 1, shape (n_ky, n_kx) or (n_kx,)."""
        image = self._config.image
        whiten = np.sqrt(multiplicity(image.size_x)) / (sigma * np.sqrt(image.size_x * image.size_y))
        return np.asarray(whiten[np.ix_(*[self._band.rows, self._band.columns][-whiten.ndim :])])

    def _turn(self, transfer: np.ndarray) -> np.ndarray:
        """Factor that moves the origin to the middle of the stamp, and makes the transfer real."""
        size = np.abs(transfer)
        return np.asarray(self._recentre * (np.conj(transfer) / np.where(size > 0, size, 1.0)))

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Log likelihood up to a constant; its analytic gradient costs a third of automatic differentiation."""
        transfer = data.get("transfer", self._transfer)
        found: jax.Array = self._log_likelihood(self._numbers(p, data), data["re"], data["im"], transfer)
        return found

    def prediction(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """The whitened modes of the model for Gauss–Newton, real parts first, shape (2 n_ky n_kx,)."""
        numbers = self._numbers(p, data)
        t = squared_wave_numbers(numbers.ellipse, self._kx, self._ky)
        amplitude = data.get("transfer", self._transfer) * self._light.transform(t, numbers.parts)
        cos, sin = phase(self._kx * numbers.x, self._ky * numbers.y)
        return jnp.concatenate([(amplitude * cos).ravel(), (amplitude * sin).ravel()])

    def _numbers(self, p: Mapping[str, Any], data: Data) -> Numbers:
        return numbers_of(self._light, p, self._scale, data.get("frame"))

    def _value(self, numbers: Numbers, re: jax.Array, im: jax.Array, transfer: jax.Array) -> jax.Array:
        """The log likelihood."""
        amplitude = transfer * self._light.transform(
            squared_wave_numbers(numbers.ellipse, self._kx, self._ky), numbers.parts
        )
        cos, sin = phase(self._kx * numbers.x, self._ky * numbers.y)
        residual_re, residual_im = re - amplitude * cos, im + amplitude * sin
        found: jax.Array = -0.5 * jnp.sum(residual_re * residual_re + residual_im * residual_im)
        return found

    def _terms(self, numbers: Numbers, re: jax.Array, im: jax.Array, transfer: jax.Array) -> tuple[jax.Array, Numbers]:
        """The log likelihood and its derivative with respect to each of the numbers."""
        kx, ky = self._kx, self._ky
        shape, slope, by_parts = self._light.slopes(squared_wave_numbers(numbers.ellipse, kx, ky), numbers.parts)
        amplitude = transfer * shape
        cos, sin = phase(kx * numbers.x, ky * numbers.y)
        # The residual of each mode, turned by the phase of the model, where the model is its amplitude. With a gradient
        # this saves half of the time; the value alone is a tenth slower than by `_value`.
        in_phase, in_quadrature = re * cos - im * sin - amplitude, re * sin + im * cos
        by_amplitude = in_phase * transfer
        by_t = by_amplitude * slope
        by_phase = -in_quadrature * amplitude
        by_numbers = jax.tree.map(lambda by_number: jnp.sum(by_amplitude * by_number), by_parts)
        # Sums weighted by kx², kx ky and ky²; the last two reuse products with vectors.
        ellipse = Ellipse(jnp.sum(by_t @ (kx * kx)), 2 * (ky @ (by_t @ kx)), (ky * ky) @ jnp.sum(by_t, axis=1))
        gradient = Numbers(ellipse, jnp.sum(by_phase @ kx), ky @ jnp.sum(by_phase, axis=1), by_numbers)
        return -0.5 * jnp.sum(in_phase * in_phase + in_quadrature * in_quadrature), gradient


def multiplicity(size_x: int) -> np.ndarray:
    """How many modes each column of rfft2 stands for: 2 for a conjugate pair, of which it stores one."""
    found = np.full(size_x // 2 + 1, 2.0)
    found[0] = 1.0
    if size_x % 2 == 0:
        found[-1] = 1.0
    return found


def _with_gradient(value: Any, terms: Any) -> Any:
    """The function `value` of (numbers, *data), with the gradient of `terms`, which returns (value, gradient)."""
    found = jax.custom_jvp(value)

    @found.defjvp
    def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        # No derivative with respect to the data is needed.
        at, gradient = terms(*primals)
        leaves = zip(jax.tree.leaves(gradient), jax.tree.leaves(tangents[0]), strict=True)
        return at, sum(g * dot for g, dot in leaves)

    return found


def squared_wave_numbers(ellipse: Ellipse, kx: jax.Array, ky: jax.Array) -> jax.Array:
    """t = |Sᵀk|² r² of every mode, shape (len(ky), len(kx))."""
    return (ellipse.yy * ky * ky)[:, None] + ellipse.xx * kx * kx + (2 * ellipse.xy * ky)[:, None] * kx


def phase(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of y[:, None] + x by the addition theorems: len(x) + len(y) evaluations, not their product."""
    cx, sx, cy, sy = jnp.cos(x), jnp.sin(x), jnp.cos(y)[:, None], jnp.sin(y)[:, None]
    return cy * cx - sy * sx, sy * cx + cy * sx

"""The renderer in Fourier space, and the likelihood without a Fourier transform in its loop.

The image is a sum over the modes of a periodic grid: flux · T_galaxy(Sᵀk) · T_psf(k) · T_pixel(k) · exp(−i k·x).
Shear and size act on the k grid, the centre is a phase, separable in x and y. White noise stays white under the
transform (Parseval), so the data are transformed once and compared mode by mode, for the cost of about two transforms
of the stamp, gradient included.

The periodic grid of the stamp itself is exact as long as the galaxy fits the stamp and the point-spread function ends
before the Nyquist frequency; a padded and finer grid, transformed back and cropped, is right for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.problems.base import Data
from lanewise.problems.shear.config import ShearConfig
from lanewise.problems.shear.profiles import GALAXIES, Profile, point_spread

# Modes whose transfer is below this, relative to the largest, are left out: they hold noise only.
_BAND_EDGE = 1e-9


class Ellipse(NamedTuple):
    """|Sᵀk|² r² = xx kx² + 2 xy kx ky + yy ky² [arcsec²]."""

    xx: jax.Array
    xy: jax.Array
    yy: jax.Array


def ellipse(profile: Profile, p: Mapping[str, Any]) -> Ellipse:
    """The quadratic form of a galaxy of distortion (e1, e2) that is then sheared by (g1, g2)."""
    (a, b, c, d) = _product(_shear(p["g1"], p["g2"]), _shear(*intrinsic_shear(p)))
    r2 = (p["half_light_radius"] / profile.half_light) ** 2
    return Ellipse(r2 * (a * a + b * b), r2 * (a * c + b * d), r2 * (c * c + d * d))


def intrinsic_shear(p: Mapping[str, Any]) -> tuple[Any, Any]:
    """The distortion (e1, e2) as a reduced shear; unlike GalSim's own conversion it has a derivative at e = 0."""
    to_g = 1 / (1 + jnp.sqrt(1 - p["e1"] ** 2 - p["e2"] ** 2))
    return p["e1"] * to_g, p["e2"] * to_g


def transfer(config: ShearConfig, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """Transform of point-spread function and pixel, shape (len(ky), len(kx)); k [rad/arcsec]."""
    scale = config.image.pixel_scale
    pixel = np.sinc(ky * scale / (2 * np.pi))[:, None] * np.sinc(kx * scale / (2 * np.pi))
    return point_spread(config.psf, np.hypot(ky[:, None], kx)) * pixel


class GridRenderer:
    """Images by one inverse transform of a padded, finer grid.

    Args:
        padding: size of the grid in stamps; against the wrap-around of light that leaves the stamp.
        oversampling: grid points per pixel; against modes beyond the Nyquist frequency.
    """

    def __init__(self, config: ShearConfig, padding: int, oversampling: int) -> None:
        image = config.image
        self._dtype = jnp.dtype(config.inference.precision)
        self._profile = GALAXIES[config.galaxy.type]
        self._shape = (image.size_y * padding * oversampling, image.size_x * padding * oversampling)
        self._step = oversampling
        self._crop = (image.size_y, image.size_x)
        self._scale = image.pixel_scale
        spacing = image.pixel_scale / oversampling
        kx, ky = (
            2 * np.pi * np.fft.rfftfreq(self._shape[1], spacing),
            2 * np.pi * np.fft.fftfreq(self._shape[0], spacing),
        )
        self._kx, self._ky = jnp.asarray(kx, self._dtype), jnp.asarray(ky, self._dtype)
        # The pixels' flux, sampled at their centres: the density of the grid times the area of a pixel.
        self._transfer = jnp.asarray(transfer(config, kx, ky) * oversampling**2, self._dtype)

    def __call__(self, p: Mapping[str, Any]) -> jax.Array:
        """The image, shape (ny, nx) [flux per pixel]."""
        form = ellipse(self._profile, p)
        kx, ky = self._kx, self._ky
        t = (form.yy * ky * ky)[:, None] + form.xx * kx * kx + 2 * form.xy * ky[:, None] * kx
        amplitude = p["flux"] * self._transfer * self._profile.transform(t)[0]
        x, y = ((size - 1) / 2 + p[axis] for size, axis in zip(self._crop[::-1], "xy", strict=True))
        cos, sin = _phase(kx * x * self._scale, ky * y * self._scale)
        modes = jax.lax.complex(amplitude * cos, -amplitude * sin)
        image = jnp.fft.irfft2(modes, self._shape)
        return image[:: self._step, :: self._step][: self._crop[0], : self._crop[1]]


class ModeLikelihood:
    """Gaussian likelihood of the stamp's own modes, for white noise.

    data after `prepare`: `re`, `im`, shape (n_ky, n_kx), the whitened modes inside the band; modes outside it, which
    hold noise only, are a constant that is left out.
    """

    def __init__(self, config: ShearConfig) -> None:
        image = config.image
        self._dtype = jnp.dtype(config.inference.precision)
        self._profile = GALAXIES[config.galaxy.type]
        kx = 2 * np.pi * np.fft.rfftfreq(image.size_x, image.pixel_scale)
        ky = 2 * np.pi * np.fft.fftfreq(image.size_y, image.pixel_scale)
        # All modes but those of the first column, and of the last where the width is even, stand for two.
        twice = np.full(kx.size, 2.0)
        twice[0] = 1.0
        if image.size_x % 2 == 0:
            twice[-1] = 1.0
        whiten = np.sqrt(twice) / (image.noise.sigma * np.sqrt(image.size_x * image.size_y))
        full = transfer(config, kx, ky)
        self._columns = np.flatnonzero(full.max(axis=0) > _BAND_EDGE)
        self._rows = np.flatnonzero(full.max(axis=1) > _BAND_EDGE)
        kx, ky, whiten = kx[self._columns], ky[self._rows], whiten[self._columns]
        self._kx, self._ky = jnp.asarray(kx, self._dtype), jnp.asarray(ky, self._dtype)
        self._whiten = whiten
        self._transfer = jnp.asarray(full[np.ix_(self._rows, self._columns)] * whiten, self._dtype)
        centre_x, centre_y = ((size - 1) / 2 * image.pixel_scale for size in (image.size_x, image.size_y))
        self._recentre = np.exp(1j * (ky[:, None] * centre_y + kx * centre_x))
        self._scale = image.pixel_scale
        self._log_likelihood = _with_gradient(self._terms)

    def prepare(self, data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Transform an image once, about its centre; on the host, in double precision."""
        modes = np.fft.rfft2(data["image"])[np.ix_(self._rows, self._columns)] * self._recentre * self._whiten
        return {"re": modes.real, "im": modes.imag}

    def log_likelihood(self, p: Mapping[str, Any], data: Data) -> jax.Array:
        """Up to a constant; the gradient is written out, a third of what automatic differentiation would cost."""
        found: jax.Array = self._log_likelihood(self._numbers(p), data["re"], data["im"])
        return found

    def prediction(self, p: Mapping[str, Any]) -> jax.Array:
        """The whitened model modes, flat; for Gauss–Newton."""
        amplitude, _, _, cos, sin = self._modes(self._numbers(p))
        return jnp.concatenate([(amplitude * cos).ravel(), (amplitude * sin).ravel()])

    def _numbers(self, p: Mapping[str, Any]) -> tuple[jax.Array, ...]:
        """All that the modes depend on: flux, the ellipse, and the centre [arcsec]."""
        form = ellipse(self._profile, p)
        return (p["flux"], *form, p["x"] * self._scale, p["y"] * self._scale)

    def _modes(self, numbers: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Amplitude, transform per flux, d ln amplitude / dt, and the phase's cosine and sine."""
        flux, xx, xy, yy, x, y = numbers
        kx, ky = self._kx, self._ky
        t = (yy * ky * ky)[:, None] + xx * kx * kx + (2 * xy * ky)[:, None] * kx
        shape, slope = self._profile.transform(t)
        unit = self._transfer * shape
        return flux * unit, unit, slope, *_phase(kx * x, ky * y)

    def _terms(
        self, numbers: tuple[jax.Array, ...], re: jax.Array, im: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """The log likelihood and its derivative by each number."""
        amplitude, unit, slope, cos, sin = self._modes(numbers)
        kx, ky = self._kx, self._ky
        off_re, off_im = re - amplitude * cos, im + amplitude * sin
        along, across = off_re * cos - off_im * sin, off_re * sin + off_im * cos
        by_t = along * amplitude * slope
        by_phase = -across * amplitude
        # Sums of by_t over kx², kx ky and ky² from its products with kx alone.
        by_t_kx = by_t @ kx
        gradient = (
            jnp.sum(along * unit),
            jnp.sum(by_t @ (kx * kx)),
            2 * (ky @ by_t_kx),
            (ky * ky) @ jnp.sum(by_t, axis=1),
            jnp.sum(by_phase @ kx),
            ky @ jnp.sum(by_phase, axis=1),
        )
        return -0.5 * jnp.sum(off_re * off_re + off_im * off_im), gradient


def _with_gradient(terms: Any) -> Any:
    """A function of (numbers, re, im) whose derivative by the numbers is what `terms` returns beside its value."""

    @jax.custom_jvp
    def value(numbers: tuple[jax.Array, ...], re: jax.Array, im: jax.Array) -> jax.Array:
        found: jax.Array = terms(numbers, re, im)[0]
        return found

    @value.defjvp
    def _(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        # The data are never differentiated by.
        found, gradient = terms(*primals)
        return found, sum(g * dot for g, dot in zip(gradient, tangents[0], strict=True))

    return value


def _phase(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of y[:, None] + x: a line of them each way, and products, in place of a plane of them."""
    cx, sx, cy, sy = jnp.cos(x), jnp.sin(x), jnp.cos(y)[:, None], jnp.sin(y)[:, None]
    return cy * cx - sy * sx, sy * cx + cy * sx


def _shear(g1: Any, g2: Any) -> tuple[Any, Any, Any, Any]:
    """The shear matrix of unit determinant, row by row."""
    norm = 1 / jnp.sqrt(1 - g1 * g1 - g2 * g2)
    return norm * (1 + g1), norm * g2, norm * g2, norm * (1 - g1)


def _product(left: tuple[Any, ...], right: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
    (a, b, c, d), (e, f, g, h) = left, right
    return a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h

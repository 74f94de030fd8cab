"""Images as sums over Fourier modes at the pixels of the stamp, by products of small matrices.

The modes have the spacing of a stamp that is `padding` times as large, so that light repeats at that distance only, and
extend to `band` times the Nyquist frequency. A fast Fourier transform would compute all pixels of the larger, finer
stamp; the sum here is separable in x and y and computes those that are kept. A padding need not be an integer.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.exposures import Exposure
from lanewise.families.shear.model.fourier import (
    Numbers,
    numbers_of,
    on_device,
    phase,
    squared_wave_numbers,
    transfer,
)
from lanewise.families.shear.model.light import Ellipse, Light
from lanewise.families.shear.model.refine import Window, Windows
from lanewise.families.shear.point_spread import PsfImages
from lanewise.manifest.problem import Data

# Modes whose transfer is below this are left out. The transfer is 1 at k = 0.
_BAND_EDGE = 1e-9
# The transfer is looked at up to here [Nyquist frequency].
_FARTHEST = 8


@dataclass(frozen=True)
class Grid:
    """The modes of which an image is the sum.

    Attributes:
        padding: distance of the light's periodic images [stamps].
        band: largest wave number [Nyquist frequency]; above 1 for point-spread functions that are undersampled.
        levels: number of refinements around k = 0 (`refine`); needed for wings that extend beyond the padding.
    """

    padding: float
    band: float
    levels: int = 0

    def __str__(self) -> str:
        """In words, e.g. `padding 1.25, modes up to 1.5 Nyquist, 0 refinements`."""
        return f"padding {self.padding:g}, modes up to {self.band:g} Nyquist, {self.levels} refinements"


class Modes(NamedTuple):
    """A rectangle of modes, and the matrices that sum them at the pixels.

    Attributes:
        kx: wave numbers ≥ 0 [rad/arcsec], shape (n_kx,).
        ky: wave numbers from −n to n steps [rad/arcsec], shape (2 n + 1,).
        weight: factor from the galaxy's transform to flux per pixel, shape (2 n + 1, n_kx).
        turn: cosine and sine of the phase of a complex weight, whose size `weight` then is; None if it is real.
        across, down: cosine and sine of kx x, shape (⌈nx/2⌉, n_kx), and of ky y, shape (⌈ny/2⌉, 2 n + 1), at the pixels
            with x ≥ 0 and y ≥ 0 from the middle of the stamp. The others are their mirror images.
    """

    kx: Any
    ky: Any
    weight: Any
    turn: tuple[Any, Any] | None
    across: tuple[Any, Any]
    down: tuple[Any, Any]

    def image(self, re: jax.Array, im: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """Σ re cos(k·x) − im sin(k·x) at every pixel of a stamp of this shape, (ny, nx)."""
        found: jax.Array = jax.lax.platform_dependent(
            re,
            im,
            cpu=functools.partial(self.by_halves, shape=shape),
            default=functools.partial(self.by_two_products, shape=shape),
        )
        return found

    def by_halves(self, re: jax.Array, im: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """As `image`, by half the arithmetic: for a CPU."""
        # No sums over ±ky and no stacked arrays, which would make the products smaller or fewer: XLA computes what goes
        # into them again for every part, and a mode is a long series for some profiles. With the sums, a gradient takes
        # a quarter fewer operations, but the Gauss-Newton curvature 9 to 18 times as long.
        (cos_x, sin_x), (cos_y, sin_y) = self.across, self.down
        along_cos = _mirrored(cos_y @ re, -(sin_y @ im), shape[0])
        along_sin = _mirrored(cos_y @ im, sin_y @ re, shape[0])
        return _mirrored(cos_x @ along_cos.T, -(sin_x @ along_sin.T), shape[1]).T

    def by_two_products(self, re: jax.Array, im: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """As `image`, in two products: for a GPU, where a launch costs more than the arithmetic of small products."""
        cos_x, cos_y = (_mirrored(cos, 0, n) for (cos, _), n in zip((self.across, self.down), shape[::-1], strict=True))
        sin_x, sin_y = (_mirrored(0, sin, n) for (_, sin), n in zip((self.across, self.down), shape[::-1], strict=True))
        # The rows of a pixel: that for cos kx x, then that for sin kx x.
        down = jnp.stack([jnp.concatenate([cos_y, -sin_y], 1), jnp.concatenate([-sin_y, -cos_y], 1)], 1)
        along = down.reshape(-1, 2 * len(self.ky)) @ jnp.concatenate([re, im])
        return along.reshape(len(cos_y), -1) @ jnp.concatenate([cos_x, sin_x], 1).T

    def phase(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Cosine and sine of k·(x, y) less the weight's phase, of every mode; x, y [arcsec]."""
        cos, sin = jax.lax.platform_dependent(self.kx * x, self.ky * y, cpu=_phase, default=phase)
        if self.turn is None:
            return cos, sin
        return cos * self.turn[0] + sin * self.turn[1], sin * self.turn[0] - cos * self.turn[1]


class GridRenderer:
    """Images of a config's galaxies; x, y are offsets from the middle of the stamp [pixel].

    Args:
        name: of the prepared arrays of exposures.
    """

    def __init__(self, config: ShearConfig, grid: Grid, name: str = "modes") -> None:
        self._config, self._name = config, name
        self._rectangles = [each.with_known_window() for each in rectangles(config, grid)]
        self._dtype = jnp.dtype(config.inference.precision)
        self._light = Light(config, self._dtype)
        self._scale = config.image.pixel_scale
        self._size = config.image.size_y, config.image.size_x
        self._modes: tuple[Modes, ...] = on_device(modes_of(config, grid), self._dtype)
        self._image = jax.custom_jvp(self._one_by_one)
        self._image.defjvp(self._jvp)

    def __call__(self, p: Mapping[str, Any], data: Data | None = None) -> jax.Array:
        """The image, shape (ny, nx) [flux per pixel].

        Args:
            data: prepared arrays of one exposure; None, or without a frame: the pixels and PSF of the config.
        """
        if data is None or "frame" not in data:
            return self._image(self.numbers(p), self._modes)
        own = [data[name].astype(self._dtype) for name in self._names]
        modes = tuple(
            each._replace(weight=weight, turn=(cos, sin))
            for each, (weight, cos, sin) in zip(self._modes, own, strict=True)
        )
        return self._image(self.numbers(p, data["frame"].astype(self._dtype)), modes)

    @property
    def _names(self) -> list[str]:
        return [f"{self._name}{at}" for at in range(len(self._modes))]

    def prepare(self, exposure: Exposure) -> dict[str, np.ndarray]:
        """Weight, and cosine and sine of its phase, of the modes of an exposure, each of shape (3, n_ky, n_kx)."""
        weights = [_weight(self._config, each, each.size, exposure) for each in self._rectangles]
        turned = [np.stack([np.abs(w), np.cos(np.angle(w)), np.sin(np.angle(w))]) for w in weights]
        return dict(zip(self._names, turned, strict=True))

    def numbers(self, p: Mapping[str, Any], frame: jax.Array | None = None) -> Numbers:
        """What the modes depend on, for these parameters."""
        return numbers_of(self._light, p, self._scale, frame)

    def image(self, numbers: Numbers, modes: Sequence[Modes]) -> jax.Array:
        """The image for these numbers as the sum of these modes, which may be others than those of the grid."""
        shape = self._light.transform(_flat(modes, numbers.ellipse), numbers.parts)
        return _sum(modes, shape, numbers, self._size)

    def _one_by_one(self, numbers: Numbers, modes: Sequence[Modes]) -> jax.Array:
        """As `image`; on a CPU, where many at a time would leave the nearest cache, one after the other."""
        one_by_one = jax.custom_batching.sequential_vmap(self.image)
        found: jax.Array = jax.lax.platform_dependent(numbers, modes, cpu=one_by_one, default=self.image)
        return found

    def _jvp(self, primals: tuple[Numbers, Any], tangents: tuple[Numbers, Any]) -> tuple[jax.Array, jax.Array]:
        """The image and its change, from the analytic slopes of the modes."""
        # No derivative with respect to the modes is needed.
        (numbers, modes), (by, _) = primals, tangents
        shape, slope, by_parts = self._light.slopes(_flat(modes, numbers.ellipse), numbers.parts)
        slopes = zip(jax.tree.leaves(by_parts), jax.tree.leaves(by.parts), strict=True)
        growth = slope * _flat(modes, by.ellipse) + sum(derivative * dot for derivative, dot in slopes)
        changes = []
        for each, unit, grown in zip(modes, _split(shape, modes), _split(growth, modes), strict=True):
            cos, sin = each.phase(numbers.x, numbers.y)
            radial = each.weight * grown
            turned = each.weight * unit * ((each.ky * by.y)[:, None] + each.kx * by.x)
            changes.append(each.image(radial * cos - turned * sin, -radial * sin - turned * cos, self._size))
        return _sum(modes, shape, numbers, self._size), functools.reduce(jnp.add, changes)


def modes_of(config: ShearConfig, grid: Grid, sizes: Sequence[tuple[int, int]] = ()) -> tuple[Modes, ...]:
    """The modes of the grid and of its refinements, as arrays of the host.

    Args:
        sizes: (n_ky, n_kx) of each rectangle, at least that of `rectangles`; further modes have no weight. With equal
            sizes, one compiled program draws on several grids.
    """
    found = rectangles(config, grid)
    return tuple(_modes(config, each, size) for each, size in zip(found, sizes or [r.size for r in found], strict=True))


class Rectangle(NamedTuple):
    """Modes at whole steps of k, for 0 ≤ kx and |ky| up to an end.

    Attributes:
        size: (n_ky, n_kx), numbers of wave numbers ≥ 0.
        step: (step_y, step_x) [rad/arcsec].
    """

    size: tuple[int, int]
    step: tuple[float, float]
    window: Window

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """kx and ky [rad/arcsec]."""
        (n_y, n_x), (step_y, step_x) = self.size, self.step
        return step_x * np.arange(n_x), step_y * np.arange(1 - n_y, n_y)

    def with_known_window(self) -> Rectangle:
        """With a window that is computed now, for these axes, and not once more for every exposure."""
        values = self.window(*self.axes)
        return self._replace(window=lambda _kx, _ky: values)


def rectangles(config: ShearConfig, grid: Grid) -> list[Rectangle]:
    """The modes of the grid up to where the transfer ends, and those of its refinements."""
    extent = config.image.size_y * config.image.pixel_scale, config.image.size_x * config.image.pixel_scale
    nyquist = np.pi / config.image.pixel_scale
    step_y, step_x = steps = tuple(2 * np.pi / (grid.padding * size) for size in extent)
    # A mode at the end itself is taken in spite of rounding.
    n_y, n_x = (
        int(min(end, nyquist * grid.band) / step * (1 + 1e-9)) + 1
        for end, step in zip(_ends(config), steps, strict=True)
    )
    windows = Windows(extent, grid.padding, grid.levels)
    return [Rectangle((n_y, n_x), (step_y, step_x), windows.outside), *itertools.starmap(Rectangle, windows.levels)]


@functools.lru_cache(maxsize=4)
def _ends(config: ShearConfig) -> tuple[float, float]:
    """Largest |ky| and |kx| at which the transfer matters [rad/arcsec]."""
    if isinstance(config.psf, PsfImages):
        # Exposures may have narrower functions than the typical one.
        config = replace(config, psf=config.psf.narrowest)
    k = np.linspace(0, _FARTHEST * np.pi / config.image.pixel_scale, 16 * _FARTHEST + 1)
    size = np.maximum(*(np.abs(transfer(config, k, sign * k)) for sign in (1, -1))) > _BAND_EDGE
    # The first step outside.
    end_y, end_x = (k[min(np.flatnonzero(size.any(axis=axis))[-1] + 1, len(k) - 1)] for axis in (1, 0))
    return float(end_y), float(end_x)


def _weight(
    config: ShearConfig, rectangle: Rectangle, size: tuple[int, int], exposure: Exposure | None = None
) -> np.ndarray:
    """Factor from the galaxy's transform to flux per pixel, of every mode."""
    (step_y, step_x), scale = rectangle.step, config.image.pixel_scale
    kx, ky = rectangle._replace(size=size).axes
    # The image is real: a mode with kx > 0 also counts for its conjugate at −k.
    area = step_x * step_y / (2 * np.pi) ** 2 * scale**2
    weight = transfer(config, kx, ky, exposure) * np.where(kx > 0, 2.0, 1.0) * area * rectangle.window(kx, ky)
    kept_x, kept_y = rectangle.axes
    return np.where((np.abs(ky) <= kept_y[-1])[:, None] & (kx <= kept_x[-1]), weight, 0)


def _modes(config: ShearConfig, rectangle: Rectangle, size: tuple[int, int]) -> Modes:
    scale = config.image.pixel_scale
    kx, ky = rectangle._replace(size=size).axes
    weight = _weight(config, rectangle, size)
    turn = None
    if np.iscomplexobj(weight):
        angle, weight = np.angle(weight), np.abs(weight)
        turn = np.cos(angle), np.sin(angle)
    x, y = ((np.arange(n // 2, n) - (n - 1) / 2) * scale for n in (config.image.size_x, config.image.size_y))
    phase_x, phase_y = np.outer(x, kx), np.outer(y, ky)
    across, down = ((np.cos(phase), np.sin(phase)) for phase in (phase_x, phase_y))
    return Modes(kx, ky, weight, turn, across, down)


def _mirrored(even: Any, odd: Any, length: int) -> jax.Array:
    """even + odd, of `length` rows, from the rows at and beyond the middle; before it, that is even − odd."""
    return jnp.concatenate([(even - odd)[::-1][: length // 2], even + odd])


def _phase(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine of y[:, None] + x, as products of matrices.

    XLA computes the functions of both axes once for these, but again for every mode in sums (`fourier.phase`).
    """
    cx, sx, cy, sy = jnp.cos(x), jnp.sin(x), jnp.cos(y), jnp.sin(y)
    rows = jnp.concatenate([jnp.stack([cy, -sy], axis=1), jnp.stack([sy, cy], axis=1)])
    cos, sin = jnp.split(rows @ jnp.stack([cx, sx]), 2)
    return cos, sin


def _sum(modes: Sequence[Modes], shape: jax.Array, numbers: Numbers, size: tuple[int, int]) -> jax.Array:
    """The image, of (ny, nx) pixels, from the galaxy's transform at all modes."""
    images = []
    for each, unit in zip(modes, _split(shape, modes), strict=True):
        amplitude = each.weight * unit
        cos, sin = each.phase(numbers.x, numbers.y)
        images.append(each.image(amplitude * cos, -amplitude * sin, size))
    return functools.reduce(jnp.add, images)


def _flat(modes: Sequence[Modes], ellipse: Ellipse) -> jax.Array:
    """t of all modes in one array: a series is a long program, and this way it is compiled once."""
    found = [squared_wave_numbers(ellipse, each.kx, each.ky).ravel() for each in modes]
    return jnp.concatenate(found) if len(found) > 1 else found[0]


def _split(flat: jax.Array, modes: Sequence[Modes]) -> list[jax.Array]:
    ends = np.cumsum([each.weight.size for each in modes])[:-1]
    return [piece.reshape(each.weight.shape) for piece, each in zip(jnp.split(flat, ends), modes, strict=True)]

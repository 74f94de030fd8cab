"""Light far outside the grid, for profiles with long wings, without a large grid.

A periodic grid adds to the galaxy its periodic images, at every multiple of the grid's size. Their contribution is
smooth, so only modes near k = 0 are wrong: there the transform curves within the spacing of two modes. A smooth window
selects those modes, and they are summed on a k grid of half the spacing; a narrower window then selects the innermost
of these, and so on. Each level doubles the effective size of the grid and costs about sixty by thirty modes, for a
stamp of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

# Assumed largest distance of a pixel from the galaxy [stamps]. The nearest periodic image is then at least
# (padding − this) stamps away from every pixel.
_REACH_STAMPS = 0.75
# The window is Q(ORDER, k²/2κ²) = 1 − O(k^(2·ORDER)), so the wings of the periodic images fall faster by that many
# powers of the distance. κ = WIDTH / (distance of the nearest image), so the window's own tails are e^(−WIDTH²/2).
# Both found by experiment: the remaining error of a Sersic of n = 6 on a stamp of ten half-light radii is 4e-8.
_ORDER, _WIDTH = 5, 7.0
# The window is cut where it falls below this.
_EDGE = 1e-10

Transfer = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Windows:
    """The windows in k space that separate the modes of a grid and of its refinement levels.

    Args:
        extent: size of the stamp in y and x [arcsec].
        padding: size of the grid in stamps.
        levels: number of refinement levels; 0 for none.
    """

    def __init__(self, extent: tuple[float, float], padding: int, levels: int) -> None:
        self._extent, self._padding, self._levels = extent, padding, levels
        self._kappa = _WIDTH / ((padding - _REACH_STAMPS) * min(extent))

    def outside(self, kx: np.ndarray, ky: np.ndarray) -> np.ndarray | float:
        """Weight of the modes of the grid itself, shape (len(ky), len(kx)); 1 without refinement."""
        return 1 - self._window(0, kx, ky) if self._levels else 1.0

    def patches(self, transfer: Transfer, pixel_area: float) -> tuple[Patch, ...]:
        """The modes of every level with their weights; k [rad/arcsec], pixel_area [arcsec²]."""
        found = []
        for level in range(self._levels):
            reach = self._kappa / 2**level * np.sqrt(2 * special.gammainccinv(_ORDER, _EDGE))
            step_y, step_x = (np.pi / (self._padding * size * 2**level) for size in self._extent)
            kx = step_x * np.arange(np.ceil(reach / step_x) + 1)
            ky = step_y * np.arange(-np.ceil(reach / step_y), np.ceil(reach / step_y) + 1)
            weight = self._window(level, kx, ky)
            if level + 1 < self._levels:
                weight = weight - self._window(level + 1, kx, ky)
            # The image is real: a mode with kx > 0 also counts for its conjugate at −k.
            multiplicity = np.where(kx > 0, 2.0, 1.0)
            area = step_x * step_y / (2 * np.pi) ** 2
            found.append(Patch(kx, ky, transfer(kx, ky) * weight * multiplicity * area * pixel_area))
        return tuple(found)

    def _window(self, level: int, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        k2 = ky[:, None] ** 2 + kx**2
        return np.asarray(special.gammaincc(_ORDER, k2 / (2 * (self._kappa / 2**level) ** 2)))


class Patch(NamedTuple):
    """Modes of one level.

    Attributes:
        kx, ky: wave numbers [rad/arcsec].
        weight: factor from the galaxy's transform to flux per pixel, shape (len(ky), len(kx)).
    """

    kx: Any
    ky: Any
    weight: Any

    def draw(self, transform: jax.Array, *, x: jax.Array, y: jax.Array) -> jax.Array:
        """The modes' contribution to the image, shape (ny, nx) [flux per pixel].

        Args:
            transform: the galaxy's transform at these modes, shape (len(ky), len(kx)).
            x, y: distances of the pixels from the galaxy's centre along each axis [arcsec], shapes (nx,) and (ny,).
        """
        cx, sx = jnp.cos(self.kx[:, None] * x), jnp.sin(self.kx[:, None] * x)
        cy, sy = jnp.cos(self.ky * y[:, None]), jnp.sin(self.ky * y[:, None])
        modes = transform * self.weight
        image: jax.Array = cy @ modes.real @ cx - sy @ modes.real @ sx
        if jnp.iscomplexobj(modes):
            image -= sy @ modes.imag @ cx + cy @ modes.imag @ sx
        return image

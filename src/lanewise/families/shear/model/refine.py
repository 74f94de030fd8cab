"""Light far outside the grid, for profiles with long wings, without a large grid.

A periodic grid adds to the galaxy its periodic images, at every multiple of the grid's size. Their contribution is
smooth, so only modes near k = 0 are wrong: there the transform curves within the spacing of two modes. A smooth window
selects those modes, and they are summed on a k grid of half the spacing; a narrower window then selects the innermost
of these, and so on. Each level doubles the effective size of the grid and costs about sixty by thirty modes at a
padding of 2, for a stamp of any size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

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

# kx and ky [rad/arcsec] → weight of the modes, shape (len(ky), len(kx)).
Window = Callable[[np.ndarray, np.ndarray], np.ndarray | float]


class Windows:
    """The windows in k space that separate the modes of a grid and of its refinement levels.

    Args:
        extent: size of the stamp in y and x [arcsec].
        padding: size of the grid in stamps.
        levels: number of refinement levels; 0 for none.

    Attributes:
        levels: for every level, numbers (n_ky, n_kx) of modes and steps (step_y, step_x) [rad/arcsec] from k = 0 on,
            and their window.
    """

    def __init__(self, extent: tuple[float, float], padding: float, levels: int) -> None:
        self._kappa = _WIDTH / ((padding - _REACH_STAMPS) * min(extent))
        self._refined = levels > 0
        self.levels: list[tuple[tuple[int, int], tuple[float, float], Window]] = []
        for level in range(levels):
            reach = self._kappa / 2**level * np.sqrt(2 * special.gammainccinv(_ORDER, _EDGE))
            step_y, step_x = (np.pi / (padding * size * 2**level) for size in extent)
            number = int(np.ceil(reach / step_y)) + 1, int(np.ceil(reach / step_x)) + 1
            self.levels.append((number, (step_y, step_x), functools.partial(self._between, level, level + 1 < levels)))

    def outside(self, kx: np.ndarray, ky: np.ndarray) -> np.ndarray | float:
        """Weight of the modes of the grid itself, shape (len(ky), len(kx)); 1 without refinement."""
        return 1 - self._inside(0, kx, ky) if self._refined else 1.0

    def _between(self, level: int, narrower: bool, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """The window of a level, without what the next narrower one selects."""
        found = self._inside(level, kx, ky)
        return found - self._inside(level + 1, kx, ky) if narrower else found

    def _inside(self, level: int, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        k2 = ky[:, None] ** 2 + kx**2
        return np.asarray(special.gammaincc(_ORDER, k2 / (2 * (self._kappa / 2**level) ** 2)))

"""Where a galaxy stands in its stamp, to a pixel: where the search for the mode begins.

From the middle of the prior a search sees no more than the far wings of a galaxy six pixels away, and can end in a
corner of the prior's box.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from lanewise.problems.shear import foresight

if TYPE_CHECKING:
    from lanewise.problems.shear.config import ShearConfig
    from lanewise.problems.shear.priors import Prior

# On a bound itself the position is infinite; see `latents.Interval`.
_INSIDE = 0.99
# Share of the template's norm below which a shift has no pixels to tell of it.
_BEHIND_A_MASK = 1e-6


class Finder:
    """A matched filter: the shift of a Gaussian of the foreseen size that explains most of an image's χ²."""

    def __init__(self, config: ShearConfig) -> None:
        ny, nx = self._shape = config.image.size_y, config.image.size_x
        sigma = foresight.gaussian_sigma(config) / config.image.pixel_scale
        x, y = (np.arange(n) - (n - 1) / 2 for n in (nx, ny))
        template = np.exp(-(x**2 + y[:, None] ** 2) / (2 * sigma**2))
        # Twice the stamp: a shift leaves it rather than coming in on the other side.
        self._padded = (2 * ny, 2 * nx)
        self._template, self._square = (np.conj(np.fft.rfft2(t, self._padded)) for t in (template, template**2))
        # A position always has a prior.
        bounds = [cast("Prior", config.parameters[axis]).bounds for axis in "xy"]
        self._low, self._high = (np.array([_within(pair)[end] for pair in bounds]) for end in (0, 1))
        self._x, self._y = (_whole(pair) for pair in bounds)

    def __call__(self, image: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """The galaxy's centre, its offset from the image's centre [pixel]: x, y; shape (2,).

        The middle of the prior where nothing is bright, or is a number.

        Args:
            image: shape (ny, nx) [flux per pixel].
            weight: inverse variance per pixel, 0 where it is masked; None where all pixels are alike.
        """
        weight = np.ones(self._shape) if weight is None else weight
        # An image of no numbers has an outcome of its own, which is not told here.
        with np.errstate(all="ignore"):
            seen = np.where(weight == 0, 0.0, image) * weight
            # Least squares for the flux, at every shift at once: χ² falls by amplitude² / norm.
            amplitude, norm = self._at_shifts(seen, self._template), self._at_shifts(weight, self._square)
            gain = np.maximum(amplitude, 0.0) ** 2 / np.maximum(norm, _BEHIND_A_MASK * norm.max())
        found: np.ndarray = (self._low + self._high) / 2
        if gain.max() > 0:
            row, column = np.unravel_index(np.argmax(gain), gain.shape)
            found = np.clip([self._x[column], self._y[row]], self._low, self._high)
        return found

    def _at_shifts(self, pixels: np.ndarray, template: np.ndarray) -> np.ndarray:
        """Correlation at the shifts that the prior allows, shape (y, x)."""
        everywhere = np.fft.irfft2(np.fft.rfft2(pixels, self._padded) * template, self._padded)
        # Indices wrap: a negative shift counts from the end.
        allowed: np.ndarray = everywhere[np.ix_(self._y, self._x)]
        return allowed


def _whole(bounds: tuple[float, float]) -> np.ndarray:
    """The whole pixels between the bounds; the one next to their middle where there is none."""
    low, high = bounds
    found = np.arange(math.ceil(low), math.floor(high) + 1)
    return found if found.size else np.array([round((low + high) / 2)])


def _within(bounds: tuple[float, float]) -> tuple[float, float]:
    """A little inside the bounds."""
    centre, half = (bounds[0] + bounds[1]) / 2, _INSIDE * (bounds[1] - bounds[0]) / 2
    return centre - half, centre + half

"""Where a galaxy stands in its stamp, to a pixel: where the search for the mode begins.

From the middle of the prior a search sees no more than the far wings of a galaxy six pixels away, and can end in a
corner of the prior's box.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from lanewise.families.shear import predictions

if TYPE_CHECKING:
    from lanewise.families.shear.config import ShearConfig
    from lanewise.families.shear.priors import Prior

# On a bound itself the position is infinite; see `latents.Interval`.
_INSIDE = 0.99
# Share of the template's norm below which a shift has no pixels to tell of it.
_BEHIND_A_MASK = 1e-6


class Finder:
    """A matched filter: the shift of a Gaussian of the foreseen size that explains most of an image's χ²."""

    def __init__(self, config: ShearConfig) -> None:
        sigma = predictions.gaussian_sigma(config) / config.image.pixel_scale
        self._x, self._y = (
            _Axis(cast("Prior", config.parameters[axis]).bounds, n, sigma)
            for axis, n in (("x", config.image.size_x), ("y", config.image.size_y))
        )

    def __call__(self, image: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """The galaxy's centre, its offset from the image's centre [pixel]: x, y; shape (2,).

        The middle of the prior where nothing is bright, or is a number.

        Args:
            image: shape (ny, nx) [flux per pixel].
            weight: inverse variance per pixel, 0 where it is masked; None where all pixels are alike.
        """
        weight = np.ones(image.shape) if weight is None else weight
        x, y = self._x, self._y
        # An image of no numbers has an outcome of its own, which is not told here.
        with np.errstate(all="ignore"):
            seen = np.where(weight == 0, 0.0, image) * weight
            # Least squares for the flux, at every shift at once: χ² falls by amplitude² / norm.
            amplitude = y.template @ seen @ x.template.T
            norm = y.template**2 @ weight @ (x.template**2).T
            gain = np.maximum(amplitude, 0.0) ** 2 / np.maximum(norm, _BEHIND_A_MASK * norm.max())
        if not 0 < gain.max() < np.inf:
            return np.array([x.middle, y.middle])
        row, column = np.unravel_index(np.argmax(gain), gain.shape)
        return np.array([x.places[column], y.places[row]])


class _Axis:
    """The whole pixels that a prior allows along one axis.

    Attributes:
        middle: of the prior, offset from the image's centre [pixel].
        places: each of them, a little inside the bounds.
        template: a Gaussian there, shape (place, pixel).
    """

    def __init__(self, bounds: tuple[float, float], n: int, sigma: float) -> None:
        low, high = bounds
        self.middle, half = (low + high) / 2, _INSIDE * (high - low) / 2
        whole = np.arange(math.ceil(low), math.floor(high) + 1)
        # A narrow prior may hold none.
        whole = whole if whole.size else np.array([self.middle])
        self.places = np.clip(whole, self.middle - half, self.middle + half)
        self.template = np.exp(-((np.arange(n) - (n - 1) / 2 - whole[:, None]) ** 2) / (2 * sigma**2))

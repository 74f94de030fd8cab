"""The galaxy's centre to one pixel, by a matched filter: the start of the search for the mode.

A search that starts at the centre of the prior can fail: only the faint wings of a galaxy six pixels away give it a
gradient, and it can end in a corner of the prior's box.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from lanewise.families.shear import brightness
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.priors import Prior

# Share of the prior's half-width that is used: the position is infinite on a bound; see `latents.Interval`.
_INSIDE_SHARE = 0.99
# A position without bounds is searched within so many σ of its prior, inside the stamp.
_SEARCHED_SIGMAS = 5.0
# Shifts whose template norm is below this share of the largest have all their pixels masked.
_NORM_FLOOR = 1e-6


class Finder:
    """A matched filter: the shift of a Gaussian of the predicted size that lowers χ² most."""

    def __init__(self, config: ShearConfig) -> None:
        sigma = brightness.gaussian_sigma(config.psf, config.galaxy) / config.image.pixel_scale
        self._axes = tuple(
            _Axis(cast("Prior", config.parameters[axis]).shifted(-config.image.middle[axis]), n, sigma)
            for axis, n in (("x", config.image.size_x), ("y", config.image.size_y))
        )

    def __call__(
        self, image: np.ndarray, weight: np.ndarray | None = None, centre: np.ndarray | None = None
    ) -> np.ndarray:
        """The galaxy's offset x, y from the image's centre [pixel], shape (2,).

        The centre of the prior if no shift has a positive flux, or if pixels are not finite.

        Args:
            image: shape (ny, nx) [flux per pixel].
            weight: inverse variance per pixel, 0 for a masked one; None if all pixels have the same variance.
            centre: x, y of the mean of this image's Normal prior, as an offset [pixel]; None: that of the config.
        """
        weight = np.ones(image.shape) if weight is None else weight
        x, y = self._axes
        if centre is not None:
            x, y = x.about(float(centre[0])), y.about(float(centre[1]))
        # Images that are not finite get their own status later; no warning here.
        with np.errstate(all="ignore"):
            seen = np.where(weight == 0, 0.0, image) * weight
            # Least squares for the flux, at every shift at once: χ² falls by amplitude² / norm.
            amplitude = y.template @ seen @ x.template.T
            norm = y.template**2 @ weight @ (x.template**2).T
            gain = np.maximum(amplitude, 0.0) ** 2 / np.maximum(norm, _NORM_FLOOR * norm.max())
        if not 0 < gain.max() < np.inf:
            return np.array([x.middle, y.middle])
        row, column = np.unravel_index(np.argmax(gain), gain.shape)
        return np.array([x.places[column], y.places[row]])

    def on_sky(self, image: np.ndarray, weight: np.ndarray | None, frame: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """The galaxy's offset along the axes of the sky from its place in an exposure [pixel], shape (2,).

        Args:
            frame, offset: those of the exposure, see `exposures.Exposure`.
        """
        found = np.linalg.solve(frame, self(image, weight, offset) - offset)
        low, high = (np.array([axis.middle + side * axis.half for axis in self._axes]) for side in (-1, 1))
        return np.asarray(np.clip(found, low, high))


class _Axis:
    """Whole-pixel shifts that the prior allows along one axis.

    Args:
        prior: of the offset from the image's centre [pixel].
        n: size of the image [pixel].
        sigma: of the galaxy [pixel].

    Attributes:
        middle: centre of the prior, as an offset from the image's centre [pixel].
        half: half of the width that is searched [pixel].
        places: the shifts, moved just inside the bounds [pixel], shape (place,).
        template: a Gaussian at each shift, shape (place, pixel).
    """

    def __init__(self, prior: Prior, n: int, sigma: float) -> None:
        self._prior, self._n, self._sigma = prior, n, sigma
        low, high = prior.bounds
        if prior.type == "Normal":
            mean, width = prior.values
            reach = _SEARCHED_SIGMAS * width
            low, high = max(mean - reach, -n / 2), min(mean + reach, n / 2)
        self.middle, self.half = (low + high) / 2, _INSIDE_SHARE * (high - low) / 2
        whole = np.arange(math.ceil(low), math.floor(high) + 1)
        # A prior narrower than a pixel may contain no whole shift.
        whole = whole if whole.size else np.array([self.middle])
        self.places = np.clip(whole, self.middle - self.half, self.middle + self.half)
        self.template = np.exp(-((np.arange(n) - (n - 1) / 2 - whole[:, None]) ** 2) / (2 * sigma**2))

    def about(self, mean: float) -> _Axis:
        """The axis of an image whose Normal prior has another mean [pixel]."""
        return _Axis(self._prior.shifted(mean - self._prior.centre), self._n, self._sigma)

"""The noise of the values, from the data without a model: it weights the data, and the reduced χ² tests the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# At constant lag the correlation changes slowly with age: a third difference removes it and scales the noise by √20.
_DIFFERENCE = (1.0, -3.0, 3.0, -1.0)
_GAIN = 20.0
_MAD_TO_SIGMA = 1.4826
# The noise may change with age in at most this many steps, each with at least so many differences.
_MAX_STEPS, _PER_STEP = 12, 400
# log σ of n differences has a standard deviation of _SPREAD/√n, measured. Levels of noise count as different if their
# logarithms differ by _SURE of these and by _MATTERS; a smaller difference gains nothing.
_SPREAD, _SURE, _MATTERS = 1.45, 6.0, 0.25


@dataclass(frozen=True)
class Noise:
    """Standard deviations of independent noise.

    Attributes:
        sigma: that of one value, all values taken together.
        of_angle: factor of each angle, shape (n_phi,); all 1 if the angles do not differ.
        age: mean frame (0-based) of a pair of frames at which `of_age` is known, ascending.
        of_age: factor at each of `age`; a single 1 if the noise does not change.
    """

    sigma: float
    of_angle: np.ndarray
    age: np.ndarray
    of_age: np.ndarray

    def factor(self, n: int) -> np.ndarray:
        """Standard deviation of each value over `sigma`, shape (n_phi, n, n)."""
        frames = np.arange(n)
        of_pair = np.interp((frames[:, None] + frames[None, :]) / 2, self.age, self.of_age)
        return np.asarray(self.of_angle[:, None, None] * of_pair)

    @property
    def varies(self) -> bool:
        """Whether values have different noise."""
        return bool(np.ptp(self.of_angle) > 0 or np.ptp(self.of_age) > 0)


def estimate(matrices: np.ndarray) -> Noise:
    """The noise of symmetric correlations, shape (n_phi, N, N); robust to outliers. NaN marks what is missing.

    If the noise of neighbouring values is correlated, σ is too small, and the reduced χ² too large.
    """
    n = matrices.shape[-1]
    parts, places = [], []
    for lag in range(1, n - 3):
        at_lag = np.diagonal(matrices, lag, axis1=1, axis2=2)
        length = at_lag.shape[-1] - 3
        parts.append(sum(w * at_lag[:, k : k + length] for k, w in enumerate(_DIFFERENCE)))
        places.append(np.arange(length) + 1.5 + lag / 2)
    size, age = np.abs(np.concatenate(parts, axis=1)), np.concatenate(places)
    sigma = _sigma(size)
    # A fourth difference scales noise by √70. Smooth data without noise have far smaller fourth than third differences.
    fourth = np.concatenate([np.diff(part, axis=1).ravel() for part in parts])
    smooth = not fourth.size or np.nanmedian(np.abs(fourth)) <= 0.5 * np.sqrt(70 / _GAIN) * np.nanmedian(size)
    if smooth:
        return Noise(sigma, np.ones(len(matrices)), np.zeros(1), np.ones(1))
    of_angle = _different(np.array([_sigma(one) for one in size]), size.shape[1])
    steps = np.array_split(np.argsort(age, kind="stable"), np.clip(size.size // _PER_STEP, 1, _MAX_STEPS))
    scaled = size / of_angle[:, None]
    of_age = _different(np.array([_sigma(scaled[:, step]) for step in steps]), scaled[:, steps[-1]].size)
    return Noise(sigma, of_angle, np.array([np.median(age[step]) for step in steps]), of_age)


def _sigma(size: np.ndarray) -> float:
    """σ of the sizes of third differences."""
    return float(_MAD_TO_SIGMA * np.nanmedian(size) / np.sqrt(_GAIN))


def _different(levels: np.ndarray, n: int) -> np.ndarray:
    """The levels over their geometric mean if they differ for certain, else ones; each is from n differences."""
    if not levels.min() > 0 or np.log(levels.max() / levels.min()) < max(_MATTERS, _SURE * _SPREAD * np.sqrt(2 / n)):
        return np.ones(len(levels))
    return np.asarray(levels / np.exp(np.log(levels).mean()))

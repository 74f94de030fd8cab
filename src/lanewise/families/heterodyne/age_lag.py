"""Correlations over (age, lag) as matrices over two frames; exact if both axes have steps of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lanewise.families.heterodyne.archive import Unreadable

_EVEN = 1e-3


@dataclass(frozen=True)
class Direction:
    """The correlations of one direction, shape (n, ages, lags).

    Attributes:
        key, lag_key: where the correlations and the lags are.
        ages, frames: the ages and the lags in frames; an age is the mean of the two times, or the first of them.
        q: of each correlation [1/Å].
        step: length of one frame, in the unit of the file.
    """

    key: str
    lag_key: str
    ages: np.ndarray
    frames: np.ndarray
    q: np.ndarray
    step: float

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(max(np.floor(self.ages[-1]), self.frames[-1])) + 1

    @property
    def lags(self) -> np.ndarray:
        """An even time axis with one value per frame, in the unit of the file."""
        return self.step * np.arange(self.n_frames)

    def over_ages(self, values: np.ndarray) -> np.ndarray:
        """The matrix over two frames, shape (N, N); NaN for pairs that the file does not have.

        Whether an age is the first time or the mean of both is seen from the cells that are filled.

        Raises:
            Unreadable: the filled cells fit neither.
        """
        n = self.n_frames
        filled = np.isfinite(values) & (values != 0) & (self.frames > 0)
        for first in (self._mean_of_both(), np.broadcast_to(self.ages[:, None], values.shape)):
            second = first + self.frames
            inside = (first >= 0) & (second < n) & (first == np.round(first))
            if filled.any() and not (filled & ~inside).any():
                matrix = np.full((n, n), np.nan)
                rows, columns = first[inside].astype(int), second[inside].astype(int)
                matrix[rows, columns] = matrix[columns, rows] = values[inside]
                return matrix
        raise Unreadable(f"has values in {self.key} where neither reading of age has a pair of frames")

    def _mean_of_both(self) -> np.ndarray:
        """The first frame of each cell, if an age is the mean of the two times, rounded down to its bin."""
        if np.array_equal(self.ages, np.round(self.ages)):
            return np.asarray(self.ages[:, None] - self.frames // 2)
        return np.asarray(self.ages[:, None] - self.frames / 2)


def direction(key: str, lag_key: str, ages: np.ndarray, lags: np.ndarray, q: np.ndarray) -> Direction:
    """The axes in frames.

    Raises:
        Unreadable: an axis is not linear, or the ages do not have steps of one frame or of half a frame.
    """
    for name, axis in (("ages", ages), ("lags", lags)):
        steps = np.diff(axis)
        if len(steps) < 2 or not (steps > 0).all() or np.ptp(steps) > _EVEN * steps[0]:
            raise Unreadable(
                f"has {key} over {name} with uneven steps (log-binned): a bin holds the mean of many pairs of frames, "
                "from which no model of pairs can be computed; correlate with linear ages and lags"
            )
    step = float(np.diff(lags).mean())
    in_frames = (ages - ages[0]) / step
    frames = np.round(lags / step)
    half = float(np.diff(in_frames).mean())
    if not (abs(half - 1) < _EVEN or abs(half - 0.5) < _EVEN) or np.abs(lags / step - frames).max() > 0.01 * len(lags):
        raise Unreadable(f"has {key} over ages in steps of {half:.3g} lags; expected the same step, or half of it")
    rounded = np.round(2 * in_frames) / 2
    if frames[-1] < np.floor(rounded[-1]):
        raise Unreadable(
            f"has {key} with lags up to {frames[-1]:g} frames only, for {np.floor(rounded[-1]) + 1:g} frames"
        )
    return Direction(key, lag_key, rounded, frames, q, step)

"""Do residuals that share a frame share noise? Under independent noise they are uncorrelated.

A third difference along one frame axis removes what changes slowly from frame to frame, such as the misfit of a model.
It keeps the noise of single frames. In speckle, that noise is multiplied by the intensities in the other frame, which
neighbours share. So the products of third differences at near second frames have a positive mean, and under
independent noise their mean is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

# Second frames at most this far apart: more of them show weaker noise, until the speckles have changed.
_NEAR = 6
# A row of products (one first frame of one angle) counts with its z, cut to ±_CUT: a single bad frame cannot decide.
_CUT = 2.0
# Variance of the sum over rows, relative to independent rows. The third differences have the autocovariances 20, −15,
# 6, −1. So rows overlap (Σ a² = 924 in place of 400, for each distance), and the symmetric matrix holds the products
# near its diagonal twice (2 (−15 + 6 − 1)²).
_OVERLAP = (924 * _NEAR + 200) / (400 * _NEAR)
_CUT_VARIANCE = float(stats.norm.expect(lambda x: np.clip(x, -_CUT, _CUT) ** 2))
# Rows with more than this many times the median variance belong to bad frames, and do not count for the level.
_BAD_ROW = 4.0
# A frame is odd if its mean residual is this many standard deviations (from the median deviation) off.
_ODD = 8.0


@dataclass(frozen=True)
class Shared:
    """What the residuals say about shared noise.

    Attributes:
        z: standard normal under independent noise, large and positive if entries that share a frame share noise.
        products, squares: mean product of third differences at near second frames, and their mean square, per angle,
            shape (n_phi,).
        used: third differences that count, shape (n_phi, N − 3, N).
    """

    z: float
    products: np.ndarray
    squares: np.ndarray
    used: np.ndarray


def third_differences(residuals: Any) -> Any:
    """Along the first frame axis: shape (…, N − 3, N) for (…, N, N); NumPy or JAX."""
    r = residuals
    return r[..., :-3, :] - 3 * r[..., 1:-2, :] + 3 * r[..., 2:-1, :] - r[..., 3:, :]


def near(columns: Any) -> Any:
    """Sum of the next _NEAR columns of each, of the same shape (…, N); NumPy or JAX."""
    total = columns.cumsum(axis=-1)
    last = [min(at + _NEAR, columns.shape[-1] - 1) for at in range(columns.shape[-1])]
    return total[..., np.array(last)] - total


def odd(residuals: np.ndarray, valid: np.ndarray) -> list[int]:
    """Frames (0-based) whose mean residual is far from those of the others; arguments as for `look`."""
    valid = valid & ~np.eye(valid.shape[-1], dtype=bool)
    count = valid.sum(axis=(0, 2))
    mean = np.where(valid, residuals, 0.0).sum(axis=(0, 2)) / np.maximum(count, 1)
    seen = count > 0
    off = np.abs(mean - np.median(mean[seen]))
    return [int(frame) for frame in np.flatnonzero(seen & (off > _ODD * 1.4826 * np.median(off[seen])))]


def look(residuals: np.ndarray, valid: np.ndarray) -> Shared:
    """The evidence in symmetric residuals, shape (n_phi, N, N), each over its standard deviation.

    Args:
        valid: entries that count, of the same shape; the diagonal never does.
    """
    valid = valid & ~np.eye(valid.shape[-1], dtype=bool)
    differences = third_differences(np.where(valid, residuals, 0.0))
    whole = valid[:, :-3] & valid[:, 1:-2] & valid[:, 2:-1] & valid[:, 3:]
    differences = np.where(whole, differences, 0.0)
    pairs, count = (whole * near(whole)).sum(axis=-1), whole.sum(axis=-1)
    products, squares = (differences * near(differences)).sum(axis=-1), (differences**2).sum(axis=-1)
    full = (pairs > 0) & (squares > 0)
    level = squares / np.maximum(count, 1)
    median = np.array([np.median(one[rows]) if rows.any() else 0.0 for one, rows in zip(level, full, strict=True)])
    good = full & (level <= _BAD_ROW * median[:, None])
    z_rows = products[good] / (np.sqrt(pairs[good]) * level[good])
    z = float(np.clip(z_rows, -_CUT, _CUT).sum() / np.sqrt(max(good.sum(), 1) * _OVERLAP * _CUT_VARIANCE))

    def mean(total: np.ndarray, n: np.ndarray) -> np.ndarray:
        return np.asarray((total * good).sum(axis=1) / np.maximum((n * good).sum(axis=1), 1))

    return Shared(z, mean(products, pairs), mean(squares, count), whole & good[..., None])

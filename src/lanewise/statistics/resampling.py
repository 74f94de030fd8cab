"""Jackknife and bootstrap errors from independent groups.

A group is all realizations with one seed: a single realization, a pair or a ring. In each repetition, all numbers
(including λ̂) come from the same groups, so that correlations between them are preserved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanewise.statistics.regression import Array

N_BOOTSTRAP = 1000
_SEED = 1
_BLOCK = 10_000_000  # largest number of bootstrap counts in memory


@dataclass(frozen=True)
class Resampled:
    """A number with jackknife and bootstrap errors.

    Attributes:
        value: jackknife estimate, bias-corrected: n θ − (n − 1) mean of θ_j, where θ_j is θ without group j.
        jackknife: error √((n − 1)/n Σ(θ_j − mean)²).
        bootstrap: standard deviation over 1000 samples of n groups, drawn with replacement.
    """

    value: float
    jackknife: float
    bootstrap: float


class Line(NamedTuple):
    """A regression of raw posterior means, with the data for removing the prior's pull.

    Attributes:
        columns: design matrix, shape (n, k); the first column is 1.
        raw: posterior means, shape (n,).
        share: posterior variance / prior variance, shape (n,); NaN if unknown.
        prior_mean: None for a prior that is not Gaussian; then no pull is removed.
    """

    columns: Array
    raw: Array
    share: Array
    prior_mean: float | None


class Coefficients(NamedTuple):
    """The k coefficients of a line.

    Attributes:
        whole: from all groups, shape (k,).
        without: without each group, shape (group, k).
        again: from each bootstrap sample, shape (1000, k); NaN values are ignored.
    """

    whole: Array
    without: Array
    again: Array

    def minus(self, other: Coefficients) -> Coefficients:
        """The differences to the coefficients of another line, in every repetition."""
        return Coefficients(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))

    def resampled(self, at: int, less: float = 0.0) -> Resampled:
        """The coefficient number `at`, less a constant."""
        whole, without, again = self.whole[at] - less, self.without[:, at] - less, self.again[:, at] - less
        n, mean = len(without), float(without.mean())
        jackknife = float(np.sqrt((n - 1) / n * np.sum((without - mean) ** 2)))
        return Resampled(n * whole - (n - 1) * mean, jackknife, float(np.nanstd(again, ddof=1)))


def coefficients(lines: Sequence[Line], seed: NDArray[np.int64]) -> list[Coefficients] | None:
    """The coefficients of several lines, in every repetition from the same groups.

    Args:
        lines: over the same realizations.
        seed: of each realization; realizations with one seed form a group.

    Returns:
        None if there are fewer than three groups, or if a coefficient depends on a single group.
    """
    seeds, group = np.unique(seed, return_inverse=True)
    if len(seeds) < 3:
        return None
    sums = [(line, _sums(line, group, len(seeds))) for line in lines]
    whole = [_solve(line, one.sum(axis=0)[None])[0] for line, one in sums]
    without = [_solve(line, one.sum(axis=0) - one) for line, one in sums]
    if not all(np.all(np.isfinite(found)) for found in (*whole, *without)):
        return None
    blocks = [[_solve(line, counts @ one) for line, one in sums] for counts in _counts(len(seeds))]
    again = [np.concatenate(of_line) for of_line in zip(*blocks, strict=True)]
    return [Coefficients(*found) for found in zip(whole, without, again, strict=True)]


def _sums(line: Line, group: NDArray[np.int64], n_groups: int) -> Array:
    """XᵀX, Xᵀy, the shares and their count, summed over each group, shape (group, k² + k + 2)."""
    columns = line.columns
    known = np.isfinite(line.share)
    parts = np.concatenate(
        [
            (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1),
            columns * line.raw[:, None],
            np.where(known, line.share, 0.0)[:, None],
            known[:, None].astype(np.float64),
        ],
        axis=1,
    )
    found = np.zeros((n_groups, parts.shape[1]))
    np.add.at(found, group, parts)
    return found


def _solve(line: Line, sums: Array) -> Array:
    """Coefficients without the prior's pull, shape (repetition, k); NaN if the truths do not determine them."""
    k = line.columns.shape[1]
    matrix, vector = sums[:, : k * k].reshape(-1, k, k), sums[:, k * k : k * k + k]
    scale = np.sqrt(np.maximum(np.einsum("rii->ri", matrix), np.finfo(float).tiny))
    scaled = matrix / scale[:, :, None] / scale[:, None, :]
    fixed = np.linalg.eigvalsh(scaled)[:, 0] > 1e-9
    beta = np.full((len(sums), k), np.nan)
    beta[fixed] = np.linalg.solve(scaled[fixed], (vector / scale)[fixed][:, :, None])[:, :, 0] / scale[fixed]
    if line.prior_mean is None:
        return beta
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = 1 - sums[:, -2] / sums[:, -1]
        beta[:, 0] -= line.prior_mean
        beta /= np.where(pull > 0, pull, np.nan)[:, None]
        beta[:, 0] += line.prior_mean
    return beta


def _counts(n_groups: int) -> Iterator[Array]:
    """How often each group is drawn, shape (repetition, group), in blocks; always the same random numbers."""
    rng = np.random.default_rng(_SEED)
    block = max(1, min(N_BOOTSTRAP, _BLOCK // n_groups))
    sizes = [min(block, N_BOOTSTRAP - at) for at in range(0, N_BOOTSTRAP, block)]

    def again() -> Array:
        return np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups).astype(np.float64)

    for size in sizes:
        yield np.stack([again() for _ in range(size)])

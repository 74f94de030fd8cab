"""Errors from the independent groups themselves: each left out in turn, or as many drawn again.

A group is what shares a seed: a realization, a pair, a ring. All numbers come from the same groups in each repetition,
λ̂ among them, so that what varies together varies together here, too.
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
_BLOCK = 10_000_000  # counts in memory at a time


@dataclass(frozen=True)
class Resampled:
    """A number with errors from its groups.

    Attributes:
        value: of all groups, less the bias that leaving one out shows: n θ − (n − 1) mean of θ without one.
        jackknife: √((n − 1)/n Σ(θ_j − mean)²).
        bootstrap: standard deviation over 1000 campaigns of as many groups, drawn with replacement.
    """

    value: float
    jackknife: float
    bootstrap: float


class Line(NamedTuple):
    """A line through raw posterior means, with what frees it of the prior.

    Attributes:
        columns: design, shape (n, k); the first column is 1.
        raw: posterior means, shape (n,).
        share: posterior variance over that of the prior, shape (n,); NaN where it is not known.
        prior_mean: None for a prior that is not Gaussian: the means are taken as they are.
    """

    columns: Array
    raw: Array
    share: Array
    prior_mean: float | None


def coefficients(lines: Sequence[Line], seed: NDArray[np.int64]) -> tuple[Array, Array, Array] | None:
    """The coefficients of several lines: of all groups, without each, and of groups drawn again.

    Args:
        lines: over the same realizations.
        seed: of each realization; those of one seed are one group.

    Returns:
        Shapes (q,), (group, q) and (1000, q), q coefficients of all lines, one line after the other. None with fewer
        than three groups, or where one of them alone fixes a coefficient.
    """
    seeds, group = np.unique(seed, return_inverse=True)
    if len(seeds) < 3:
        return None
    sums = [_sums(line, group, len(seeds)) for line in lines]
    whole = np.concatenate([_solve(line, one.sum(axis=0)[None]) for line, one in zip(lines, sums, strict=True)], axis=1)
    without = np.concatenate(
        [_solve(line, one.sum(axis=0) - one) for line, one in zip(lines, sums, strict=True)], axis=1
    )
    if not (np.all(np.isfinite(whole)) and np.all(np.isfinite(without))):
        return None
    again = np.concatenate(
        [
            np.concatenate([_solve(line, counts @ one) for line, one in zip(lines, sums, strict=True)], axis=1)
            for counts in _counts(len(seeds))
        ]
    )
    return whole[0], without, again


def resampled(whole: float, without: Array, again: Array) -> Resampled:
    """One number's errors.

    Args:
        without: shape (group,). again: shape (1000,); repetitions that do not fix the number are left out.
    """
    n = len(without)
    mean = float(without.mean())
    jackknife = float(np.sqrt((n - 1) / n * np.sum((without - mean) ** 2)))
    return Resampled(n * whole - (n - 1) * mean, jackknife, float(np.nanstd(again, ddof=1)))


def _sums(line: Line, group: NDArray[np.int64], n_groups: int) -> Array:
    """XᵀX, Xᵀy, the shares and their number, summed over each group, shape (group, k² + k + 2)."""
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
    """The line's coefficients, freed of the prior, shape (repetition, k); NaN where the truths do not fix them."""
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
    """How often each group is drawn, shape (repetition, group), in blocks; the same for every number."""
    rng = np.random.default_rng(_SEED)
    block = max(1, min(N_BOOTSTRAP, _BLOCK // n_groups))
    sizes = [min(block, N_BOOTSTRAP - at) for at in range(0, N_BOOTSTRAP, block)]

    def again() -> Array:
        return np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups).astype(np.float64)

    for size in sizes:
        yield np.stack([again() for _ in range(size)])

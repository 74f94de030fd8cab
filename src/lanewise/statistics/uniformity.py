"""Tests for uniform ranks: Pearson's χ², and the ECDF with simultaneous confidence bands.

A rank is one of 0…L with equal probability. Bins and steps are multiples of 1/(L + 1), so that the distributions are
exact for any L.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Ranks = NDArray[np.int64]

BAND = 0.95
_BINS_MOST, _PER_BIN_LEAST = 20, 5
# More steps take longer and do not make the test more sensitive.
_STEPS_MOST = 96


def n_bins(n: int, n_ranks: int) -> int:
    """Bins for χ² of n ranks: the largest divisor of L + 1 that is at most 20 and gives at least five ranks per bin.

    Args:
        n_ranks: L + 1.
    """
    return _largest_divisor(n_ranks, max(2, min(_BINS_MOST, n // _PER_BIN_LEAST)))


def n_steps(n_ranks: int) -> int:
    """Number of steps of the ECDF: the largest divisor of L + 1 that is at most 96."""
    return _largest_divisor(n_ranks, _STEPS_MOST)


def histogram(rank: Ranks, n_ranks: int, bins: int) -> Ranks:
    """Number of ranks in each of the bins of equal width, shape (bins,)."""
    return np.bincount(rank * bins // n_ranks, minlength=bins)


def chi2(counts: Ranks) -> tuple[float, float]:
    """Pearson's χ² of equally likely bins, and its p-value at bins − 1 degrees of freedom."""
    expected = counts.sum() / len(counts)
    value = float(np.sum((counts - expected) ** 2) / expected)
    return value, float(stats.chi2.sf(value, len(counts) - 1))


def ecdf_counts(rank: Ranks, n_ranks: int, steps: int) -> Ranks:
    """Number of ranks in the first 1/steps, 2/steps, … of 0…L, shape (steps − 1,)."""
    return np.cumsum(histogram(rank, n_ranks, steps))[:-1]


def ecdf_p(rank: Ranks, n_ranks: int, steps: int) -> float:
    """p-value of the largest deviation of the ECDF from uniform, over all steps.

    Source:
        Säilynoja, Bürkner & Vehtari 2022, arXiv:2103.10522, with γ computed from the observed ranks.
    """
    n = len(rank)
    below = ecdf_counts(rank, n_ranks, steps)
    share = np.arange(1, steps) / steps
    tails = np.minimum(stats.binom.cdf(below, n, share), stats.binom.sf(below - 1, n, share))
    worst = float(tails.min())
    # Ties count as more extreme (1e-9). The p-value over all steps is at least that of the worst step, which replaces
    # it where 1 − P is below the rounding error.
    return min(1.0, max(worst, outside(n, steps, 2 * worst * (1 + 1e-9))))


def outside(n: int, steps: int, gamma: float, share: NDArray[np.float64] | None = None) -> float:
    """Probability that the ECDF of n values is outside the γ-bands of uniform ones at one or more steps.

    Computed recursively over the steps: given the count at one step, the increase to the next is binomial.

    Args:
        n: number of values.
        steps: number of equal steps on [0, 1].
        gamma: largest probability of being outside the band at a single step, both tails together.
        share: distribution function of the values at the steps, shape (steps − 1,); None for uniform values.
    """
    share = np.arange(1, steps) / steps if share is None else share
    low, high = limits(n, steps, gamma)
    if np.any(low > high):
        return 1.0
    at, weight = np.zeros(1, np.int64), np.ones(1)
    previous = 0.0
    for z, first, last in zip(share, low, high, strict=True):
        to = np.arange(first, last + 1)
        # Rows: old count; columns: new count. A decrease has probability 0.
        step = stats.binom.pmf(to[None, :] - at[:, None], (n - at)[:, None], (z - previous) / (1 - previous))
        at, weight, previous = to, weight @ step, z
    return max(0.0, 1.0 - float(weight.sum()))


def limits(n: int, steps: int, gamma: float) -> tuple[Ranks, Ranks]:
    """Smallest and largest count inside the γ-band at each step, shapes (steps − 1,).

    A count is inside if both of its tails have a probability above γ/2.
    """
    share = np.arange(1, steps) / steps
    # ppf is the smallest k with cdf(k) ≥ γ/2; k with cdf(k) = γ/2 is outside the band.
    low = stats.binom.ppf(gamma / 2, n, share).astype(np.int64)
    low += stats.binom.cdf(low, n, share) <= gamma / 2
    high = n - stats.binom.ppf(gamma / 2, n, 1 - share).astype(np.int64)
    high -= stats.binom.sf(high - 1, n, share) <= gamma / 2
    return low, high


@cache
def band(n: int, steps: int, p: float = 1 - BAND) -> float:
    """γ of a single step for which the ECDF of n uniform values leaves the bands with a probability of `p`.

    The bands change by whole counts, so the probability is discontinuous: this is the largest γ with at most `p`.
    """

    def excess(log_gamma: float) -> float:
        return outside(n, steps, float(np.exp(log_gamma))) - p

    # Bounds of γ: p/steps is low enough by Bonferroni, p is too high even for one step. But one to three values have
    # tails so coarse that no count may be outside at that γ.
    low, high = np.log(p / steps / 10), np.log(p)
    if excess(high) < 0:
        high = 0.0
    return float(np.exp(optimize.bisect(excess, low, high, xtol=1e-3)))


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if n % d == 0)

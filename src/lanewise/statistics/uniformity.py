"""Are ranks uniform? Pearson's χ², and the ECDF within bands that hold everywhere at once.

A rank is one of 0…L, each equally likely; it is looked at in units of 1/(L + 1), where its distribution is exact
whatever L.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]
Ranks = NDArray[np.int64]

BAND = 0.95
_BINS_MOST, _PER_BIN_LEAST = 20, 5
# Finer steps cost time and show nothing more.
_STEPS_MOST = 96


def n_bins(n: int, n_ranks: int) -> int:
    """Bins for χ² of n ranks: the most, up to twenty, that divide L + 1 and expect five ranks each.

    Args:
        n_ranks: L + 1.
    """
    return _largest_divisor(n_ranks, max(2, min(_BINS_MOST, n // _PER_BIN_LEAST)))


def n_steps(n_ranks: int) -> int:
    """Places at which the ECDF is looked at: the most, up to 96, that divide L + 1."""
    return _largest_divisor(n_ranks, _STEPS_MOST)


def histogram(rank: Ranks, n_ranks: int, bins: int) -> Ranks:
    """How many ranks fall into each of the bins of equal width, shape (bins,)."""
    return np.bincount(rank * bins // n_ranks, minlength=bins)


def chi2(counts: Ranks) -> tuple[float, float]:
    """Pearson's χ² of equally likely bins, and its p-value at bins − 1 degrees of freedom."""
    expected = counts.sum() / len(counts)
    value = float(np.sum((counts - expected) ** 2) / expected)
    return value, float(stats.chi2.sf(value, len(counts) - 1))


def ecdf_counts(rank: Ranks, n_ranks: int, steps: int) -> Ranks:
    """How many ranks lie in the first 1/steps, 2/steps, … of 0…L, shape (steps − 1,)."""
    return np.cumsum(histogram(rank, n_ranks, steps))[:-1]


def ecdf_p(rank: Ranks, n_ranks: int, steps: int) -> float:
    """How often uniform ranks leave a band as wide as these do somewhere: the p-value of the worst place.

    Source:
        Säilynoja, Bürkner & Vehtari 2022, arXiv:2103.10522, whose γ is here that of the observed ranks.
    """
    n = len(rank)
    below = ecdf_counts(rank, n_ranks, steps)
    share = np.arange(1, steps) / steps
    tails = np.minimum(stats.binom.cdf(below, n, share), stats.binom.sf(below - 1, n, share))
    worst = float(tails.min())
    # What is as improbable as the worst place counts as worse. All places together are left more often than that one,
    # which is what is left of a p-value below the rounding of 1.
    return min(1.0, max(worst, outside(n, steps, 2 * worst * (1 + 1e-9))))


def outside(n: int, steps: int, gamma: float) -> float:
    """The probability that the ECDF of n uniform values leaves its γ-bands at one of the places or more.

    By the counts at one place after another: between two of them a value that is still above falls with the same
    probability.

    Args:
        gamma: probability that the band at a single place is left, both tails together, at most.
    """
    share = np.arange(1, steps) / steps
    low, high = limits(n, steps, gamma)
    if np.any(low > high):
        return 1.0
    at, weight = np.zeros(1, np.int64), np.ones(1)
    previous = 0.0
    for z, first, last in zip(share, low, high, strict=True):
        to = np.arange(first, last + 1)
        # Rows: from; columns: to. Impossible falls have probability 0.
        step = stats.binom.pmf(to[None, :] - at[:, None], (n - at)[:, None], (z - previous) / (1 - previous))
        at, weight, previous = to, weight @ step, z
    return max(0.0, 1.0 - float(weight.sum()))


def limits(n: int, steps: int, gamma: float) -> tuple[Ranks, Ranks]:
    """Least and largest count at each place whose smaller tail has more than γ/2, shapes (steps − 1,)."""
    share = np.arange(1, steps) / steps
    # ppf is the least k with cdf(k) ≥ γ/2; one whose cdf is γ/2 itself is outside.
    low = stats.binom.ppf(gamma / 2, n, share).astype(np.int64)
    low += stats.binom.cdf(low, n, share) <= gamma / 2
    high = n - stats.binom.ppf(gamma / 2, n, 1 - share).astype(np.int64)
    high -= stats.binom.sf(high - 1, n, share) <= gamma / 2
    return low, high


@cache
def band(n: int, steps: int) -> float:
    """The γ of each place at which the bands of all places hold n uniform values with 95 % together.

    The bands move by whole counts, so that the probability jumps: this is the largest γ that keeps 95 %.
    """

    def excess(log_gamma: float) -> float:
        return outside(n, steps, float(np.exp(log_gamma))) - (1 - BAND)

    # Below (1 − 95 %)/steps the bands hold by Bonferroni, above 1 − 95 % one place alone breaks them.
    low, high = np.log((1 - BAND) / steps / 10), np.log(1 - BAND)
    return float(np.exp(optimize.bisect(excess, low, high, xtol=1e-3)))


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share of which k of n were seen."""
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.isf(tail, k + 1, n - k))
    return low, high


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if n % d == 0)

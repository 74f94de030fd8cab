"""Show that a coverage is right: its confidence interval must lie within a margin around the nominal value.

A test that finds no departure says nothing about the size of what it could have missed. Equivalence is the other way
round: too few realizations have a wide interval, which does not fit into the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

LEVEL = 0.95
# One-sided probability that a coverage at the edge of its margin ever passes, and the errors of the first look.
EVER, FIRST = 0.05, float(stats.norm.isf((1 - LEVEL) / 2))


@dataclass(frozen=True)
class Margin:
    """What a coverage has to be shown to be.

    Attributes:
        nominal: coverage of a calibrated posterior.
        margin: largest departure from it that is accepted.
        level: confidence of the interval that has to lie within the margin.
    """

    nominal: float
    margin: float
    level: float = LEVEL

    def p_shown(self, n: int, coverage: float | None = None) -> float:
        """Probability that n realizations show it.

        Args:
            coverage: true coverage; None for the nominal one.
        """
        low, high = interval(np.arange(n + 1), n, self.level)
        shown = np.flatnonzero((low >= self.nominal - self.margin) & (high <= self.nominal + self.margin))
        if not shown.size:
            return 0.0
        truth = self.nominal if coverage is None else coverage
        return float(stats.binom.cdf(shown[-1], n, truth) - stats.binom.cdf(shown[0] - 1, n, truth))

    def n_needed(self, power: float) -> int:
        """The n, to two percent, from which on a nominal coverage is shown with a probability of at least `power`."""
        return _n_needed(self, power)


@cache
def _n_needed(margin: Margin, power: float) -> int:
    # From the normal approximation on, in steps of two percent: whole counts make the power a saw-tooth.
    width = stats.norm.isf((1 - margin.level) / 2) + stats.norm.isf((1 - power) / 2)
    first = max(10, int(0.8 * margin.nominal * (1 - margin.nominal) * (width / margin.margin) ** 2))
    tried = np.arange(first, 2 * first, max(1, first // 50))
    weak = np.flatnonzero([margin.p_shown(int(n)) < power for n in tried])
    return int(tried[min(weak[-1] + 1, len(tried) - 1)] if weak.size else first)


def interval(k: NDArray[np.int64], n: int, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Exact (Clopper–Pearson) confidence intervals of a fraction, from k successes in n trials; the shape of k."""
    tail = (1 - level) / 2
    low = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail))
    return low, high


def coverage_of(width: float, offset: float, level: float) -> float:
    """Coverage of the central interval of Gaussian posteriors that are wrong.

    Args:
        width: of the posteriors, in units of the right one.
        offset: of the posteriors, in units of the right width.
        level: probability of the interval.
    """
    reach = width * float(special.ndtri((1 + level) / 2))
    return float(special.ndtr(reach - offset) - special.ndtr(-reach - offset))


def rank_distribution(width: float, offset: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution function of the ranks of Gaussian posteriors that are wrong; arguments as of `coverage_of`."""
    return np.asarray(special.ndtr(offset + width * special.ndtri(share)))

"""Remove the pull of a prior that is not Gaussian from posterior means, for likelihoods of one Gaussian width.

The posterior mean of a Gaussian likelihood at x with width s under the prior p is a function M(x; s), which rises with
x. The width s is common to all realizations: it is the one that gives the mean posterior variance. The estimates x_i
are M⁻¹ of the posterior means. With a Gaussian prior this is the division by λ̂ = 1 − ⟨σ²⟩/σ_prior².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import numpy as np
from scipy import optimize

from lanewise.statistics.regression import Array

# The prior's distribution function, by its quantiles at this many equal steps.
_NODES = 4001
# Cells of the likelihood, in units of its width: beyond eight widths it is 1e-15 of its peak.
_CELLS = np.linspace(-8, 8, 1601)
# Positions x at which the posterior is computed, from which M is interpolated.
_POSITIONS = 301
# Beyond the outermost posterior mean, in widths of the likelihood.
_REACH = 6.0
# Steps of the logarithm of the width, between which tables are interpolated: an error of 3e-5.
_STEP = 1 / 64


class HasQuantiles(Protocol):
    """A prior with a quantile function; priors that compare equal share tables."""

    def __hash__(self) -> int:
        """Hash."""
        ...

    def quantile(self, share: float) -> float:
        """The value below which this fraction of the prior lies."""
        ...


@dataclass(frozen=True)
class Freed:
    """Estimates without the prior's pull.

    Attributes:
        value: maximum of each likelihood, shape (realization,).
        other: the same for another set of posterior means, see `freed`.
        width: common width of the likelihoods.
        response: dM/dx at each estimate, shape (realization,); 1 means no pull.
        error: relative error of 1 − response from that of the mean variance, as a mean over the realizations.
    """

    value: Array
    other: Array
    width: float
    response: Array
    error: float


def freed(prior: HasQuantiles, mean: Array, variance: Array, other: Array) -> Freed | None:
    """The estimates behind posterior means.

    Args:
        mean, variance: of each posterior, shape (realization,).
        other: more posterior means of the same likelihoods, e.g. from half of the draws; may be NaN.

    Returns:
        None if no width of the likelihood gives the mean variance: the posterior is as wide as the prior.
    """
    asked, narrow = float(np.mean(variance)), math.sqrt(float(np.mean(variance)))
    spread = _distribution(prior).spread

    def excess(log_width: float) -> float:
        return float(np.mean(_posterior(prior, log_width, mean)[1])) - asked

    # The likelihood of a posterior in a concave prior is at least as wide as it; heavy tails allow a little less.
    low, high = math.log(0.7 * narrow), math.log(max(30 * spread, 2 * narrow))
    if excess(low) > 0 or excess(high) < 0:
        return None
    log_width = optimize.brentq(excess, low, high, xtol=1e-6)
    width = math.exp(log_width)
    value, spreads = _posterior(prior, log_width, mean)
    response = spreads / width**2
    n = len(variance)
    error = float(np.std(variance, ddof=1) / math.sqrt(n) / asked) if n > 1 else 1.0
    return Freed(
        value=value,
        other=_posterior(prior, log_width, other)[0],
        width=width,
        response=response,
        error=error * float(np.mean(np.abs(1 - response))),
    )


@dataclass(frozen=True)
class _Distribution:
    """A prior's distribution function.

    Attributes:
        nodes, shares: quantiles, and the share of the prior below each.
        spread: standard deviation without the outermost quantiles.
    """

    nodes: Array
    shares: Array
    spread: float


@cache
def _distribution(prior: HasQuantiles) -> _Distribution:
    shares = np.linspace(0, 1, _NODES)
    inner = np.array([prior.quantile(share) for share in shares[1:-1]])
    nodes = np.concatenate([[prior.quantile(1e-9)], inner, [prior.quantile(1 - 1e-9)]])
    return _Distribution(nodes, shares, float(np.std(inner)))


def _posterior(prior: HasQuantiles, log_width: float, mean: Array) -> tuple[Array, Array]:
    """Position of each likelihood, and variance of its posterior, for posterior means; interpolated in the width."""
    step = math.floor(log_width / _STEP)
    known = mean[np.isfinite(mean)]
    reach = _REACH * math.exp((step + 1) * _STEP)
    # Rounded, so that campaigns with other means share tables.
    unit = max(_distribution(prior).spread, reach)
    first = math.floor((known.min(initial=0.0) - reach) / unit)
    last = math.ceil((known.max(initial=0.0) + reach) / unit)
    part = log_width / _STEP - step
    found = []
    for table in (_table(prior, at, first * unit, last * unit) for at in (step, step + 1)):
        # At the edge of the table for means that no position reaches.
        x = np.interp(mean, np.maximum.accumulate(table.mean), table.x)
        found.append((x, np.interp(x, table.x, table.variance)))
    (x, variance), (next_x, next_variance) = found
    return (1 - part) * x + part * next_x, (1 - part) * variance + part * next_variance


@dataclass(frozen=True)
class _Table:
    """Posterior mean and variance by the position of the likelihood."""

    x: Array
    mean: Array
    variance: Array


@lru_cache(maxsize=256)
def _table(prior: HasQuantiles, step: int, first: float, last: float) -> _Table:
    nodes, shares = _distribution(prior).nodes, _distribution(prior).shares
    width = math.exp(step * _STEP)
    x = np.linspace(first, last, _POSITIONS)
    edges = x[:, None] + width * _CELLS
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    weight = np.diff(np.interp(edges, nodes, shares), axis=1) * np.exp(-0.5 * ((middle - x[:, None]) / width) ** 2)
    total = np.maximum(weight.sum(axis=1), np.finfo(float).tiny)
    mean = (weight * middle).sum(axis=1) / total
    variance = (weight * (middle - mean[:, None]) ** 2).sum(axis=1) / total
    known = weight.sum(axis=1) > 0
    return _Table(x[known], mean[known], variance[known])

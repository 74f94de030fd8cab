"""How much of a shear a prior that is not Gaussian leaves: no correction, but a number to judge by."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from scipy import optimize

_NODES = 4001
# A posterior so much narrower than its prior is not pulled, as far as these nodes can tell.
_NARROW = 0.02


class HasQuantiles(Protocol):
    """A prior, by its quantiles."""

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        ...


def kept(prior: HasQuantiles, variance: float) -> float:
    """The response of the posterior mean to a shift of the data, at the prior's median: 1 is no pull at all.

    The likelihood is taken as Gaussian, of the width that gives the posterior this variance; the response of a mean to
    its data is then the posterior's variance over the likelihood's.

    Args:
        variance: of the posterior, the mean over a campaign.
    """
    nodes = np.array([prior.quantile((k + 0.5) / _NODES) for k in range(_NODES)])
    centre, spread = float(np.median(nodes)), float(np.std(nodes))
    if math.sqrt(variance) < _NARROW * spread:
        return 1.0
    if variance >= 0.999 * spread**2:
        return 0.0

    def posterior(width: float) -> float:
        weight = np.exp(-0.5 * ((nodes - centre) / width) ** 2)
        mean = np.sum(weight * nodes) / weight.sum()
        return float(np.sum(weight * (nodes - mean) ** 2) / weight.sum())

    def excess(log_width: float) -> float:
        return posterior(math.exp(log_width)) - variance

    log_width = optimize.brentq(excess, math.log(0.5 * math.sqrt(variance)), math.log(1e3 * spread))
    return float(variance / math.exp(log_width) ** 2)

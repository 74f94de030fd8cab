"""Response of the posterior mean under a prior that is not Gaussian: a diagnostic, not a correction."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from scipy import optimize

_NODES = 4001
# Below this ratio of posterior to prior width, the pull is too small to compute with these nodes.
_NARROW = 0.02


class HasQuantiles(Protocol):
    """A prior with a quantile function."""

    def quantile(self, share: float) -> float:
        """The value below which this fraction of the prior lies."""
        ...


def kept(prior: HasQuantiles, variance: float) -> float:
    """Response of the posterior mean to a shift of the data, at the prior's median; 1 means no pull.

    Assumes a Gaussian likelihood whose width gives the posterior this variance. The response is then the posterior
    variance divided by the likelihood variance.

    Args:
        prior: of the parameter.
        variance: posterior variance, mean over a campaign.
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

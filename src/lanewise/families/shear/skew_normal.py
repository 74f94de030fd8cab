"""A prior whose logarithm has a skew-normal distribution (Azzalini 1985)."""

from __future__ import annotations

import math
from typing import Any

from scipy import special

_STEPS, _END = 60, 12.0


def quantile(share: float, location: float, sigma: float, skew: float) -> float:
    """Inverse cumulative distribution; by bisection of Φ(z) − 2 T(z, skew), T being Owen's."""
    low, high = -_END, _END
    for _ in range(_STEPS):
        z = (low + high) / 2
        low, high = (z, high) if special.ndtr(z) - 2 * special.owens_t(z, skew) < share else (low, z)
    return location * math.exp(sigma * (low + high) / 2)


def distribution(location: float, sigma: float, skew: float) -> Any:
    """The distribution for NumPyro."""
    import jax.numpy as jnp
    from jax.scipy.special import log_ndtr
    from numpyro.distributions import Distribution, constraints

    class LogSkewNormal(Distribution):  # type: ignore[misc]
        support = constraints.positive

        def log_prob(self, value: Any, intermediates: Any = None) -> Any:
            z = (jnp.log(value) - math.log(location)) / sigma
            constant = math.log(2 / sigma) - math.log(2 * math.pi) / 2
            return constant - z**2 / 2 + log_ndtr(skew * z) - jnp.log(value)

    return LogSkewNormal()

"""Priors of a galaxy's parameters; a new one is a class here, an entry in `PRIORS` and one in the schema.

Nothing here imports NumPyro before a distribution is asked for: a config is checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scipy import special

_UNBOUNDED = (-math.inf, math.inf)


class Prior(Protocol):
    """One latent's prior."""

    @property
    def centre(self) -> float:
        """The value that a simulated truth takes."""
        ...

    @property
    def high(self) -> float:
        """A large value that is still likely: one standard deviation above the centre, or the upper bound."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds that the user gave, infinite where there are none."""
        ...

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below; at a uniform random share, a draw from it."""
        ...

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        ...


@dataclass(frozen=True)
class Normal:
    """Normal prior; its centre is the mean."""

    mean: float
    sigma: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The mean."""
        return self.mean

    @property
    def high(self) -> float:
        """One σ above the mean."""
        return self.mean + self.sigma

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return self.mean + self.sigma * float(special.ndtri(share))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.Normal(self.mean, self.sigma)


@dataclass(frozen=True)
class LogNormal:
    """Log-normal prior: `mean` is the median and the centre, `sigma` the standard deviation of the logarithm."""

    mean: float
    sigma: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The median."""
        return self.mean

    @property
    def high(self) -> float:
        """One σ of the logarithm above the median."""
        return self.mean * math.exp(self.sigma)

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return self.mean * math.exp(self.sigma * float(special.ndtri(share)))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.LogNormal(math.log(self.mean), self.sigma)


@dataclass(frozen=True)
class Uniform:
    """Uniform prior between `min` and `max`; its centre is the mid-point."""

    min: float
    max: float

    @property
    def centre(self) -> float:
        """The mid-point."""
        return (self.min + self.max) / 2

    @property
    def high(self) -> float:
        """The upper bound."""
        return self.max

    @property
    def bounds(self) -> tuple[float, float]:
        """Both."""
        return self.min, self.max

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return self.min + (self.max - self.min) * share

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.Uniform(self.min, self.max)


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal prior cut at `min` and `max`; its centre is `mean`, which lies between them."""

    mean: float
    sigma: float
    min: float
    max: float

    @property
    def centre(self) -> float:
        """The mean before the cut, which is the mode."""
        return self.mean

    @property
    def high(self) -> float:
        """One σ above the mean, or the upper bound."""
        return min(self.mean + self.sigma, self.max)

    @property
    def bounds(self) -> tuple[float, float]:
        """Both."""
        return self.min, self.max

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        low, high = (float(special.ndtr((bound - self.mean) / self.sigma)) for bound in self.bounds)
        return self.mean + self.sigma * float(special.ndtri(low + (high - low) * share))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.TruncatedNormal(self.mean, self.sigma, low=self.min, high=self.max)


@dataclass(frozen=True)
class HalfNormal:
    """|Normal(0, sigma)|; its centre is its mean, σ √(2/π)."""

    sigma: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The mean."""
        return self.sigma * math.sqrt(2 / math.pi)

    @property
    def high(self) -> float:
        """One standard deviation above the mean."""
        return self.centre + self.sigma * math.sqrt(1 - 2 / math.pi)

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return self.sigma * float(special.ndtri((1 + share) / 2))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.HalfNormal(self.sigma)


@dataclass(frozen=True)
class Gamma:
    """Gamma prior of shape `concentration` and inverse scale `rate`; its centre is its mean, concentration / rate."""

    concentration: float
    rate: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The mean."""
        return self.concentration / self.rate

    @property
    def high(self) -> float:
        """One standard deviation above the mean."""
        return self.centre + math.sqrt(self.concentration) / self.rate

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return float(special.gammaincinv(self.concentration, share)) / self.rate

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.Gamma(self.concentration, self.rate)


@dataclass(frozen=True)
class Beta:
    """Beta prior on 0…1, density ∝ x^(concentration1 − 1) (1 − x)^(concentration0 − 1); its centre is its mean."""

    concentration1: float
    concentration0: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The mean."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def high(self) -> float:
        """One standard deviation above the mean, or 1."""
        mean = self.centre
        return min(mean + math.sqrt(mean * (1 - mean) / (self.concentration1 + self.concentration0 + 1)), 1.0)

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return float(special.betaincinv(self.concentration1, self.concentration0, share))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.Beta(self.concentration1, self.concentration0)


@dataclass(frozen=True)
class StudentT:
    """Student's t with `df` degrees of freedom, shifted to `mean` and scaled by `sigma`; its centre is `mean`."""

    df: float
    mean: float
    sigma: float
    bounds = _UNBOUNDED

    @property
    def centre(self) -> float:
        """The median, which is the mean where there is one."""
        return self.mean

    @property
    def high(self) -> float:
        """One scale above the centre: below two degrees of freedom there is no standard deviation."""
        return self.mean + self.sigma

    def quantile(self, share: float) -> float:
        """The value that a share of the prior lies below."""
        return self.mean + self.sigma * float(special.stdtrit(self.df, share))

    def distribution(self) -> Any:
        """The NumPyro distribution."""
        import numpyro.distributions as dist

        return dist.StudentT(self.df, self.mean, self.sigma)


PRIORS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Normal, LogNormal, Uniform, TruncatedNormal, HalfNormal, Gamma, Beta, StudentT)
}
Parameter = float | Prior


def parameter(value: float | Mapping[str, Any]) -> Parameter:
    """A checked number, or the prior of a checked mapping with `type`."""
    if isinstance(value, Mapping):
        made: Prior = PRIORS[value["type"]](**{key: float(n) for key, n in value.items() if key != "type"})
        return made
    return float(value)

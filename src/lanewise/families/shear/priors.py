"""Priors of a galaxy's parameters; a new one needs a class here, an entry in `PRIORS` and one in the schema.

Only `distribution` imports NumPyro, so that a config can be checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from scipy import special

_UNBOUNDED = (-math.inf, math.inf)


class Prior(Protocol):
    """The prior of one latent."""

    @property
    def centre(self) -> float:
        """The default value of a simulated truth."""
        ...

    @property
    def high(self) -> float:
        """A large value that is still likely: one standard deviation above the centre, or the upper bound."""
        ...

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound given by the user; infinite if there are none."""
        ...

    def quantile(self, share: float) -> float:
        """Inverse cumulative distribution at `share` in (0, 1); a uniform random share gives a draw of the prior."""
        ...

    def distribution(self) -> Any:
        """The prior as a NumPyro distribution of a scalar."""
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
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return self.mean + self.sigma * float(special.ndtri(share))

    def distribution(self) -> Any:
        """NumPyro's Normal with `mean` and `sigma`; a scalar."""
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
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return self.mean * math.exp(self.sigma * float(special.ndtri(share)))

    def distribution(self) -> Any:
        """NumPyro's LogNormal whose `loc` is log(mean); a scalar."""
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
        """Lower and upper bound."""
        return self.min, self.max

    def quantile(self, share: float) -> float:
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return self.min + (self.max - self.min) * share

    def distribution(self) -> Any:
        """NumPyro's Uniform between `min` and `max`; a scalar."""
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
        """Lower and upper bound."""
        return self.min, self.max

    def quantile(self, share: float) -> float:
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        low, high = (float(special.ndtr((bound - self.mean) / self.sigma)) for bound in self.bounds)
        return self.mean + self.sigma * float(special.ndtri(low + (high - low) * share))

    def distribution(self) -> Any:
        """NumPyro's TruncatedNormal with support `min`…`max`; a scalar."""
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
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return self.sigma * float(special.ndtri((1 + share) / 2))

    def distribution(self) -> Any:
        """NumPyro's HalfNormal with scale `sigma`; a scalar."""
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
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return float(special.gammaincinv(self.concentration, share)) / self.rate

    def distribution(self) -> Any:
        """NumPyro's Gamma with `concentration` and `rate`; a scalar."""
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
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return float(special.betaincinv(self.concentration1, self.concentration0, share))

    def distribution(self) -> Any:
        """NumPyro's Beta with support 0…1; a scalar."""
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
        """The median; for df > 1 also the mean."""
        return self.mean

    @property
    def high(self) -> float:
        """One `sigma` above the centre; a standard deviation exists only for df > 2."""
        return self.mean + self.sigma

    def quantile(self, share: float) -> float:
        """Inverse cumulative distribution at `share`, 0 < share < 1."""
        return self.mean + self.sigma * float(special.stdtrit(self.df, share))

    def distribution(self) -> Any:
        """NumPyro's StudentT with `df`, shifted and scaled; a scalar."""
        import numpyro.distributions as dist

        return dist.StudentT(self.df, self.mean, self.sigma)


PRIORS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Normal, LogNormal, Uniform, TruncatedNormal, HalfNormal, Gamma, Beta, StudentT)
}
Parameter = float | Prior


def parameter(value: float | Mapping[str, Any]) -> Parameter:
    """A fixed value from a number, or a prior from a mapping with `type`; the schema has checked both."""
    if isinstance(value, Mapping):
        made: Prior = PRIORS[value["type"]](**{key: float(n) for key, n in value.items() if key != "type"})
        return made
    return float(value)

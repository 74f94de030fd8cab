"""Priors of a galaxy's parameters; a new one needs a row in `PRIORS` and an entry in the schema.

Only `distribution` imports NumPyro, so that a config can be checked without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy import special

from lanewise.families.shear import skew_normal

# What NumPyro calls our fields; it calls the others as we do.
_NUMPYRO = {"mean": "loc", "sigma": "scale", "min": "low", "max": "high"}


@dataclass(frozen=True)
class PriorKind:
    """A row of the table of priors; NumPyro's distribution has the row's name.

    Attributes:
        fields: names of the fields, in the order in which the functions take their values.
        centre: the default value of a simulated truth.
        high: a large value that is still likely: one standard deviation above the centre, or the upper bound.
        quantile: inverse cumulative distribution; its first argument is the share, 0 < share < 1.
        loc: from the mean to NumPyro's `loc`.
    """

    fields: tuple[str, ...]
    centre: Callable[..., float]
    high: Callable[..., float]
    quantile: Callable[..., float]
    loc: Callable[[float], float] = float


def _truncated_normal(share: float, mean: float, sigma: float, low: float, high: float) -> float:
    first, last = (float(special.ndtr((bound - mean) / sigma)) for bound in (low, high))
    return mean + sigma * float(special.ndtri(first + (last - first) * share))


def _beta_high(concentration1: float, concentration0: float) -> float:
    total = concentration1 + concentration0
    mean = concentration1 / total
    return min(mean + math.sqrt(mean * (1 - mean) / (total + 1)), 1.0)


PRIORS = {
    "Normal": PriorKind(
        ("mean", "sigma"),
        centre=lambda mean, sigma: mean,
        high=lambda mean, sigma: mean + sigma,
        quantile=lambda share, mean, sigma: mean + sigma * special.ndtri(share),
    ),
    # mean: the median; sigma: the standard deviation of the logarithm.
    "LogNormal": PriorKind(
        ("mean", "sigma"),
        centre=lambda mean, sigma: mean,
        high=lambda mean, sigma: mean * math.exp(sigma),
        quantile=lambda share, mean, sigma: mean * math.exp(sigma * special.ndtri(share)),
        loc=math.log,
    ),
    # location: where the logarithm would have its mode without skew; NumPyro has none, see `skew_normal`.
    "LogSkewNormal": PriorKind(
        ("location", "sigma", "skew"),
        centre=lambda location, sigma, skew: skew_normal.quantile(0.5, location, sigma, skew),
        high=lambda location, sigma, skew: skew_normal.quantile(0.84, location, sigma, skew),
        quantile=skew_normal.quantile,
    ),
    "Uniform": PriorKind(
        ("min", "max"),
        centre=lambda low, high: (low + high) / 2,
        high=lambda low, high: high,
        quantile=lambda share, low, high: low + (high - low) * share,
    ),
    # Density ∝ 1/x.
    "LogUniform": PriorKind(
        ("min", "max"),
        centre=lambda low, high: math.sqrt(low * high),
        high=lambda low, high: high,
        quantile=lambda share, low, high: low * (high / low) ** share,
    ),
    # mean: before the cut at min and max, between which it lies; it is the mode.
    "TruncatedNormal": PriorKind(
        ("mean", "sigma", "min", "max"),
        centre=lambda mean, sigma, low, high: mean,
        high=lambda mean, sigma, low, high: min(mean + sigma, high),
        quantile=_truncated_normal,
    ),
    # |Normal(0, sigma)|.
    "HalfNormal": PriorKind(
        ("sigma",),
        centre=lambda sigma: sigma * math.sqrt(2 / math.pi),
        high=lambda sigma: sigma * math.sqrt(2 / math.pi) + sigma * math.sqrt(1 - 2 / math.pi),
        quantile=lambda share, sigma: sigma * special.ndtri((1 + share) / 2),
    ),
    # rate: the inverse scale.
    "Gamma": PriorKind(
        ("concentration", "rate"),
        centre=lambda concentration, rate: concentration / rate,
        high=lambda concentration, rate: concentration / rate + math.sqrt(concentration) / rate,
        quantile=lambda share, concentration, rate: special.gammaincinv(concentration, share) / rate,
    ),
    # On 0…1, density ∝ x^(concentration1 − 1) (1 − x)^(concentration0 − 1).
    "Beta": PriorKind(
        ("concentration1", "concentration0"),
        centre=lambda concentration1, concentration0: concentration1 / (concentration1 + concentration0),
        high=_beta_high,
        quantile=lambda share, concentration1, concentration0: special.betaincinv(
            concentration1, concentration0, share
        ),
    ),
    # df degrees of freedom, shifted to mean and scaled by sigma. A standard deviation exists only for df > 2.
    "StudentT": PriorKind(
        ("df", "mean", "sigma"),
        centre=lambda df, mean, sigma: mean,
        high=lambda df, mean, sigma: mean + sigma,
        quantile=lambda share, df, mean, sigma: mean + sigma * special.stdtrit(df, share),
    ),
}


@dataclass(frozen=True)
class Prior:
    """The prior of one latent.

    Attributes:
        type: name of a row of `PRIORS`.
        values: of the row's fields, in their order.
    """

    type: str
    values: tuple[float, ...]

    @property
    def fields(self) -> dict[str, float]:
        """The values by the names of their fields."""
        return dict(zip(PRIORS[self.type].fields, self.values, strict=True))

    @property
    def content(self) -> dict[str, str | float]:
        """The type and the values, for the identity."""
        return {"type": self.type, **self.fields}

    @property
    def centre(self) -> float:
        """The default value of a simulated truth."""
        return PRIORS[self.type].centre(*self.values)

    @property
    def high(self) -> float:
        """A large value that is still likely: one standard deviation above the centre, or the upper bound."""
        return PRIORS[self.type].high(*self.values)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound given by the user; infinite if there are none."""
        return self.fields.get("min", -math.inf), self.fields.get("max", math.inf)

    def quantile(self, share: float) -> float:
        """Inverse cumulative distribution at `share` in (0, 1); a uniform random share gives a draw of the prior."""
        return float(PRIORS[self.type].quantile(share, *self.values))

    def shifted(self, by: float) -> Prior:
        """The prior of the latent plus `by`; for the priors of a position, Uniform and Normal."""
        moved = {name: value + by for name, value in self.fields.items() if name in ("min", "max", "mean")}
        return Prior(self.type, tuple({**self.fields, **moved}.values()))

    def distribution(self) -> Any:
        """The prior as a NumPyro distribution of a scalar."""
        from numpyro import distributions

        if self.type == "LogSkewNormal":
            return skew_normal.distribution(**self.fields)
        arguments = {_NUMPYRO.get(name, name): value for name, value in self.fields.items()}
        if "loc" in arguments:
            arguments["loc"] = PRIORS[self.type].loc(arguments["loc"])
        return getattr(distributions, self.type)(**arguments)


Parameter = float | Prior


def uniform(low: float, high: float) -> Prior:
    """The uniform prior between two bounds."""
    return Prior("Uniform", (low, high))


def parameter(value: float | Mapping[str, Any]) -> Parameter:
    """A fixed value from a number, or a prior from a mapping with `type`; the schema has checked both."""
    if isinstance(value, Mapping):
        kind = value["type"]
        return Prior(kind, tuple(float(value[name]) for name in PRIORS[kind].fields))
    return float(value)


def centre(value: Parameter) -> float:
    """A fixed value itself, or the centre of a prior."""
    return value if isinstance(value, float) else value.centre

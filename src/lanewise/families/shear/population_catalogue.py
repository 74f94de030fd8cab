"""A population like the galaxies of a table: each is a row of it, with Gaussian steps in the logarithms."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from lanewise.families.shear import galaxy_table
from lanewise.families.shear.galaxy_table import Catalogue
from lanewise.families.shear.priors import Parameter, Prior
from lanewise.families.shear.scene import quantity
from lanewise.manifest.document import Path
from lanewise.statistics.numbers import percent

Array = NDArray[np.float64]
KEY = "catalogue"
# What may be a column: its logarithm takes any value, so that a Gaussian step leads to a galaxy.
QUANTITIES = ("flux", "half_light_radius")
# Least width of an interim prior over the scatter of the catalogue about the prior's median, as of a LogNormal.
_WIDER = 1.2
# Largest share of the galaxies beyond the bounds of an interim prior: the likelihood does not know of them.
_BEYOND_MAX = 1e-3


@dataclass(frozen=True)
class Mixture:
    """The smoothed bootstrap of a table: its density is an equal mixture of Gaussians about the rows, in logarithms.

    Attributes:
        table: with fluxes and half-light radii.
        smoothing: standard deviation of the steps, the same in all columns [natural logarithm].
    """

    table: Catalogue
    smoothing: float = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the galaxy that the table has."""
        return tuple(name for name, _ in self.table.columns)

    @property
    def rows(self) -> Array:
        """Logarithms, shape (row, name)."""
        return _logs(self.table)

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        return {**self.table.content, "smoothing": self.smoothing}

    def draw(self, random: np.random.Generator) -> dict[str, float]:
        """The parameters of a galaxy by name."""
        row = self.rows[random.integers(len(self.rows))]
        found = np.exp(row + self.smoothing * random.normal(size=len(row)))
        return dict(zip(self.names, map(float, found), strict=True))


def parse(value: Mapping[str, Any]) -> Mixture:
    """The mixture from the section `population.catalogue`, which the schema has checked."""
    more = {"smoothing": float(value["smoothing"])} if "smoothing" in value else {}
    return Mixture(galaxy_table.parse(value), **more)


def faults(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What is wrong with the section of a population, as far as it can be told without the table.

    Args:
        value: the section `population`.
    """
    for name in value.get(KEY, {}).get("columns", {}):
        place: Path = (KEY, "columns", name)
        if name in ("e1", "e2"):
            yield place, "the galaxies' ellipticities come from population.ellipticity; remove it"
        elif quantity(name) not in QUANTITIES:
            yield place, "expected flux or a half-light radius, to which steps in the logarithm can be added; remove it"
        elif name in value:
            yield place, f"population.{name} is a distribution of the same; remove one of the two"
    if KEY in value and "selection" in value:
        yield (KEY,), "the probability of the cut is that of distributions; remove it, or population.selection"


def misfits(mixture: Mixture, parameters: Mapping[str, Parameter]) -> Iterator[tuple[Path, str]]:
    """Columns that the model does not infer, and interim priors that do not cover the table.

    Args:
        parameters: of the model's galaxy.
    """
    for name, logs in zip(mixture.names, mixture.rows.T, strict=True):
        place: Path = ("config", "population", KEY, "columns", name)
        prior = parameters.get(name)
        if prior is None:
            yield place, f"the galaxy of the model has no {name}; it has {', '.join(parameters)}"
        elif not isinstance(prior, Prior):
            yield place, f"{name} is a number in gal; give it a prior there, wider than the catalogue"
        elif prior.type == "LogNormal":
            off = logs - math.log(prior.fields["mean"])
            needed = _WIDER * math.sqrt(float(np.mean(off**2)) + mixture.smoothing**2)
            if prior.fields["sigma"] < needed:
                message = f"expected a prior in gal with sigma of at least {needed:.3g}, {_WIDER:g} times the scatter "
                yield place, f"{message}of the catalogue about its mean; got {prior.fields['sigma']:g}"
        elif (beyond := _beyond(prior, logs, mixture.smoothing)) > _BEYOND_MAX:
            low, high = prior.bounds
            message = f"{percent(beyond, '.2g')} of the galaxies are beyond the bounds of its prior in gal"
            yield place, f"{message}, {low:g} and {high:g}; expected at most {percent(_BEYOND_MAX)}: widen them"


def _beyond(prior: Prior, logs: Array, smoothing: float) -> float:
    """Share of the galaxies that a prior excludes."""
    low, high = (math.log(bound) if bound > 0 else -math.inf for bound in prior.bounds)
    return float(np.mean(special.ndtr((low - logs) / smoothing) + special.ndtr((logs - high) / smoothing)))


@functools.lru_cache(maxsize=2)
def _logs(table: Catalogue) -> Array:
    read = galaxy_table.read(table)
    found: Array = np.log(np.stack([read[name] for name, _ in table.columns], axis=-1))
    return found

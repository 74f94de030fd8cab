"""The section `population` of a config: many galaxies in one realization that share its shear."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lanewise.families.shear import population_catalogue
from lanewise.families.shear.ellipticity_table import Table
from lanewise.families.shear.population_catalogue import Mixture
from lanewise.families.shear.priors import Parameter, Prior, parameter
from lanewise.families.shear.scene import Galaxy
from lanewise.manifest import typed
from lanewise.manifest.document import Path
from lanewise.statistics.numbers import percent

KEY = "population"
# Quantities that may have a LogNormal distribution in the population other than the prior in `gal`.
QUANTITIES = ("flux", "half_light_radius")
# What may be free: parameter → quantity and field of its LogNormal; of the ellipticity it is the width.
HYPER = {
    "ellipticity_sigma": ("ellipticity", "sigma"),
    **{f"{quantity}_{field}": (quantity, field) for quantity in QUANTITIES for field in ("mean", "sigma")},
}
# Parameters of each galaxy that the population, or the shear that all share, decides.
SHAPE = ("g1", "g2", "e1", "e2")
# Least width of an interim prior over that of the distribution of the ellipticity: under a narrower one, weights have
# no finite variance.
INTERIM_MIN = 1.2
# Largest share of the galaxies in the tail of a table of ellipticities.
BEYOND_MAX = 0.05
# Largest share of the range of nodes that a true shear may take: a posterior needs room beside it.
_RANGE = 0.95


@dataclass(frozen=True)
class Selection:
    """A cut: fainter or smaller galaxies are known in number only.

    Attributes:
        snr_min: smallest S/N in the filter of `population.selection`; None: no limit.
        size_min: smallest half-light radius by the filter of `population.selection` [arcsec]; None: no limit.
        in_likelihood: whether the likelihood holds the probability to be cut; without it, it is wrong on purpose.
    """

    snr_min: float | None = None
    size_min: float | None = None
    in_likelihood: bool = True

    @property
    def limits(self) -> dict[str, float]:
        """The limits that there are, by key."""
        there = {"snr_min": self.snr_min, "size_min": self.size_min}
        return {name: limit for name, limit in there.items() if limit is not None}


@dataclass(frozen=True)
class Population:
    """Galaxies that share a shear.

    Attributes:
        galaxies: number of galaxies in a realization.
        ellipticity: distribution of the intrinsic ellipticity: `Gaussian`, `Rayleigh`, `BernsteinArmstrong` or `Table`.
        sigma: its width per component [g-convention]; of a table, its root mean square.
        interim: width per component of the Gaussian prior on each galaxy's sheared ellipticity.
        half_width: the likelihood is kept for shears between ± this, per component [reduced shear].
        keep: `nodes`, or `draws` for the draws of every galaxy beside them.
        max_failed_frac: largest share of galaxies that have failed or whose weights have k̂ ≥ 0.7.
        selection: the cut that they had to pass; None: all are there.
        distributions: LogNormals of the population by quantity; others have the prior in `gal`.
        free: LogNormal priors of parameters that are inferred with the shear, by keys of `HYPER`.
        table: of the ellipticity, if that is a `Table`.
        catalogue: galaxies whose parameters those of the population are like; None: there is none.
    """

    galaxies: int
    ellipticity: str
    sigma: float
    interim: float = 0.3
    half_width: float = 0.06
    keep: str = "nodes"
    max_failed_frac: float = 0.02
    selection: Selection | None = None
    distributions: tuple[tuple[str, Prior], ...] = ()
    free: tuple[tuple[str, Prior], ...] = ()
    table: Table | None = None
    catalogue: Mixture | None = None

    @property
    def replaced(self) -> tuple[str, ...]:
        """Parameters whose prior in `gal` is an interim one: those with a distribution, then those of the catalogue."""
        return (*(name for name, _ in self.distributions), *(self.catalogue.names if self.catalogue else ()))

    @property
    def keeps_draws(self) -> bool:
        """Whether a galaxy leaves its draws."""
        return self.keep == "draws" or bool(self.free)

    def known(self, name: str) -> float:
        """The value of a parameter of `HYPER` that the galaxies are drawn with."""
        quantity, field = HYPER[name]
        return self.sigma if quantity == "ellipticity" else dict(self.distributions)[quantity].fields[field]

    @property
    def content(self) -> dict[str, Any]:
        """The values that affect the numbers of a realization, for the identity."""
        found = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        for name, priors in (("distributions", self.distributions), ("free", self.free)):
            if priors:
                found[name] = {one: prior.content for one, prior in priors}
        if self.selection is not None:
            found["selection"] = {**self.selection.limits, "in_likelihood": self.selection.in_likelihood}
        if self.table is not None:
            # Lists, as files have them. The width follows from the table, and its last bits from the machine.
            found["table"] = {"e": [*self.table.e], "density": [*self.table.density]}
            del found["sigma"]
        if self.catalogue is not None:
            found["catalogue"] = self.catalogue.content
        return found


def parse(config: Mapping[str, Any]) -> Population | None:
    """The checked section of a config; None without one."""
    if KEY not in config:
        return None
    value = dict(config[KEY])
    shape = value.pop("ellipticity")
    cut = value.pop("selection", None)
    more: dict[str, Any] = {
        "selection": typed.build(Selection, cut) if cut else None,
        "distributions": _priors({name: value.pop(name) for name in QUANTITIES if name in value}),
        "free": _priors(value.pop("free", {})),
    }
    if population_catalogue.KEY in value:
        more["catalogue"] = population_catalogue.parse(value.pop(population_catalogue.KEY))
    if shape["type"] == "Table":
        table = _table(shape)
        shape, more["table"] = {**shape, "sigma": table.width}, table
    return typed.build(Population, {**value, "ellipticity": shape["type"], "sigma": shape["sigma"]}, **more)


def _table(shape: Mapping[str, Any]) -> Table:
    return Table(*(tuple(map(float, shape[key])) for key in ("e", "density")))


def _priors(values: Mapping[str, Any]) -> tuple[tuple[str, Prior], ...]:
    found = {name: parameter(value) for name, value in sorted(values.items())}
    return tuple((name, prior) for name, prior in found.items() if isinstance(prior, Prior))


def one_galaxy(galaxy: Galaxy, population: Population) -> Galaxy:
    """The galaxy of a single image: round, sheared by its own ellipticity with the interim prior."""
    interim = Prior("Normal", (0.0, population.interim))
    own: dict[str, Parameter] = {"g1": interim, "g2": interim, "e1": 0.0, "e2": 0.0}
    return replace(galaxy, parameters=tuple((name, own.get(name, p)) for name, p in galaxy.parameters))


def drawn_from(population: Population, simulated: Galaxy, model: Galaxy) -> dict[str, Parameter]:
    """The distributions of a galaxy's own parameters; what `simulation` changes stays as it says."""
    own, there = dict(model.parameters), dict(population.distributions)
    return {
        name: there.get(name, p) if p == own.get(name) else p for name, p in simulated.parameters if name not in SHAPE
    }


def of_catalogue(population: Population, simulated: Galaxy, model: Galaxy) -> frozenset[str]:
    """Parameters that galaxies take from the catalogue; what `simulation` changes stays as it says."""
    there = population.catalogue.names if population.catalogue else ()
    own, other = dict(model.parameters), dict(simulated.parameters)
    return frozenset(name for name in there if name in other and other[name] == own[name])


def faults(config: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What is wrong with the section, beyond its schema."""
    value = config.get(KEY)
    if value is None:
        return
    shape, interim = value["ellipticity"], value.get("interim", Population.interim)
    unsound = list(_unsound(shape)) if shape["type"] == "Table" else []
    yield from unsound
    if unsound:
        return
    sigma = _table(shape).width if shape["type"] == "Table" else shape["sigma"]
    if interim < INTERIM_MIN * sigma:
        message = f"expected at least {INTERIM_MIN:g} times the width of population.ellipticity ({sigma:g}), "
        message += f"got {interim:g}"
        yield (KEY, "interim"), f"{message}: a narrow prior gives weights without a finite variance"
    yield from _distributions(value, config["gal"])
    yield from (((KEY, *path), message) for path, message in population_catalogue.faults(value))
    if config["image"]["noise"].get("type") == "Correlated":
        yield ("image", "noise", "type"), "a population's pixels are independent; expected Gaussian, got Correlated"
    if "ellipticity" in config["gal"]:
        yield ("gal", "ellipticity"), "the galaxies' ellipticities come from population.ellipticity; remove it"
    cut = value.get("selection")
    if cut is not None and not cut.keys() & {"snr_min", "size_min"}:
        yield (KEY, "selection"), "expected snr_min or size_min, got neither; add one"
    if cut is not None and "size_min" in cut and "half_light_radius" not in config["gal"]:
        yield (KEY, "selection", "size_min"), "a Sum of profiles has no size of its own; remove it"
    simulated = config.get("simulation", {})
    if "ellipticity" in simulated.get("gal", {}):
        message = "the galaxies' ellipticities come from population.ellipticity; remove it"
        yield ("simulation", "gal", "ellipticity"), message
    for key, message in (
        ("given", "nothing of a population's galaxies is given to the model; remove it"),
        ("truths", "galaxies of a population are always drawn; remove it"),
        ("catalogue", "the catalogue of a population is population.catalogue; move it there"),
        ("noise", "a population's images have the noise of the model; remove it"),
    ):
        if key in simulated:
            yield ("simulation", key), message
    inference = config.get("inference", {})
    if inference.get("method", "nuts") != "importance":
        message = "a population needs independent draws with weights; set method: importance"
        yield ("inference", "method") if "method" in inference else ("inference",), message
    n_draws = inference.get("importance_config", {}).get("samples", 64)
    if n_draws < 20:
        yield ("inference", "importance_config", "samples"), f"expected at least 20 for a population, got {n_draws}"


def _unsound(shape: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Why a table is none."""
    e, n = shape["e"], len(shape["density"])
    if n != len(e):
        yield (
            (KEY, "ellipticity", "density"),
            f"expected as many numbers as population.ellipticity.e ({len(e)}), got {n}",
        )
    elif any(second <= first for first, second in itertools.pairwise(e)):
        yield (KEY, "ellipticity", "e"), "expected sizes |e| in ascending order"
    elif 2 * e[0] ** 2 > e[1] ** 2:
        most = f"{math.sqrt(0.5) * e[1]:.3g}"
        message = f"expected a first |e| of at most {most}, got {e[0]:g}: from there to 0 the density is extrapolated"
        yield (KEY, "ellipticity", "e"), message
    elif not (beyond := _table(shape).beyond) <= BEYOND_MAX:
        message = f"expected at most {percent(BEYOND_MAX)} of the galaxies beyond the last |e|, where the density goes "
        message += f"on as a Gaussian, got {percent(beyond, '.2g')}; tell the density further out"
        yield (KEY, "ellipticity", "e"), message


def _distributions(value: Mapping[str, Any], gal: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Distributions of the population need wider priors in `gal`; what is free needs a distribution."""
    free = value.get("free", {})
    for name in (one for one in QUANTITIES if one in value):
        interim = gal.get(name)
        if not isinstance(interim, Mapping):
            yield (KEY, name), f"gal.{name} is not inferred; give it a prior, wider than this distribution"
        elif interim["type"] == "LogNormal" and interim["sigma"] < 1.2 * value[name]["sigma"]:
            needed = 1.2 * value[name]["sigma"]
            message = f"expected a prior of at least 1.2 times the width of population.{name} ({needed:g})"
            yield ("gal", name, "sigma"), f"{message}, got {interim['sigma']:g}"
    for name, prior in free.items():
        quantity, _ = HYPER[name]
        if name == "ellipticity_sigma" and value["ellipticity"]["type"] == "Table":
            yield (KEY, "free", name), "a Table has no sigma; remove it, or choose another population.ellipticity.type"
        elif quantity in value.get(population_catalogue.KEY, {}).get("columns", {}):
            yield (
                (KEY, "free", name),
                f"{quantity} is known by population.catalogue; remove one of the two",
            )
        elif quantity not in value:
            yield (KEY, "free", name), f"expected its known value, too: give population.{quantity} a distribution"
        elif name == "ellipticity_sigma":
            largest, interim = prior["mean"] * math.exp(prior["sigma"]), value.get("interim", Population.interim)
            if interim < 1.2 * largest:
                message = f"expected population.interim of at least 1.2 times its likely values ({1.2 * largest:.3g})"
                yield (KEY, "free", name), f"{message}, got {interim:g}"


def out_of_range(population: Population, shears: Sequence[tuple[float, float]]) -> Iterator[tuple[Path, str]]:
    """Complaints about true shears that the nodes do not cover."""
    largest = max((abs(one) for shear in shears for one in shear), default=0.0)
    if largest > _RANGE * population.half_width:
        needed = largest / _RANGE
        message = f"expected at least {needed:.3g} for shears of {largest:g}, got {population.half_width:g}"
        yield ("config", KEY, "half_width"), f"{message}: the likelihood is kept for shears between ± half_width"

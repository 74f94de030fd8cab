"""Populations whose galaxies come from files: what is wrong between the files and the section `population`."""

from __future__ import annotations

from collections.abc import Iterator

from lanewise.families.shear import population_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.observations import KEY, TABLE, Observations
from lanewise.families.shear.population_config import Population
from lanewise.manifest.document import Path


def misfits(extent: Observations, config: ShearConfig, population: Population) -> Iterator[tuple[Path, str]]:
    """Complaints about the number of galaxies, the truths of populations, and a cut that cannot be told."""
    key, galaxies = (TABLE, "objects") if extent.table else ("images", "images")
    n, rest = divmod(extent.n, population.galaxies)
    if rest:
        message = f"expected a multiple of config.population.galaxies ({population.galaxies})"
        yield (KEY, key), f"{message}, got {extent.n} {galaxies}; correct one of the two"
    elif extent.truths and len(extent.truths) != n:
        message = f"expected a row for each of {n} populations of {population.galaxies} {galaxies}"
        yield (KEY, "truths"), f"{message}, got {len(extent.truths)}"
    if other := sorted({name for row in extent.truths for name in row} - {"g1", "g2"}):
        yield (KEY, "truths"), f"the galaxies of a population share g1 and g2 alone; remove {', '.join(other)}"
    shears = [(row.get("g1", 0.0), row.get("g2", 0.0)) for row in extent.truths]
    yield from population_config.out_of_range(population, shears)
    if config.image.sizes:
        message = "the galaxies of a population have stamps of one size; remove it, and set size_x and size_y"
        yield ("config", "image", "sizes"), message
    if population.selection is None:
        return
    place: Path = ("config", population_config.KEY, "selection")
    if extent.table:
        message = "the filter of a cut is for one image of each galaxy, not for exposures"
        yield place, f"{message}; remove it, or give observations.images"
        return
    if config.image.noise.type != "Gaussian":
        message = "the probability of a cut is that of noise of one width, without masks"
        yield place, f"{message}; set image.noise.type: Gaussian, or remove it"
    if extent.centres:
        yield (
            place,
            "the filter of a cut is in the middle of the stamp, not at observations.centres; remove one of them",
        )

"""Images from files as realizations: which realization is which image, and the pixels of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lanewise.errors import DataError
from lanewise.families.shear import exposure_files, stamp_files
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.exposure_table import Exposures
from lanewise.families.shear.observations import Centre, Observations, Source
from lanewise.families.shear.pixel_weights import inverse_variance
from lanewise.manifest import identity
from lanewise.manifest.plan import Computed, Pinned, Planned, Single
from lanewise.manifest.problem import Observation

# The role of a realization's `Centre`, of its `Exposures`, and of its `Stack`.
_CENTRE, _EXPOSURES, _STACK = "centre", "exposures", "galaxies"


@dataclass(frozen=True)
class Stack:
    """The galaxies of a population: of each the sources of its image, or its exposures, by role."""

    galaxies: tuple[Mapping[str, Pinned], ...]

    @property
    def content(self) -> list[dict[str, Any]]:
        """What fixes each galaxy's data."""
        return [{role: one.content for role, one in sources.items()} for sources in self.galaxies]


def realizations(
    extent: Observations, base_seed: int, run_id: Callable[[float, float, int], str], per_population: int = 0
) -> Sequence[Single]:
    """Every image, population or object as a realization; seeds increment from one to the next, or group to group.

    Args:
        per_population: images or objects of a population; 0: none.
    """
    n = extent.n // max(per_population, 1)
    if extent.table:
        # Listed, a large table would cost what it costs in every container.
        others = {"truths": [dict(one) for one in extent.truths], "groups": extent.groups}
        rule: dict[str, Any] = {"table": identity.of({"files": extent.table.content, **others}), "base_seed": base_seed}
        rule |= {"per_population": per_population} if per_population else {}
        return Computed(n, partial(_of_table, extent, base_seed, run_id, per_population), rule)
    found: list[Single] = []
    names: set[str] = set()
    for index in range(n):
        name, seed, truth = _named(extent, base_seed, run_id, index)
        # Two images of a group at one shear.
        name = f"{name}_i{index}" if name in names else name
        names.add(name)
        found.append(Single(name, seed, truth, _sources(extent, per_population, index)))
    return tuple(found)


def _of_table(
    extent: Observations,
    base_seed: int,
    run_id: Callable[[float, float, int], str],
    per_population: int,
    index: int,
) -> Single:
    """The realization of an object of the table, or of a population of objects that follow one another in it."""
    name, seed, truth = _named(extent, base_seed, run_id, index)
    name = f"{name}_i{index}" if {"g1", "g2"} <= set(truth) and extent.groups else name
    return Single(name, seed, truth, _sources(extent, per_population, index))


def _sources(extent: Observations, per_population: int, index: int) -> dict[str, Pinned]:
    """The sources of a realization, by role."""
    if not per_population:
        return _sources_of(extent, index)
    galaxies = range(index * per_population, (index + 1) * per_population)
    return {_STACK: Stack(tuple(_sources_of(extent, at) for at in galaxies))}


def _sources_of(extent: Observations, index: int) -> dict[str, Pinned]:
    """The sources of an image, or the exposures of an object, by role."""
    if extent.table:
        return {_EXPOSURES: extent.table.exposures(index)}
    found: dict[str, Pinned] = {role: files[index if len(files) > 1 else 0] for role, files in extent.sources.items()}
    return {**found, _CENTRE: extent.centres[index]} if extent.centres else found


def _named(
    extent: Observations, base_seed: int, run_id: Callable[[float, float, int], str], index: int
) -> tuple[str, int, Mapping[str, float]]:
    """Name, seed and truth of a realization; several of a group at one shear have the same name."""
    seed = base_seed + (extent.groups[index] if extent.groups else index)
    truth = extent.truths[index] if extent.truths else {}
    known = {"g1", "g2"} <= set(truth)
    return run_id(truth["g1"], truth["g2"], seed) if known else f"obs_{index:05d}_s{seed}", seed, truth


def exposures_of(planned: Planned) -> Exposures | None:
    """The exposures of an object of a table; None of an image."""
    return exposures_in(planned.sources) if isinstance(planned, Single) else None


def exposures_in(sources: Mapping[str, Pinned]) -> Exposures | None:
    """The exposures among the sources of a realization, or of a galaxy of a population."""
    found = sources.get(_EXPOSURES)
    return found if isinstance(found, Exposures) else None


def stack_of(planned: Single) -> Stack:
    """The galaxies of a population."""
    found = planned.sources[_STACK]
    assert isinstance(found, Stack)
    return found


def ids_of(planned: Planned) -> list[str]:
    """Names of a population's galaxies in a table of exposures; empty of others."""
    found = planned.sources.get(_STACK) if isinstance(planned, Single) else None
    galaxies = found.galaxies if isinstance(found, Stack) else ()
    return [one.id for sources in galaxies if (one := exposures_in(sources))]


def observe(config: ShearConfig, planned: Single) -> Observation:
    """Read the image, or the exposures, of one realization."""
    if exposures := exposures_of(planned):
        return exposure_files.observe(config, exposures, planned.truth)
    return Observation.of(read(config, planned.sources), planned.truth)


def read(config: ShearConfig, pinned: Mapping[str, Pinned]) -> dict[str, np.ndarray]:
    """Read one image; with PerPixel noise its inverse variance too.

    Args:
        pinned: the image's sources by role.

    Returns:
        `image`, shape (ny, nx), float64 [flux per pixel], 0 where it is masked; and for PerPixel noise `weight`,
            the inverse variance, 0 where the pixel is masked; `centre`, shape (2,), if the image has one.

    Raises:
        DataError: a file has changed since the campaign was planned, a variance is not positive, a weight is negative,
            or the two contradict each other.
        InputUnreachable: a file is not there, or storage cannot be reached.
    """
    sources = {role: one for role, one in pinned.items() if isinstance(one, Source)}
    values = {role: _pixels(one) for role, one in sources.items()}
    image = values["images"].astype(np.float64)
    centre = pinned.get(_CENTRE)
    about = {"centre": np.array([centre.x, centre.y])} if isinstance(centre, Centre) else {}
    if config.image.noise.type != "PerPixel":
        return {"image": image, **about}
    paths = {role: one.file.path for role, one in sources.items()}
    weight = inverse_variance({**values, "image": image}, paths, config.image.noise.sigma)
    if not np.any(weight > 0):
        raise DataError(f"{paths.get('mask') or paths['weight']}: every pixel is masked")
    return {"image": np.where(weight > 0, image, 0.0), "weight": weight, **about}


def _pixels(source: Source) -> np.ndarray:
    images = stamp_files.load(source.file, source.name).values
    if source.index >= len(images):
        wanted = f"image {source.index} (from 0) of the shape that the manifest pins"
        raise DataError(f"{source.file.path}: has {len(images)} images, expected {wanted}; correct the shape")
    return np.asarray(images[source.index])

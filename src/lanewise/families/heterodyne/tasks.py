"""The tasks of a campaign: one fit for every input at every point of the sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne import data, sweep
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.sweep import Point
from lanewise.manifest import identity
from lanewise.manifest.document import Document, Path
from lanewise.manifest.manifest import Config, Manifest
from lanewise.manifest.plan import Realization
from lanewise.storage.inputs import Input


@dataclass(frozen=True)
class Extent:
    """The inputs of a campaign and the points of its sweep.

    Attributes:
        kind: key of the sweep in the manifest (`grid`, `zip` or `list`); empty if there is no sweep.
    """

    inputs: tuple[Input, ...]
    points: tuple[Point, ...]
    kind: str


@dataclass(frozen=True)
class Task:
    """One fit.

    Attributes:
        name: readable name, unique in the campaign; the NPZ has this name.
        swept: values that the sweep sets, by dotted config path.
        config: the base config with these values.
    """

    name: str
    input: Input
    swept: Point
    config: HeterodyneConfig
    own_identity: str

    @property
    def run_id(self) -> str:
        """Name of the directory; it depends only on the content of the file and the config."""
        return f"het_{self.own_identity[:8]}"

    @property
    def seed(self) -> int:
        """Seed of the starts of the fit."""
        return self.config.fit.seed

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of the file's content and the task's own config. The path and the other tasks do not enter."""
        return self.own_identity

    @property
    def truth(self) -> Mapping[str, float]:
        """Empty: the truth of measured data is unknown."""
        return {}

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """The task with a changed config and the same identity."""
        config = change(self.config)
        assert isinstance(config, HeterodyneConfig)
        return replace(self, config=config)


def extent_of(manifest: Manifest) -> Extent:
    """Inputs and sweep of a heterodyne manifest."""
    assert isinstance(manifest.extent, Extent)
    return manifest.extent


def of(realization: Realization) -> Task:
    """The task of a realization of the plan."""
    assert isinstance(realization.planned, Task)
    return realization.planned


def tasks(extent: Extent, base: Mapping[str, Any]) -> tuple[Task, ...]:
    """Every task: inputs in their order, and the points of the sweep for each.

    Args:
        base: the base config; it must be valid at every point.
    """
    configs = [heterodyne_config.parse(sweep.applied(base, point)) for point in extent.points]
    labels = sweep.labels(extent.points)
    return tuple(
        Task("_".join(part for part in (file, label) if part), one, point, config, _identity(one, config))
        for one, file in zip(extent.inputs, _files(extent.inputs), strict=True)
        for point, label, config in zip(extent.points, labels, configs, strict=True)
    )


def check(extent: Extent, base: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Errors of the config at a point of the sweep, and tasks that occur twice: the place, and the complaint."""
    found = [complaint for at in range(len(extent.points)) for complaint in _at_point(extent, at, base)]
    if found:
        return list(dict.fromkeys(found))
    seen: dict[str, Task] = {}
    for task in tasks(extent, base):
        first = seen.setdefault(task.own_identity, task)
        if first is not task:
            # A point that occurs twice does so for every input; report the first only.
            what = f"{task.name} would be the same fit as {first.name}: same content of the file, same config"
            return [(("inputs",) if task.input is not first.input else ("sweep",), f"{what}; remove one")]
    return []


def read(task: Task) -> TwoTimeData:
    """The task's data.

    Raises:
        DataError: the file was changed since the campaign was planned, or lacks data that the config needs.
        InputUnreachable: the file is not there, or storage cannot be reached.
    """
    return data.joined(data.read(task.input, task.config.data))


def _at_point(extent: Extent, at: int, base: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    point = extent.points[at]
    applied = sweep.applied(base, point)
    for complaint in heterodyne_config.check(Document("config", applied)):
        key = next((key for key in point if complaint.field.startswith(key)), "")
        place: Path = ("sweep", extent.kind, at) if extent.kind == "list" else ("sweep", extent.kind)
        if key and extent.kind != "list":
            place = (*place, key)
        yield place, f"{complaint.field}: {complaint.message}"


def _identity(one: Input, config: HeterodyneConfig) -> str:
    shared = {"kind": "heterodyne", "results_version": identity.RESULTS_VERSION}
    return identity.of({"settings": shared, "data_sha256": one.sha256, "config": config.content})


def _files(inputs: Sequence[Input]) -> list[str]:
    """A readable name for each input, unique among them."""
    stems = [sweep.plain(one.stem) for one in inputs]
    return [
        stem if stems.count(stem) == 1 else f"{stem}_{one.sha256[:8]}" for stem, one in zip(stems, inputs, strict=True)
    ]

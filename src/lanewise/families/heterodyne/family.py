"""The door of the heterodyne family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lanewise.errors import Complaint
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne import sweep, tasks
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.tasks import Extent, Task
from lanewise.manifest.document import Document, Path
from lanewise.storage import inputs

if TYPE_CHECKING:
    from lanewise.manifest.loading import Manifest
    from lanewise.manifest.protocols import Outputs, Solver


def check_config(config: Document) -> Sequence[Complaint]:
    """Everything that is wrong with the config."""
    return heterodyne_config.check(config)


def resolve_config(config: Document) -> Mapping[str, Any]:
    """The config as it stands: it names no files."""
    value: Mapping[str, Any] = config.value
    return value


def parse_config(value: Mapping[str, Any]) -> HeterodyneConfig:
    """A checked config as frozen types."""
    return heterodyne_config.parse(value)


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """What the schema cannot say of the sweep."""
    if "sweep" not in manifest.value:
        return []
    return [manifest.complaint(("sweep", *path), text) for path, text in sweep.check(manifest.value["sweep"])]


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest with every input found and pinned to its content."""
    return {**manifest.value, "inputs": inputs.resolve(manifest, ("inputs",))}


def parse_extent(value: Mapping[str, Any]) -> Extent:
    """Inputs and sweep of a resolved manifest."""
    swept = value.get("sweep")
    return Extent(inputs.parse(value["inputs"]), sweep.points(swept), next(iter(swept), "") if swept else "")


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """The config must be valid at every point of the sweep, and no fit may be there twice."""
    return tasks.check(manifest.extent, manifest.content["config"])


def settings(manifest: Manifest) -> Mapping[str, Any]:
    """The base config; identities hold each task's own."""
    return {"config": manifest.config.content}


def members(manifest: Manifest) -> Sequence[Task]:
    """Every task: inputs in their order, points of the sweep within."""
    return tasks.tasks(manifest.extent, manifest.content["config"])


def no_extension(manifest: Manifest) -> str:
    """A sweep is extended by hand."""
    return "kind heterodyne has no realizations to add; add files to 'inputs' or points to 'sweep', at the end"


def outputs() -> Outputs:
    """result.json and the task's arrays."""
    from lanewise.families.heterodyne import outputs as of_tasks

    return cast("Outputs", of_tasks)


def solver(manifest: Manifest) -> Solver:
    """Fits the tasks of a chunk, as many side by side as it has cores."""
    from lanewise.families.heterodyne.solver import TaskSolver

    return TaskSolver(manifest.resources.device, manifest.resources.cpus)

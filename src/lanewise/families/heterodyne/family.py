"""The heterodyne family: two-time correlations are fitted, over data sets and a sweep of settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanewise.errors import Complaint, LanewiseError
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne import sweep, tasks
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import Extent, Task
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.family import Family
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.manifest.protocols import Conclusion, Outputs, Solver
from lanewise.storage import inputs
from lanewise.storage.record import Record

if TYPE_CHECKING:
    import pandas as pd


# More rounds begin with those that were made.
LADDER = (
    Rung("four times the rounds", {"rounds": 4, "max_iterations": 4}),
    Rung("four times the starts, too", {"rounds": 4, "max_iterations": 4, "candidates": 4, "starts": 4, "polish": 2}),
)


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
    return tasks.check(tasks.extent_of(manifest), manifest.content["config"])


def settings(manifest: Manifest) -> Mapping[str, Any]:
    """The base config; identities hold each task's own."""
    return {"config": manifest.config.content}


def realizations(manifest: Manifest) -> Sequence[Task]:
    """Every task: inputs in their order, points of the sweep within."""
    return tasks.tasks(tasks.extent_of(manifest), manifest.content["config"])


def no_extension(manifest: Manifest) -> str:
    """A sweep is extended by hand."""
    return "kind heterodyne has no realizations to add; add files to 'inputs' or points to 'sweep', at the end"


def outputs() -> Outputs[TaskResult]:
    """result.json and the task's arrays."""
    from lanewise.families.heterodyne import outputs as of_tasks

    return of_tasks


def solver(manifest: Manifest) -> Solver:
    """Fits the tasks of a chunk, as many side by side as it has cores."""
    from lanewise.families.heterodyne.solver import TaskSolver

    return TaskSolver(manifest.resources.device, manifest.resources.cpus)


def collect(record: Record) -> pd.DataFrame:
    """The summary: one row per committed task."""
    from lanewise.families.heterodyne import summary

    return summary.collect(record)


def conclude(record: Record) -> Conclusion:
    """Writes the summary and the report."""
    from lanewise.families.heterodyne import aggregate

    return aggregate.conclude(record)


def figures(record: Record) -> Iterator[str | LanewiseError]:
    """Draws data, model and residuals of every fit, as SVG beside it."""
    from lanewise.families.heterodyne import fit_figures

    return fit_figures.draw(record)


FAMILY: Family[HeterodyneConfig, TaskResult, Record] = Family(
    kind="heterodyne",
    config_schema=schema.load("heterodyne-config"),
    check_config=heterodyne_config.check,
    parse_config=heterodyne_config.parse,
    check_extent=check_extent,
    resolve=resolve,
    parse_extent=parse_extent,
    check_campaign=check_campaign,
    settings=settings,
    realizations=realizations,
    outputs=outputs,
    solver=solver,
    collect=collect,
    conclude=conclude,
    no_extension=no_extension,
    ladders={"nlsq": LADDER},
    figures=figures,
)

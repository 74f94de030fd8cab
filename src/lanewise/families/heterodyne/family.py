"""The heterodyne family: fits of two-time correlations, over data sets and a sweep of settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanewise.errors import Complaint, LanewiseError
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne import data, sampling, sweep, tasks
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import Extent, Task
from lanewise.manifest import schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.family import Family
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Conclusion, Needs, Outputs, Solver
from lanewise.storage import inputs
from lanewise.storage.record import Record

if TYPE_CHECKING:
    import pandas as pd

_WORKERS = "HETERODYNE_NUM_WORKERS"
# With the first rung, the retry repeats the rounds of the first run and adds further ones.
LADDER = (
    Rung("four times the rounds", {"rounds": 4, "max_iterations": 4}),
    Rung("four times the starts, too", {"rounds": 4, "max_iterations": 4, "candidates": 4, "starts": 4, "polish": 2}),
)

SAMPLING_LADDER = (
    Rung("chains four times as long", {"num_samples": 4, "num_warmup": 4}),
    Rung(
        "chains sixteen times as long, with another random split if all shards are sampled",
        {"num_samples": 16, "num_warmup": 8},
        {"split": 1},
    ),
)


def check_extent(manifest: Document) -> Sequence[Complaint]:
    """Errors of the sweep that the schema cannot express."""
    if "sweep" not in manifest.value:
        return []
    return [manifest.complaint(("sweep", *path), text) for path, text in sweep.check(manifest.value["sweep"])]


def resolve(manifest: Document) -> Mapping[str, Any]:
    """The manifest with the path and the SHA-256 of every input, which covers the files that it takes data from."""
    return {**manifest.value, "inputs": inputs.resolve(manifest, ("inputs",), data.digest)}


def resolve_config(config: Document) -> Mapping[str, Any]:
    """The config with the path and the SHA-256 of every earlier result that it names."""
    cmc = config.value.get("cmc", {})
    pinned = {name: inputs.resolve(config, ("cmc", name)) for name in sampling.FILES if name in cmc}
    return {**config.value, "cmc": {**cmc, **pinned}} if pinned else dict(config.value)


def parse_extent(value: Mapping[str, Any]) -> Extent:
    """Inputs and sweep of a resolved manifest."""
    swept = value.get("sweep")
    return Extent(inputs.parse(value["inputs"]), sweep.points(swept), next(iter(swept), "") if swept else "")


def check_campaign(manifest: Manifest) -> Sequence[tuple[Path, str]]:
    """Errors of the config at a point of the sweep, and fits that occur twice."""
    return tasks.check(tasks.extent_of(manifest), manifest.content["config"])


def remarks(manifest: Manifest) -> Sequence[str]:
    """A warning about a variable of the published page that has no effect here."""
    if not (n_workers := os.environ.get(_WORKERS)):
        return ()
    return (
        f"{_WORKERS}={n_workers} has no effect: --workers N runs N processes, and resources.cpus (here "
        f"{manifest.resources.cpus}) is the number of fits at the same time in one process",
    )


def settings(manifest: Manifest) -> Mapping[str, Any]:
    """The base config; each identity contains the config of its own task."""
    return {"config": manifest.config.content}


def realizations(manifest: Manifest) -> Sequence[Task]:
    """Every task: inputs in their order, and the points of the sweep for each."""
    return tasks.tasks(tasks.extent_of(manifest), manifest.content["config"])


def no_extension(manifest: Manifest) -> str:
    """The remedy in place of `lanewise extend`: edit the manifest."""
    return "kind heterodyne has no realizations to add; add files to 'inputs' or points to 'sweep', at the end"


def outputs() -> Outputs[TaskResult]:
    """The files of a task: result.json and the NPZ."""
    from lanewise.families.heterodyne import outputs as of_tasks

    return of_tasks


def solver(manifest: Manifest) -> Solver:
    """The solver that fits the tasks of a chunk."""
    from lanewise.families.heterodyne.solver import TaskSolver

    return TaskSolver(manifest.resources.device, manifest.resources.cpus)


def needs(manifest: Manifest, chunk: Chunk) -> Needs | None:
    """Memory and time of the fits of a chunk."""
    from lanewise.families.heterodyne import needs as of_fits

    return of_fits.of_chunk(manifest, chunk)


def collect(record: Record) -> pd.DataFrame:
    """The summary, one row per committed task."""
    from lanewise.families.heterodyne import summary

    return summary.collect(record)


def conclude(record: Record) -> Conclusion:
    """Write the summary and the report."""
    from lanewise.families.heterodyne import aggregate

    return aggregate.conclude(record)


def figures(record: Record) -> Iterator[str | LanewiseError]:
    """Draw data, model and residuals of every fit as SVG in its directory."""
    from lanewise.families.heterodyne import fit_figures

    return fit_figures.draw(record)


FAMILY: Family[HeterodyneConfig, TaskResult, Record] = Family(
    kind="heterodyne",
    config_schema=schema.load("heterodyne-config"),
    check_config=heterodyne_config.check,
    resolve_config=resolve_config,
    parse_config=heterodyne_config.parse,
    check_extent=check_extent,
    resolve=resolve,
    parse_extent=parse_extent,
    check_campaign=check_campaign,
    settings=settings,
    realizations=realizations,
    remarks=remarks,
    outputs=outputs,
    solver=solver,
    needs=needs,
    collect=collect,
    conclude=conclude,
    no_extension=no_extension,
    ladders={"nlsq": LADDER, "cmc": SAMPLING_LADDER, "both": SAMPLING_LADDER},
    figures=figures,
)

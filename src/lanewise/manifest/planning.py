"""The plan of a manifest, and the choice of a chunk. The plan depends on the manifest alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from lanewise.errors import ManifestError, UsageError
from lanewise.manifest import identity, registry
from lanewise.manifest.manifest import Manifest, Realizations
from lanewise.manifest.plan import Computed, Plan, Planned

# Variables that clusters set for the pods or tasks of an array; the first that is set is used.
INDEX_VARIABLES = ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "AWS_BATCH_JOB_ARRAY_INDEX", "CLOUD_RUN_TASK_INDEX")
# Where they tell how many tasks the array has.
_ARRAY_SIZES = {
    "SLURM_ARRAY_TASK_ID": "SLURM_ARRAY_TASK_COUNT",
    "AWS_BATCH_JOB_ARRAY_INDEX": "AWS_BATCH_JOB_ARRAY_SIZE",
    "CLOUD_RUN_TASK_INDEX": "CLOUD_RUN_TASK_COUNT",
}
# In place of a variable: ignore the environment.
NONE = "none"


def settings(manifest: Manifest) -> dict[str, Any]:
    """Settings that all realizations share, JSON-ready; commits hold them, to name a difference later."""
    own = registry.family(manifest.kind).settings(manifest)
    return {"kind": manifest.kind, **own, "results_version": identity.RESULTS_VERSION}


def build(manifest: Manifest) -> Plan:
    """The plan of a manifest. It lists no realization that its family can compute.

    Raises:
        ManifestError: two listed realizations would share a run id, batch.index is not a chunk, or batch.kept does not
            fit to the realizations.
    """
    batch = manifest.batch
    kept = batch.kept
    plan = Plan(tuple(_stretches(manifest)), batch.size, batch.width, settings(manifest), kept.ranges, kept.below)
    if fault := plan.fault():
        raise ManifestError([manifest.document.complaint(("batch", "kept"), fault)])
    n_chunks = len(plan.chunks)
    # Of a `Computed`, the family guarantees it.
    listed = Counter(one.run_id for part in plan.stretches if not isinstance(part, Computed) for one in part)
    for run_id, n in listed.items():
        if n > 1:
            message = f"{n} realizations would share the directory {run_id}; put them into several campaigns"
            raise ManifestError([manifest.document.complaint((), message)])
    if batch.index is not None and batch.index not in plan.indices:
        void = ", which has no realizations since the chunk size changed" if batch.index < n_chunks else ""
        message = f"expected a chunk from 0 to {n_chunks - 1}, got {batch.index}{void}; change it or remove it"
        raise ManifestError([manifest.document.complaint(("batch", "index"), message)])
    return plan


def _stretches(manifest: Manifest) -> Iterator[Sequence[Planned]]:
    """The realizations of the first request, then of each extension; seeds continue after the last one."""
    family = registry.family(manifest.kind)
    asked = manifest.realizations
    planned = family.realizations(manifest)
    yield planned
    for count in asked.extensions:
        last = planned[-1].seed if isinstance(planned, Computed) else max(one.seed for one in planned)
        planned = family.realizations(replace(manifest, realizations=Realizations(count, last + 1)))
        yield planned


def index_variable(named: str | None = None) -> str | None:
    """Name of the environment's variable that selects chunks; None outside a cluster.

    Args:
        named: by the user, with --index-from; `NONE`: none of them.
    """
    if named is not None:
        return None if named == NONE else named
    return next((name for name in INDEX_VARIABLES if os.environ.get(name)), None)


def choose(
    option: int | None, named: str | None, of: int | None, manifest: Manifest, n_chunks: int
) -> tuple[range | None, str]:
    """The chunks to run: command line, then environment, then manifest.

    Args:
        option: index from the command line.
        named: variable that holds the index, or `NONE`.
        of: number of tasks; the one with index i computes chunk i, i + of, …; None: chunk i only.

    Returns:
        The chunks (None: all), and where the index came from (empty: nowhere).

    Raises:
        UsageError: the index is not a number or not in the plan, or the array that it belongs to is not one of chunks.
    """
    variable = index_variable(named)
    if option is not None:
        where, value = "--batch-index", str(option)
    elif variable is not None:
        where, value = variable, os.environ.get(variable, "")
    elif of is None and manifest.batch.index is not None:
        where, value = "batch.index", str(manifest.batch.index)
    elif of is not None:
        raise UsageError(f"--of {of}: expected an index with it; add --index-from VARIABLE or --batch-index I")
    else:
        return None, ""
    most = n_chunks if of is None else of
    if not value.isdecimal() or int(value) >= most:
        what = "a chunk index" if of is None else "the index of a task"
        raise UsageError(f"{where}: expected {what} from 0 to {most - 1}, got {value or 'nothing'}")
    if where in _ARRAY_SIZES and named is None and of is None:
        _check_array(where, n_chunks)
    index = int(value)
    return range(index, n_chunks, of or n_chunks), where


def _check_array(variable: str, n_chunks: int) -> None:
    """Refuse the index of an array that has another size than the plan: it may be one of the user's own."""
    size = os.environ.get(_ARRAY_SIZES[variable])
    if size is not None and size != str(n_chunks):
        raise UsageError(
            f"{variable}: this is a task of an array of {size}, and the plan has {n_chunks} chunks; say which chunks "
            f"this task computes: --index-from {variable} (one, by its index), the same with --of {size} (every "
            f"{size}th), or --index-from {NONE} (all)"
        )

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


def settings(manifest: Manifest) -> dict[str, Any]:
    """Settings that all realizations share, JSON-ready; commits hold them, to name a difference later."""
    own = registry.family(manifest.kind).settings(manifest)
    return {"kind": manifest.kind, **own, "results_version": identity.RESULTS_VERSION}


def build(manifest: Manifest) -> Plan:
    """The plan of a manifest. It lists no realization that its family can compute.

    Raises:
        ManifestError: two listed realizations would share a run id, or batch.index is not a chunk.
    """
    plan = Plan(tuple(_stretches(manifest)), manifest.batch.size, manifest.batch.width, settings(manifest))
    n_chunks = len(plan.chunks)
    # Of a `Computed`, the family guarantees it.
    listed = Counter(one.run_id for part in plan.stretches if not isinstance(part, Computed) for one in part)
    for run_id, n in listed.items():
        if n > 1:
            message = f"{n} realizations would share the directory {run_id}; put them into several campaigns"
            raise ManifestError([manifest.document.complaint((), message)])
    if manifest.batch.index is not None and manifest.batch.index >= n_chunks:
        message = f"expected a chunk from 0 to {n_chunks - 1}, got {manifest.batch.index}; lower it or remove it"
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


def index_variable() -> str | None:
    """Name of the variable with which a cluster selects the chunk; None outside a cluster."""
    return next((name for name in INDEX_VARIABLES if os.environ.get(name)), None)


def choose_index(option: int | None, manifest: Manifest, n_chunks: int) -> int | None:
    """The chunk to run: command line, then environment, then manifest; None: all chunks.

    Raises:
        UsageError: the index is not a number or not in the plan.
    """
    variable = index_variable()
    if option is not None:
        where, value = "--batch-index", str(option)
    elif variable is not None:
        where, value = variable, os.environ[variable]
    elif manifest.batch.index is not None:
        where, value = "batch.index", str(manifest.batch.index)
    else:
        return None
    if not value.isdecimal() or int(value) >= n_chunks:
        raise UsageError(f"{where}: expected a chunk index from 0 to {n_chunks - 1}, got {value}")
    return int(value)

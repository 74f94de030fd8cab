"""What a report says of its campaign besides the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lanewise.machine import provenance
from lanewise.manifest import yaml_text
from lanewise.report.page import Context, MissingChunk, RetriedRow
from lanewise.storage import failures
from lanewise.storage.record import Record


def context(record: Record, files: Mapping[str, Any]) -> Context:
    """The same wherever the report is written: no path and no URL of this run enters.

    Args:
        files: top-level keys of the manifest that name files, without where those lie.
    """
    manifest = record.manifest
    content = {**manifest.content, "output": {**manifest.content["output"], "url": "…"}, **files}
    return Context(
        campaign=manifest.name,
        manifest=yaml_text.dump(content),
        reproduce="lanewise run manifest.yaml && lanewise aggregate manifest.yaml",
        lanewise_version=provenance.versions()["lanewise"],
        versions=provenance.versions(),
    )


def missing_chunks(record: Record, summary: pd.DataFrame, names: tuple[str, ...]) -> tuple[MissingChunk, ...]:
    """Chunks of the plan that the summary does not hold whole, with their truths and why they are absent.

    Args:
        names: of the parameters that tell one truth from another.
    """
    there = set(summary["run_id"])
    absent = {
        chunk.index: [r.planned.truth for r in chunk.realizations if r.run_id not in there]
        for chunk in record.plan.chunks
    }
    # No node and no time: the report of one state of a campaign has the same bytes wherever it is written.
    causes = {one.chunk: one.cause for one in failures.survey(record.store)} if any(absent.values()) else {}
    return tuple(
        MissingChunk(
            index,
            len(truths),
            tuple(sorted({tuple(truth[name] for name in names) for truth in truths if set(names) <= set(truth)})),
            causes.get(index, ""),
        )
        for index, truths in absent.items()
        if truths
    )


def retried(summary: pd.DataFrame) -> tuple[RetriedRow, ...]:
    """Realizations that were tried again."""
    found = summary[summary["retries"].fillna(0) > 0]
    columns = (found[name] for name in ("run_id", "retries", "status", "method_used"))
    return tuple(
        RetriedRow(str(run_id), int(n), str(status), str(method))
        for run_id, n, status, method in zip(*columns, strict=True)
    )

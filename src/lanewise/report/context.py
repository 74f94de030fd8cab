"""Information about the campaign for its report."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lanewise.machine import provenance
from lanewise.manifest import yaml_text
from lanewise.report.page import Context, MissingChunk, RetriedRow
from lanewise.storage import failures, inputs
from lanewise.storage.record import Record


def context(record: Record) -> Context:
    """The context of a report, without folders and URLs: its bytes are the same wherever it is written."""
    manifest = record.manifest
    content = inputs.without_folders(manifest.content)
    content = {**content, "output": {**content["output"], "url": f"results/{manifest.name}"}}
    return Context(
        campaign=manifest.name,
        manifest=yaml_text.dump(content),
        versions=provenance.versions(),
    )


def missing_chunks(record: Record, summary: pd.DataFrame, names: tuple[str, ...]) -> tuple[MissingChunk, ...]:
    """Chunks with realizations that are not in the summary, with their truths and the cause.

    Args:
        names: names of the true parameters to show.
    """
    absent: dict[int, list[Mapping[str, float]]] = {}
    for index, realization in record.missing(set(summary["run_id"])):
        absent.setdefault(index, []).append(realization.planned.truth)
    # Without node and time: the report must have the same bytes wherever it is written.
    causes = {one.chunk: one.cause for one in failures.survey(record.store)} if absent else {}
    return tuple(
        MissingChunk(
            index,
            len(truths),
            tuple(sorted({tuple(truth[name] for name in names) for truth in truths if set(names) <= set(truth)})),
            causes.get(index, ""),
        )
        for index, truths in absent.items()
    )


def retried(summary: pd.DataFrame) -> tuple[RetriedRow, ...]:
    """The retried realizations."""
    found = summary[summary["retries"].fillna(0) > 0]
    columns = (found[name] for name in ("run_id", "retries", "status", "method_used"))
    return tuple(
        RetriedRow(str(run_id), int(n), status=str(status), method=str(method))
        for run_id, n, status, method in zip(*columns, strict=True)
    )

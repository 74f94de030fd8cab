"""The summary and the report of a model campaign."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from lanewise.errors import NOT_CONVERGED
from lanewise.families.model import figures, report
from lanewise.families.model import outputs as of_data_sets
from lanewise.families.model.datasets import identifier_of
from lanewise.families.model.report import Survey
from lanewise.manifest.protocols import Conclusion, DamagedChunk
from lanewise.report import context as contexts
from lanewise.report.page import REPORT
from lanewise.report.tables import SUMMARY, frame_csv
from lanewise.storage.record import Record

# Reasons that the command line prints.
_REASONS = 5
# Columns that stand first, in this order; those of the model's sites follow.
_FIRST = ("id", "run_id", "status", "method_used", "khat", "divergences", "retries", "reason")


def collect(record: Record) -> pd.DataFrame:
    """The summary of all committed chunks, independent of the order they were committed in.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    rows, damaged = record.rows()
    for error in damaged.values():
        raise error
    return _table(rows)


def conclude(record: Record) -> Conclusion:
    """Write summary.csv, summary.parquet and report.html of the committed chunks; a damaged chunk counts as missing."""
    rows, damaged = record.rows()
    summary = _table(rows)
    record.store.put(SUMMARY, frame_csv(summary))
    record.store.put(of_data_sets.SUMMARY_PARQUET, of_data_sets.parquet(summary))
    found = survey(record, summary, record.damaged_chunks(damaged))
    page = report.render(found, summary, figures.of_sites(found, summary), contexts.context(record))
    record.store.put(REPORT, page.encode())
    lines = [found.headline]
    lines += [f"  {name}: {status.replace('_', ' ')}: {reason}" for name, status, reason in found.not_ok[:_REASONS]]
    if len(found.not_ok) > _REASONS:
        lines.append(f"  … and {len(found.not_ok) - _REASONS} more in {SUMMARY}")
    missing = frozenset(one.run_id for _, one in record.missing(set(summary["run_id"])))
    return Conclusion(found, tuple(lines), 0 if found.complete else NOT_CONVERGED, missing, found.damaged)


def survey(record: Record, summary: pd.DataFrame, damaged: tuple[DamagedChunk, ...] = ()) -> Survey:
    """The outcome of the campaign so far.

    Args:
        summary: the table of the committed data sets.
    """
    bad = summary[summary["status"] != "ok"]
    missing = record.missing(set(summary["run_id"]))
    return Survey(
        n_planned=len(record.plan.realizations),
        statuses=dict(sorted(Counter(summary["status"]).items())),
        methods=dict(sorted(Counter(summary["method_used"]).items())),
        elements=report.elements(summary),
        not_ok=tuple(zip(bad["id"], bad["status"], bad["reason"], strict=True)),
        missing=tuple(identifier_of(one.run_id) for _, one in missing),
        damaged=damaged,
    )


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if frame.empty:
        return pd.DataFrame(columns=list(_FIRST))
    # Undefined everywhere, e.g. divergences of importance: an empty column of numbers.
    empty = [name for name in frame.columns if frame[name].isna().all()]
    frame[empty] = frame[empty].astype(float)
    return frame[[*_FIRST, *(name for name in frame.columns if name not in _FIRST)]]

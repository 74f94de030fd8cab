"""The summary and the report of a model campaign."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from lanewise.engine.results import Result
from lanewise.errors import NOT_CONVERGED
from lanewise.families.calibration import report as calibrations
from lanewise.families.model import calibration, datasets, figures, predictive, report
from lanewise.families.model import outputs as of_data_sets
from lanewise.families.model.datasets import identifier_of
from lanewise.families.model.report import Survey
from lanewise.manifest.protocols import Conclusion, DamagedChunk
from lanewise.manifest.status import causes
from lanewise.report import context as contexts
from lanewise.report.canvas import save
from lanewise.report.page import REPORT
from lanewise.report.tables import SUMMARY, frame_csv
from lanewise.statistics import verdict as verdicts
from lanewise.storage import commits
from lanewise.storage.record import Record

CALIBRATION = "calibration.csv"
# Columns that stand first, in this order; those of the model's sites follow.
_FIRST = ("id", "run_id", "status", "method_used", "khat", "divergences", "retries", "reason", *predictive.COLUMNS)


def collect(record: Record) -> pd.DataFrame:
    """The summary of all committed data sets, independent of the order they were committed in.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    return _table([row for row in record.intact_rows() if not datasets.is_simulated(row["run_id"])])


def conclude(record: Record) -> Conclusion:
    """Write summary, calibration and report of the committed chunks; a damaged chunk counts as missing."""
    rows, damaged = record.rows()
    summary = _table([row for row in rows if not datasets.is_simulated(row["run_id"])])
    record.store.put(SUMMARY, frame_csv(summary))
    inputs = datasets.extent_of(record.manifest).inputs
    record.store.put(of_data_sets.SUMMARY_PARQUET, of_data_sets.parquet(summary, datasets.units(inputs)))
    found = survey(record, summary, record.damaged_chunks(damaged))
    labels = datasets.labels(inputs)
    worst = _results(record, figures.worst(summary))
    plots = figures.of_sites(found, summary) | figures.of_predictions(worst)
    save(record.store, {name: picture for name, (_, picture) in plots.items()})
    calibrated = None
    if datasets.extent_of(record.manifest).count:
        simulated = _table([row for row in rows if datasets.is_simulated(row["run_id"])])
        record.store.put(CALIBRATION, frame_csv(simulated))
        calibrated, more = calibration.concluded(record, simulated, damaged)
        plots |= {name: (calibrations.CAPTIONS[name], picture) for name, picture in more.items()}
    columns, criteria = tuple(labels.values()), record.manifest.convergence
    page = report.render(found, summary, plots, contexts.context(record), columns, criteria, calibrated)
    record.store.put(REPORT, page.encode())
    lines = [found.headline]
    lines += [f"  {one}" for one in causes(found.not_ok)]
    code = 0 if found.complete else NOT_CONVERGED
    if calibrated is not None:
        lines += verdicts.lines(calibrated.verdict)
        code = code or verdicts.EXIT_CODES[calibrated.verdict.verdict]
    missing = frozenset(one.run_id for _, one in record.missing({row["run_id"] for row in rows}))
    return Conclusion(found, tuple(lines), code, missing, found.damaged)


def _results(record: Record, run_ids: list[str]) -> list[Result]:
    """The committed results of these run ids, in this order."""
    if not run_ids:
        return []  # most campaigns: no look through all chunks
    holding = [chunk.index for chunk in record.plan.chunks if not set(run_ids).isdisjoint(chunk.run_ids)]
    found = {
        one.run_id: one
        for commit in record.survey(holding)[0].values()
        for one in commits.load_results(record.store, commit)
        if isinstance(one, Result) and one.run_id in run_ids
    }
    return [found[run_id] for run_id in run_ids]


def survey(record: Record, summary: pd.DataFrame, damaged: tuple[DamagedChunk, ...] = ()) -> Survey:
    """The outcome of the campaign so far.

    Args:
        summary: the table of the committed data sets.
    """
    bad, there = summary[summary["status"] != "ok"], set(summary["run_id"])
    missing = [
        identifier_of(one.run_id)
        for one in record.plan.realizations
        if one.run_id not in there and not datasets.is_simulated(one.run_id)
    ]
    return Survey(
        n_planned=len(summary) + len(missing),
        statuses=dict(sorted(Counter(summary["status"]).items())),
        methods=dict(sorted(Counter(summary["method_used"]).items())),
        elements=report.elements(summary),
        not_ok=tuple(zip(bad["id"], bad["status"], bad["reason"], strict=True)),
        missing=tuple(missing),
        damaged=damaged,
    )


def _table(rows: list[dict[str, object]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    if frame.empty:
        return pd.DataFrame(columns=[name for name in _FIRST if name not in predictive.COLUMNS])
    # Undefined everywhere, e.g. divergences of importance: an empty column of numbers.
    empty = [name for name in frame.columns if frame[name].isna().all()]
    frame[empty] = frame[empty].astype(float)
    first = [name for name in _FIRST if name in frame]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]

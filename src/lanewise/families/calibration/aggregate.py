"""What a calibration campaign comes to: summary, ranks, coverage with the verdict, and the report."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lanewise.families.calibration import figures, ranks, report
from lanewise.families.calibration.results import CalibrationResults, Missing, evaluate
from lanewise.families.shear.aggregate import STATS, conclusion, context, write_stats
from lanewise.families.shear.statistics import summary as table
from lanewise.families.shear.statistics.selection import passed
from lanewise.manifest.protocols import Conclusion
from lanewise.report.canvas import Picture
from lanewise.report.page import REPORT
from lanewise.report.tables import SUMMARY, frame_csv
from lanewise.storage.record import Record

CALIBRATION_RESULTS = "calibration_results"
RANKS = "ranks.csv"


def aggregate(record: Record) -> CalibrationResults:
    """Summary, ranks, numbers and report of what is committed; a chunk that is damaged counts as missing."""
    summary, damaged = table.survey(record)
    record.store.put(SUMMARY, frame_csv(summary))
    counted = summary["run_id"][passed(summary)]
    found, unreadable = ranks.of_campaign(record, [str(name) for name in counted])
    damaged |= unreadable
    lost = {name for index in unreadable for name in record.plan.chunks[index].run_ids}
    summary = summary[~summary["run_id"].isin(lost)]
    results = evaluate(
        summary,
        found,
        acceptance=record.manifest.acceptance,
        missing=_missing(record, summary),
        damaged=record.damaged_chunks(damaged),
        asked=record.manifest.realizations,
    )
    plots = write(record, results, found)
    record.store.put(REPORT, report.render(results, summary, plots, context(record, summary)).encode())
    return results


def write(record: Record, results: CalibrationResults, found: ranks.Ranks) -> Mapping[str, Picture]:
    """Write ranks, numbers and plots; returns the plots, name → SVG."""
    record.store.put(f"{STATS}/{RANKS}", frame_csv(found.table))
    plots = figures.figures(results, found)
    write_stats(record.store, STATS, CALIBRATION_RESULTS, results, plots)
    return plots


def conclude(record: Record) -> Conclusion:
    """As `aggregate`, for the command line."""
    results = aggregate(record)
    absent = (one.run_id for one in results.missing)
    return conclusion(results, results.verdict, absent, results.damaged, results.excluded)


def _missing(record: Record, summary: pd.DataFrame) -> tuple[Missing, ...]:
    return tuple(Missing(r.run_id, r.planned.seed) for _, r in record.missing(set(summary["run_id"])))

"""The downstream stages of a calibration campaign: table, ranks, numbers and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanewise.families.calibration import figures, ranks, report
from lanewise.families.calibration.results import CalibrationResults, Missing, evaluate
from lanewise.families.shear.aggregate import PLOTS, REPORT, STATS, context, strict_code, text
from lanewise.families.shear.statistics import summary as extract
from lanewise.families.shear.statistics.results import to_csv, to_json
from lanewise.families.shear.statistics.selection import passed

if TYPE_CHECKING:
    import pandas as pd

    from lanewise.api import Campaign

__all__ = ["aggregate", "collect", "strict_code", "text"]

CALIBRATION_RESULTS = "calibration_results.json"
NUMBERS = "calibration_results.csv"
RANKS = "ranks.csv"
collect = extract.collect


def aggregate(campaign: Campaign) -> CalibrationResults:
    """Summary, ranks, numbers and report of what is committed; a chunk that is damaged counts as missing."""
    summary, damaged = extract.survey(campaign)
    campaign.store.put(extract.SUMMARY, extract.to_csv(summary))
    counted = summary["run_id"][passed(summary)]
    found, unreadable = ranks.of_campaign(campaign, [str(name) for name in counted])
    damaged |= unreadable
    lost = {name for index in unreadable for name in campaign.plan.chunks[index].run_ids}
    summary = summary[~summary["run_id"].isin(lost)]
    results = evaluate(
        summary,
        found,
        acceptance=campaign.manifest.acceptance,
        missing=_missing(campaign, summary),
        damaged=extract.told(campaign, damaged),
    )
    campaign.store.put(f"{STATS}/{RANKS}", extract.to_csv(found.table))
    campaign.store.put(f"{STATS}/{CALIBRATION_RESULTS}", to_json(results).encode())
    campaign.store.put(f"{STATS}/{NUMBERS}", to_csv(results))
    plots = figures.figures(results, found)
    for name, svg in plots.items():
        campaign.store.put(f"{STATS}/{PLOTS}/{name}.svg", svg)
    campaign.store.put(REPORT, report.render(results, summary, plots, context(campaign, summary)).encode())
    return results


def _missing(campaign: Campaign, summary: pd.DataFrame) -> tuple[Missing, ...]:
    there = set(summary["run_id"])
    return tuple(Missing(r.run_id, r.member.seed) for r in campaign.plan.realizations if r.run_id not in there)

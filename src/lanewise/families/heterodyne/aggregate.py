"""The downstream stages of a heterodyne campaign: the table, and the report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd

from lanewise import __version__, errors
from lanewise.families.heterodyne import figures, report
from lanewise.families.heterodyne import summary as table
from lanewise.families.heterodyne.c2 import HEADLINE
from lanewise.families.heterodyne.report import Missing, Survey
from lanewise.families.shear.aggregate import REPORT
from lanewise.families.shear.report.page import Context
from lanewise.families.shear.statistics import summary as extract
from lanewise.families.shear.statistics.summary import DamagedChunk
from lanewise.machine import provenance
from lanewise.manifest import document
from lanewise.storage import commits
from lanewise.storage.inputs import Input

if TYPE_CHECKING:
    from lanewise.api import Campaign

collect = table.collect
# Fits whose residual maps the report shows, and reasons that the command line prints.
_WORST = 3
_REASONS = 5


def survey(campaign: Campaign, summary: pd.DataFrame, damaged: tuple[DamagedChunk, ...] = ()) -> Survey:
    """What the campaign came to so far."""
    there = set(summary["run_id"])
    bad = summary[summary["status"] != "ok"]
    return Survey(
        n_planned=len(campaign.plan.realizations),
        statuses=dict(sorted(Counter(summary["status"]).items())),
        keys=table.swept(campaign),
        groups=table.seed_groups(summary, table.swept(campaign), HEADLINE),
        not_ok=tuple(zip(bad.get("task", ()), bad["status"], bad["reason"], strict=True)),
        missing=tuple(Missing(r.run_id, r.member.name) for r in campaign.plan.realizations if r.run_id not in there),
        damaged=damaged,
    )


def aggregate(campaign: Campaign) -> Survey:
    """Write summary.csv and report.html of what is committed; a chunk that is damaged counts as missing."""
    rows, damaged = extract.committed_rows(campaign)
    summary = table.table(campaign, rows)
    campaign.store.put(extract.SUMMARY, extract.to_csv(summary))
    found = survey(campaign, summary, extract.told(campaign, damaged))
    campaign.store.put(REPORT, report.render(found, summary, _plots(campaign, summary), _context(campaign)).encode())
    return found


def text(results: Survey, manifest: str) -> str:
    """The outcome, and the first reasons where a task is not ok."""
    lines = [results.headline]
    lines += [f"  {name}: {status.replace('_', ' ')}: {reason}" for name, status, reason in results.not_ok[:_REASONS]]
    if len(results.not_ok) > _REASONS:
        lines.append(f"  … and {len(results.not_ok) - _REASONS} more in {extract.SUMMARY}")
    return "\n".join(lines)


def strict_code(results: Survey) -> int:
    """0 if every task of the plan converged."""
    return 0 if results.complete else errors.NOT_CONVERGED


def _plots(campaign: Campaign, summary: pd.DataFrame) -> list[tuple[str, str, bytes]]:
    """Name, caption and SVG of what there are numbers for."""
    fitted = summary[summary["J_ref"].notna()] if "J_ref" in summary else summary.iloc[:0]
    if fitted.empty:
        return []
    found = []
    keys = [key for key in table.swept(campaign) if fitted[key].astype(str).nunique() > 1]
    if fitted["input_filename"].nunique() > 1:
        keys.append("input_filename")
    for key in keys:
        what = "the files" if key == "input_filename" else key
        caption = f"What the data determine, over {what}. Hollow: not converged, or no error is known."
        found.append((f"over-{key.replace('.', '-')}", caption, figures.over(fitted, key)))
    for result in _worst(campaign, fitted):
        caption = (
            f"{result.task}: residuals, averaged over blocks of frames, in units of their error; "
            f"their rms is {result.content['nlsq']['residual_rms']:.2f}, that of noise alone is 1."
        )
        svg = figures.residuals(result.task, result.arrays["residual_map"], list(result.arrays["phi"]))
        found.append((f"residuals-{result.run_id}", caption, svg))
    return found


def _worst(campaign: Campaign, fitted: pd.DataFrame) -> list[Any]:
    """The results with the largest structured residuals, worst first."""
    ranked = fitted.sort_values("residual_rms", ascending=False, kind="stable")
    wanted = [str(run_id) for run_id in ranked["run_id"][:_WORST]]
    found: dict[str, Any] = {}
    for index, commit in campaign.survey()[0].items():
        if not set(wanted).isdisjoint(campaign.plan.chunks[index].run_ids):
            found |= {result.run_id: result for result in commits.load_results(campaign.store, commit)}
    return [found[run_id] for run_id in wanted]


def _context(campaign: Campaign) -> Context:
    manifest = campaign.manifest
    # The report of one campaign has the same bytes wherever it is written and wherever its data lie.
    content = {**manifest.content, "output": {**manifest.content["output"], "url": "…"}}
    content["inputs"] = [_told(one) for one in manifest.extent.inputs]
    return Context(
        campaign=manifest.name,
        manifest=document.dump(content),
        reproduce="lanewise run manifest.yaml && lanewise aggregate manifest.yaml",
        lanewise_version=__version__,
        versions=provenance.versions(),
    )


def _told(one: Input) -> dict[str, str]:
    return {"path": one.filename, "sha256": one.sha256}

"""The downstream stages: extract, stats and the report, each leaving files that can be looked at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from lanewise import __version__
from lanewise.errors import Damaged
from lanewise.families.shear import observations
from lanewise.families.shear.model import psf_image
from lanewise.families.shear.report import gallery, page
from lanewise.families.shear.report.figures import figures
from lanewise.families.shear.scene import Psf
from lanewise.families.shear.statistics import forecast
from lanewise.families.shear.statistics import summary as extract
from lanewise.families.shear.statistics.results import BiasResults, evaluate, to_csv, to_json
from lanewise.families.shear.statistics.selection import ShearTruth
from lanewise.machine import provenance
from lanewise.manifest import document
from lanewise.manifest.loading import Acceptance
from lanewise.statistics.verdict import EXIT_CODES, Decision
from lanewise.storage import failures
from lanewise.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from lanewise.api import Campaign
    from lanewise.families.aggregation import Aggregated

BIAS_RESULTS = "bias_results.json"
NUMBERS = "bias_results.csv"
PLOTS = "plots"
STATS = "stats"
REPORT = "report.html"
_POLL_S = 5.0
collect = extract.collect


class Judged(Protocol):
    """Results with a verdict."""

    @property
    def verdict(self) -> Decision:
        """On the campaign."""
        ...


def write_summary(campaign: Campaign) -> pd.DataFrame:
    """Collect the committed chunks and write summary.csv."""
    summary = extract.collect(campaign)
    campaign.store.put(extract.SUMMARY, extract.to_csv(summary))
    return summary


def write_stats(store: Store, folder: str, summary: pd.DataFrame, results: BiasResults) -> dict[str, bytes]:
    """Write the results as JSON and CSV, and the plots, below `folder` ("" is the root); returns the plots by name."""
    base = f"{folder}/" if folder else ""
    store.put(f"{base}{BIAS_RESULTS}", to_json(results).encode())
    store.put(f"{base}{NUMBERS}", to_csv(results))
    plots = figures(results, summary)
    for name, svg in plots.items():
        store.put(f"{base}{PLOTS}/{name}.svg", svg)
    return plots


def judge(campaign: Campaign, summary: pd.DataFrame, damaged: Mapping[int, Damaged] | None = None) -> BiasResults:
    """Bias and verdict of a campaign; realizations of the plan that are not in the summary are missing.

    Args:
        damaged: committed chunks that cannot be read, by index.
    """
    return evaluate(
        summary,
        priors=extract.priors(campaign),
        acceptance=campaign.manifest.acceptance,
        missing=missing(campaign, summary),
        damaged=extract.told(campaign, damaged or {}),
        unlike=extract.unlike(campaign),
        psf_shape=_psf_shape(campaign),
        n_per_count=forecast.n_per_count(campaign),
    )


def _psf_shape(campaign: Campaign) -> tuple[float, float]:
    """Ellipticity of the point-spread function [reduced shear]; zero of an image, whose shape is not known."""
    psf = campaign.manifest.config.psf
    if not isinstance(psf, Psf):
        return 0.0, 0.0
    # From a distortion to the g-convention, g = e / (1 + √(1 − e²)).
    scale = 1 + math.sqrt(1 - psf.e1**2 - psf.e2**2)
    return psf.e1 / scale, psf.e2 / scale


def judge_table(summary: pd.DataFrame, acceptance: Acceptance) -> BiasResults:
    """Bias and verdict of a bare table: the priors and the plan behind it are unknown."""
    return evaluate(summary, priors=(None, None), acceptance=acceptance)


def aggregate(campaign: Campaign) -> BiasResults:
    """Summary, statistics and report of what is committed; always ends in a report.

    A chunk that is damaged counts as missing, and the results say so.
    """
    summary, damaged = extract.survey(campaign)
    campaign.store.put(extract.SUMMARY, extract.to_csv(summary))
    results, looked_at = gallery.look(campaign, summary, judge(campaign, summary, damaged))
    plots = {**write_stats(campaign.store, STATS, summary, results), **looked_at}
    for name, svg in looked_at.items():
        campaign.store.put(f"{STATS}/{PLOTS}/{name}.svg", svg)
    campaign.store.put(REPORT, page.render(results, summary, plots, context(campaign, summary)).encode())
    return results


def context(campaign: Campaign, summary: pd.DataFrame) -> page.Context:
    """What a report says of its campaign: the same wherever it is written, so no path and no URL of this run."""
    manifest = campaign.manifest
    content = {**manifest.content, "output": {**manifest.content["output"], "url": "…"}}
    if observations.KEY in content:
        content[observations.KEY] = observations.without_folders(content[observations.KEY])
    content["config"] = psf_image.without_folders(content["config"])
    return page.Context(
        campaign=manifest.name,
        manifest=document.dump(content),
        reproduce="lanewise run manifest.yaml && lanewise aggregate manifest.yaml",
        lanewise_version=__version__,
        versions=provenance.versions(),
        missing_chunks=_missing_chunks(campaign, summary),
        retried=_retried(summary),
    )


def _missing_chunks(campaign: Campaign, summary: pd.DataFrame) -> tuple[page.MissingChunk, ...]:
    """Chunks of the plan that the summary does not hold whole, with their shears and why they are absent."""
    there = set(summary["run_id"])
    absent = {
        chunk.index: [r.member for r in chunk.realizations if r.run_id not in there] for chunk in campaign.plan.chunks
    }
    # No node and no time: the report of one state of a campaign has the same bytes wherever it is written.
    causes = {one.chunk: one.cause for one in failures.survey(campaign.store)} if any(absent.values()) else {}
    return tuple(
        page.MissingChunk(
            index,
            len(members),
            tuple(sorted({(m.truth["g1"], m.truth["g2"]) for m in members if {"g1", "g2"} <= set(m.truth)})),
            causes.get(index, ""),
        )
        for index, members in absent.items()
        if members
    )


def _retried(summary: pd.DataFrame) -> tuple[page.RetriedRow, ...]:
    found = summary[summary["retries"].fillna(0) > 0]
    columns = (found[name] for name in ("run_id", "retries", "status", "method_used"))
    return tuple(
        page.RetriedRow(str(run_id), int(n), str(status), str(method))
        for run_id, n, status, method in zip(*columns, strict=True)
    )


def wait(campaign: Campaign, deadline_s: float, tell: Callable[[int], None]) -> None:
    """Wait until every chunk is committed or the deadline has passed; `tell` hears how many are."""
    end = time.monotonic() + deadline_s
    total = len(campaign.plan.chunks)
    # Chunks seen committed are not read again, in a wait that may last a day; the aggregation itself reads them all.
    open_chunks = list(campaign.plan.chunks)
    while True:
        # A damaged commit will not mend by waiting.
        done, damaged = campaign.survey(open_chunks) if open_chunks else ({}, {})
        open_chunks = [chunk for chunk in open_chunks if chunk.index not in done and chunk.index not in damaged]
        tell(total - len(open_chunks))
        if not open_chunks or time.monotonic() >= end:
            return
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


def text(results: Judged, manifest: str) -> str:
    """The verdict, its reasons, and the command that brings what is missing to decide."""
    decision = results.verdict
    lines = [f"{decision.verdict.value}: {decision.headline}", *(f"  {reason}" for reason in decision.reasons)]
    if decision.extend_count is not None:
        lines.append(f"  next: {forecast.command(manifest, decision.extend_count)}")
    return "\n".join(lines)


def strict_code(results: Judged) -> int:
    """Exit code of the verdict."""
    return EXIT_CODES[results.verdict.verdict]


def n_complete(campaign: Campaign, results: Aggregated) -> int:
    """Chunks of which the results miss nothing."""
    absent = {truth.run_id for truth in results.missing}
    return sum(absent.isdisjoint(chunk.run_ids) for chunk in campaign.plan.chunks)


def missing(campaign: Campaign, summary: pd.DataFrame) -> tuple[ShearTruth, ...]:
    """Realizations of the plan that the summary does not hold."""
    there = set(summary["run_id"])
    members = [r.member for r in campaign.plan.realizations if r.run_id not in there]
    # An image from a file may have no known truth; it is missing all the same.
    shears = [(m.truth.get("g1", math.nan), m.truth.get("g2", math.nan)) for m in members]
    return tuple(ShearTruth(m.run_id, g1, g2, m.seed) for m, (g1, g2) in zip(members, shears, strict=True))

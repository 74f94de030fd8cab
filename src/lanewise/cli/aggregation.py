"""Commands for the summary, the statistics and the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, SetOption, load, put


def extract(
    manifest: CampaignArgument,
    output: Annotated[
        str | None, typer.Option("--output", help="CSV to write; default: summary.csv in the output URL.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Collect the committed realizations into summary.csv."""
    from lanewise.report.tables import SUMMARY, frame_csv

    campaign = load(manifest, overrides)
    summary = campaign.summary
    if output is None:
        campaign.store.put(SUMMARY, frame_csv(summary))
        output = campaign.store.where(SUMMARY)
    else:
        put(output, frame_csv(summary))
    print(f"{len(summary)} of {len(campaign.plan.realizations)} realizations in {output}")


def aggregate(
    manifest: CampaignArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all chunks are committed or the deadline has passed.")
    ] = False,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0, help="With --wait: longest time to wait [s].")
    ] = 86400.0,
    min_complete: Annotated[
        float,
        typer.Option("--min-complete", min=0, max=1, help="Exit 75 if a smaller share of the chunks is committed."),
    ] = 0.0,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit 3, 4, 5 for the verdicts FAIL, INCONCLUSIVE, INVALID; 2 if not every fit of a heterodyne "
            "campaign converged.",
        ),
    ] = False,
    figures: Annotated[
        bool,
        typer.Option("--figures", help="Draw data, model and residuals beside each heterodyne fit, as SVG and PDF."),
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Write summary, statistics and report.

    Also if chunks are missing or damaged.
    """
    from lanewise.machine import progress
    from lanewise.manifest import registry
    from lanewise.operations import aggregate as practice
    from lanewise.report.page import REPORT

    record = load(manifest, overrides).record
    family = registry.family(record.manifest.kind)
    draw = family.figures
    if figures and draw is None:
        raise errors.UsageError(f"--figures: kind {record.manifest.kind} has no figures of single realizations")
    total = len(record.plan.indices)
    if wait:
        with progress.reporter() as reporter:
            reporter.begin("chunks committed", total)
            practice.wait(record, deadline, reporter.step)
    conclusion = family.conclude(record)
    done = practice.n_complete(record, conclusion)
    print(practice.text(conclusion, manifest))
    print(f"report: {record.store.where(REPORT)}")
    if figures and draw is not None:
        _tell_drawn(list(draw(record)), record.store.where())
    for chunk in conclusion.damaged:
        print(f"chunk {chunk.chunk} is damaged and counts as missing: {chunk.reason}", file=sys.stderr)
    if conclusion.damaged:
        n = len(conclusion.damaged)
        again = f"lanewise run {manifest} --overwrite --batch-index"
        raise errors.Damaged(f"{n} of {total} chunks are damaged; `{again} …` computes one again")
    if done < min_complete * total:
        raise errors.Incomplete(f"{done} of {total} chunks are committed, fewer than --min-complete {min_complete:g}")
    if strict:
        raise typer.Exit(conclusion.strict_code)


def _tell_drawn(drawn: Sequence[str | errors.LanewiseError], where: str) -> None:
    """Print the number of figures, and why others could not be drawn; the report does not depend on them."""
    failed = [one for one in drawn if isinstance(one, errors.LanewiseError)]
    for error in failed:
        print(f"not drawn: {error}", file=sys.stderr)
    print(f"figures: {len(drawn) - len(failed)} of {len(drawn)}, beside the results below {where}")

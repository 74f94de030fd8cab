"""The downstream stages: extract, stats, and both with the report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, SetOption, load, put

if TYPE_CHECKING:
    from lanewise.api import Campaign


def extract(
    manifest: CampaignArgument,
    output: Annotated[
        str | None, typer.Option("--output", help="CSV to write; default: summary.csv in the output URL.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Collect the committed realizations into summary.csv."""
    from lanewise.families.aggregation import of_kind
    from lanewise.families.shear.statistics import summary as table

    campaign = load(manifest, overrides)
    summary = of_kind(campaign.manifest.kind).collect(campaign)
    if output is None:
        campaign.store.put(table.SUMMARY, table.to_csv(summary))
        output = campaign.store.where(table.SUMMARY)
    else:
        put(output, table.to_csv(summary))
    print(f"{len(summary)} of {len(campaign.plan.realizations)} realizations in {output}")


def stats(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest, an output URL, or a summary CSV.")],
    output_dir: Annotated[
        str | None,
        typer.Option("--output-dir", help="Where bias_results.json and plots/ go; default: stats/ in the output URL."),
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", help="Acceptance level: level_0; default: the manifest's.")
    ] = None,
    posterior_dir: Annotated[
        str | None,
        typer.Option(
            "--posterior-dir", help="With a CSV: the output URL it came from, for the priors and the plan behind it."
        ),
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Compute the multiplicative and additive bias and the verdict from the summary."""
    from dataclasses import replace

    from lanewise.families.shear import aggregate as stages
    from lanewise.families.shear.statistics import summary as table
    from lanewise.families.shear.statistics.criteria import LEVEL_0
    from lanewise.manifest.loading import Acceptance
    from lanewise.storage.store import Store, split

    if level not in {None, LEVEL_0}:
        raise errors.UsageError(f"--level {level}: expected {LEVEL_0}")
    is_csv = source.endswith(".csv")
    origin = posterior_dir if is_csv else source
    campaign = load(origin, overrides) if origin else None
    if campaign is not None and campaign.manifest.kind != "shear":
        raise errors.UsageError(f"{origin}: kind {campaign.manifest.kind} has no bias; use lanewise aggregate")
    if is_csv:
        folder, name = split(source)
        try:
            summary = table.from_csv(Store(folder).read(name), source)
        except FileNotFoundError:
            raise errors.UsageError(f"{source}: no such file; lanewise extract writes one") from None
    else:
        assert campaign is not None
        summary = table.collect(campaign)
    if campaign is not None:
        if level:
            campaign = replace(
                campaign,
                manifest=replace(campaign.manifest, acceptance=replace(campaign.manifest.acceptance, level=level)),
            )
        results = stages.judge(campaign, summary)
        store, where = (Store(output_dir), "") if output_dir else (campaign.store, stages.STATS)
    else:
        results = stages.judge_table(summary, Acceptance(level=level))
        store, where = Store(output_dir or "."), "" if output_dir else stages.STATS
    stages.write_stats(store, where, summary, results)
    print(stages.text(results, origin or source))
    print(f"numbers: {store.where(f'{where}/{stages.BIAS_RESULTS}' if where else stages.BIAS_RESULTS)}")


def aggregate(
    manifest: CampaignArgument,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all chunks are committed or the deadline has passed.")
    ] = False,
    deadline: Annotated[
        float, typer.Option("--deadline", min=0, help="With --wait: seconds to wait at the most.")
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
        typer.Option("--figures", help="Draw data, model and residuals of each heterodyne fit, as SVG beside it."),
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Extract, compute the statistics and write the report; always ends in a report."""
    from lanewise.families.aggregation import of_kind
    from lanewise.families.shear import aggregate as stages
    from lanewise.machine import progress

    campaign = load(manifest, overrides)
    if figures and campaign.manifest.kind != "heterodyne":
        raise errors.UsageError(f"--figures: kind {campaign.manifest.kind} has none of single realizations")
    total = len(campaign.plan.chunks)
    if wait:
        with progress.reporter() as reporter:
            reporter.begin("chunks committed", total)
            stages.wait(campaign, deadline, reporter.step)
    family = of_kind(campaign.manifest.kind)
    results = family.aggregate(campaign)
    done = stages.n_complete(campaign, results)
    print(family.text(results, manifest))
    print(f"report: {campaign.store.where(stages.REPORT)}")
    if figures:
        _draw(campaign)
    for chunk in results.damaged:
        print(f"chunk {chunk.chunk} is damaged and counts as missing: {chunk.reason}", file=sys.stderr)
    if results.damaged:
        again = f"lanewise run {manifest} --overwrite --batch-index"
        raise errors.Damaged(f"{len(results.damaged)} of {total} chunks are damaged; `{again} …` computes one again")
    if done < min_complete * total:
        raise errors.Incomplete(f"{done} of {total} chunks are committed, fewer than --min-complete {min_complete:g}")
    if strict:
        raise typer.Exit(family.strict_code(results))


def _draw(campaign: Campaign) -> None:
    """Draw every fit, and say which could not be drawn; the report does not depend on it."""
    from lanewise.families.heterodyne import fit_figures

    drawn = list(fit_figures.draw(campaign))
    failed = [one for one in drawn if isinstance(one, errors.LanewiseError)]
    for error in failed:
        print(f"not drawn: {error}", file=sys.stderr)
    print(f"figures: {len(drawn) - len(failed)} of {len(drawn)} fits, het_*/*.svg below {campaign.store.where()}")

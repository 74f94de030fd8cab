"""Commands that read or extend a manifest."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, JsonOption, ManifestArgument, SetOption, load


def validate(manifest: ManifestArgument, overrides: SetOption = None) -> None:
    """Check a manifest and its config; show all errors at once, each with its line and remedy."""
    campaign = load(manifest, overrides)
    for remark in campaign.remarks:
        print(f"{manifest}: {remark}")
    print(f"{manifest}: valid; {len(campaign.plan.realizations)} realizations in {len(campaign.plan.chunks)} chunks")


def plan(
    manifest: CampaignArgument,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show every setting and where it comes from."),
    ] = False,
    target_sigma_m: Annotated[
        float | None,
        typer.Option(
            "--target-sigma-m", help="Estimate from the committed results how many realizations this error of m needs."
        ),
    ] = None,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory/--no-memory",
            help="Compile the program to find the memory of a chunk and the disk space for results.",
        ),
    ] = True,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the chunks, their realizations, the progress, the memory of a chunk and the disk space for all results.

    Exits with 65 if a chunk cannot fit into the device or into resources.memory, or the results onto the local disk.
    """
    from lanewise.operations import explain as practice
    from lanewise.operations import plan_summary

    campaign = load(manifest, overrides)
    if explain:
        found = practice.settings(campaign.manifest.source, overrides or ())
        print(json.dumps([vars(one) for one in found], indent=2) if as_json else practice.text(found))
        return
    summary = plan_summary.summarise(campaign.record, needs=memory)
    needs = () if target_sigma_m is None else plan_summary.forecast(campaign.record, target_sigma_m)
    if as_json:
        told = {} if target_sigma_m is None else {"forecast": [vars(one) for one in needs]}
        print(json.dumps({**summary.content, **told}, indent=2))
        return
    print(plan_summary.text(summary))
    if needs:
        print(f"\n{plan_summary.forecast_text(needs, manifest)}")


def extend(
    manifest: CampaignArgument,
    count: Annotated[
        int,
        typer.Option(
            "--count", min=1, help="Realizations to add per shear point (pairs, where the shears are paired)."
        ),
    ],
    overrides: SetOption = None,
) -> None:
    """Add realizations with new seeds to the manifest. Computed results stay valid; `run` computes the rest.

    Adds one number to realizations.extensions, also for a campaign that is half done. New seeds and chunks follow the
    last ones; the earlier ones do not change.
    """
    from lanewise.operations import extend as practice

    if any(pair.startswith("realizations") for pair in overrides or ()):
        raise errors.UsageError("extend --set realizations…: extend writes these into the manifest; edit them there")
    campaign = load(manifest, overrides)
    before, after = campaign.plan, practice.write(campaign.record, count)
    print(
        f"{campaign.manifest.source}: {len(before.realizations)} → {len(after.realizations)} realizations, "
        f"{len(before.chunks)} → {len(after.chunks)} chunks\nnext: lanewise run {manifest}"
    )

"""Commands on the manifest: `validate`, `plan`, `extend` and `rechunk`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, JsonOption, ManifestArgument, SetOption, load


def validate(manifest: ManifestArgument, overrides: SetOption = None) -> None:
    """Print every error of manifest and config, with its remedy."""
    campaign = load(manifest, overrides)
    for remark in campaign.remarks:
        print(f"{manifest}: {remark}")
    print(f"{manifest}: valid; {len(campaign.plan.realizations)} realizations in {len(campaign.plan.indices)} chunks")


def plan(
    manifest: CampaignArgument,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show every setting and where it comes from."),
    ] = False,
    target_sigma_m: Annotated[
        float | None,
        typer.Option(
            "--target-sigma-m", help="Predict from the committed realizations how many this error of m needs."
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option("--price-per-hour", min=0, help="Price of one container; tells what the campaign costs."),
    ] = None,
    chunk: Annotated[
        int | None, typer.Option("--chunk", min=0, help="List the realizations of this chunk, with their identities.")
    ] = None,
    memory: Annotated[
        bool,
        typer.Option(
            "--memory/--no-memory", help="Compile the program, to predict the memory of a chunk and the disk space."
        ),
    ] = True,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show chunks, progress, memory, disk, time and price.

    Time and price are told once a chunk is committed.

    With --json: the rule that the realizations are computed from, and ranges of chunks. `--chunk I` lists run ids.

    Exits with 65 if a chunk does not fit into the device or into resources.memory, or the results on the local disk.
    """
    from lanewise.operations import explain as practice
    from lanewise.operations import plan_summary

    campaign = load(manifest, overrides)
    if explain:
        found = practice.settings(campaign.manifest.source, overrides or ())
        print(json.dumps([vars(one) for one in found], indent=2) if as_json else practice.text(found))
        return
    if chunk is not None:
        one = plan_summary.chunk(campaign.record, chunk)
        print(json.dumps(asdict(one), indent=2) if as_json else plan_summary.chunk_text(one))
        return
    summary = plan_summary.summarise(campaign.record, needs=memory, price_per_hour=price_per_hour)
    needs = () if target_sigma_m is None else plan_summary.forecast(campaign.record, target_sigma_m)
    if as_json:
        told = {} if target_sigma_m is None else {"forecast": [asdict(one) for one in needs]}
        print(json.dumps({**asdict(summary), **told}, indent=2))
        return
    print(plan_summary.text(summary, campaign.plan))
    if price_per_hour is not None and summary.cost is None:
        print(f"\nprice: not known before a chunk is committed; a pilot: lanewise run {manifest} --batch-index 0")
    for remark in campaign.remarks:
        print(f"\n{manifest}: {remark}")
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
    """Add realizations with new seeds; existing results stay valid.

    `run` computes the rest. Appends a number to realizations.extensions, also if the campaign is not complete. New
    seeds and chunks follow the last ones; the existing ones do not change.
    """
    from lanewise.operations import extend as practice

    if any(pair.startswith("realizations") for pair in overrides or ()):
        raise errors.UsageError(
            "extend --set realizations…: expected none, extend writes these keys; edit the manifest"
        )
    campaign = load(manifest, overrides)
    before, after = campaign.plan, practice.write(campaign.record, count)
    print(
        f"{campaign.manifest.source}: {len(before.realizations)} → {len(after.realizations)} realizations, "
        f"{len(before.indices)} → {len(after.indices)} chunks\nnext: lanewise run {manifest}"
    )


def rechunk(
    manifest: CampaignArgument,
    size: Annotated[int, typer.Option("--size", min=1, help="Realizations per chunk from now on.")],
    overrides: SetOption = None,
) -> None:
    """Change the size of open chunks; committed ones stay.

    Writes batch.size and batch.kept into the manifest. The realizations that are not committed are divided anew; their
    chunks get new indices. Stop all processes first, and render Jobs again afterwards.
    """
    from lanewise.operations import rechunk as practice

    if any(pair.startswith("batch") for pair in overrides or ()):
        raise errors.UsageError("rechunk --set batch…: expected none, rechunk writes these keys; edit the manifest")
    campaign = load(manifest, overrides)
    after = practice.write(campaign.record, size)
    kept = sum(len(one.chunks) for one in after.kept)
    open_ = f"{len(after.indices) - kept} chunks of at most {size} realizations are open"
    print(f"{campaign.manifest.source}: {kept} committed chunks stay, {open_}\nnext: lanewise run {manifest}")

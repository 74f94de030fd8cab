"""Commands about this machine: `lanewise doctor` and `lanewise tune`."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from lanewise.cli.options import JsonOption, ManifestArgument, SetOption, load
from lanewise.errors import UsageError
from lanewise.manifest import registry


def doctor(
    manifest: Annotated[
        str | None,
        typer.Argument(metavar="[MANIFEST]", help="Also check what this campaign needs, including its storage."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check device, versions, memory and storage, with remedies.

    Also cores and caches.

    Exits with the code with which `lanewise run` would fail: 78 without the device, 74 if storage cannot be written.
    """
    from lanewise.operations import doctor as practice

    found = practice.examine(load(manifest, overrides).manifest if manifest else None)
    if as_json:
        print(json.dumps([vars(one) for one in found], indent=2))
    else:
        width = max(len(one.topic) for one in found)
        for one in found:
            print(f"{one.grade:<5}  {one.topic:<{width}}  {one.text}")
    raise typer.Exit(max(one.exit_code for one in found))


def tune(
    manifest: ManifestArgument,
    widest: Annotated[int, typer.Option("--widest", min=1, help="Largest width to try.")] = 1024,
    overrides: SetOption = None,
) -> None:
    """Find the batch.width with the best throughput on this device.

    Times the campaign's own lanes at widths 1, 2, 4, … until one does not fit into memory; writes nothing.
    """
    from lanewise.operations import tune as practice

    campaign = load(manifest, overrides)
    if registry.family(campaign.manifest.kind).lanes is None:
        raise UsageError(f"{manifest}: kind {campaign.manifest.kind} does not run as lanes; there is nothing to tune")
    found = practice.tune(
        campaign.manifest,
        widest,
        lambda trial: print(f"{trial.width} lanes: {trial.shown}", file=sys.stderr, flush=True),
    )
    print(found.text)

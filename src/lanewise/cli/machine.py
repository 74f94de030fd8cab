"""`lanewise doctor`: is this machine fit for a campaign?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lanewise.cli.options import JsonOption, SetOption, load


def doctor(
    manifest: Annotated[
        str | None,
        typer.Argument(metavar="[MANIFEST]", help="Look also at what this campaign needs, its storage included."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at device, versions, cores, memory, caches and storage; says what to do.

    Exits with what `lanewise run` would end with: 78 without the device, 74 where storage cannot be written.
    """
    from lanewise import doctor as practice

    found = practice.examine(load(manifest, overrides).manifest if manifest else None)
    if as_json:
        print(json.dumps([vars(one) for one in found], indent=2))
    else:
        width = max(len(one.topic) for one in found)
        for one in found:
            print(f"{one.grade:<5}  {one.topic:<{width}}  {one.text}")
    raise typer.Exit(max(one.exit_code for one in found))

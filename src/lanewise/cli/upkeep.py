"""Commands on committed results: `verify`, `export` and `clean`."""

from __future__ import annotations

from typing import Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, SetOption, load
from lanewise.machine import progress
from lanewise.manifest import spans


def verify(manifest: CampaignArgument, overrides: SetOption = None) -> None:
    """Compare size and SHA-256 of all committed files.

    Exits with 74 if one is damaged, 65 if one is foreign.
    """
    from lanewise.operations import upkeep

    with progress.watched() as reporter:
        found = upkeep.verify(load(manifest, overrides).record, reporter)
    for finding in found.findings:
        print(finding.text)
    if found.incomplete:
        chunks = spans.shown(found.incomplete)
        print(f"{chunks}: a process writes the directories, or was stopped while it did; `lanewise run` completes them")
    print(f"{found.n_chunks} committed chunks, {found.n_files} files: {len(found.findings) or 'nothing'} wrong")
    if found.findings:
        damaged = not all(finding.foreign for finding in found.findings)
        raise typer.Exit(errors.StorageError.exit_code if damaged else errors.ResultsDiffer.exit_code)


def export(
    manifest: CampaignArgument,
    layout: Annotated[
        str, typer.Option("--layout", help="`directories`: one directory per realization, from the packed chunks.")
    ] = "directories",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="URL to write to; default: the output URL of the campaign.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Write the directories of a packed campaign.

    One per realization, from the committed chunks.
    """
    from lanewise.operations import upkeep
    from lanewise.storage.store import Store

    if layout != "directories":
        raise errors.UsageError(f"--layout {layout}: expected directories")
    record = load(manifest, overrides).record
    store = Store(output) if output else None
    n = upkeep.export(record, store)
    print(f"{n} of {len(record.plan.realizations)} realizations in {(store or record.store).where()}")


def clean(
    manifest: CampaignArgument,
    older_than: Annotated[
        float,
        typer.Option("--older-than", min=0, help="Hours; younger files may belong to a running attempt."),
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    overrides: SetOption = None,
) -> None:
    """Remove leftovers of attempts that did not commit.

    They were killed, or slower than another one.
    """
    from lanewise.operations import upkeep

    record = load(manifest, overrides).record
    removed = upkeep.clean(record, older_than * 3600, dry_run=dry_run)
    for path in removed:
        print(record.store.where(path))
    print(f"{len(removed)} {'would be ' if dry_run else ''}removed; committed results stay")

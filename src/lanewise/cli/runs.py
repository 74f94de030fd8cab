"""Commands that compute, and `status`."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, JsonOption, ManifestArgument, SetOption, load
from lanewise.manifest import spans
from lanewise.manifest.document import Document
from lanewise.manifest.status import LaneStatus, listed
from lanewise.storage.deadlines import KEEP_VARIABLE

if TYPE_CHECKING:
    from lanewise.api import Campaign

# Terminal codes: cursor to the top left, and clear the screen.
_CLEAR = "\033[H\033[2J"
_REASONS = 5


def keep_all(asked: bool) -> bool:
    """Set LANEWISE_NO_DELETE, for this process and its workers."""
    if asked:
        os.environ[KEEP_VARIABLE] = "1"
    return asked


BatchIndexOption = Annotated[
    int | None,
    typer.Option(
        "--batch-index",
        min=0,
        help="Run only this chunk. Default: JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, else all.",
    ),
]
IndexFromOption = Annotated[
    str | None,
    typer.Option(
        "--index-from",
        metavar="VARIABLE",
        help="Environment variable that holds the index, e.g. PBS_ARRAY_INDEX; none: ignore the environment.",
    ),
]
OfOption = Annotated[
    int | None,
    typer.Option("--of", min=1, metavar="N", help="The index is one of N tasks: run the chunks index, index + N, …"),
]
ClusterOption = Annotated[
    bool,
    typer.Option("--cluster", help="Exit 0 when results are committed, also if some realizations did not converge."),
]
WorkersOption = Annotated[
    int,
    typer.Option("--workers", min=1, help="Number of processes, each with its share of resources.cpus, or a GPU."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Compute also committed chunks; old results stay until then.")
]
NoDeleteOption = Annotated[
    bool,
    typer.Option(
        "--no-delete",
        envvar=KEEP_VARIABLE,
        callback=keep_all,
        is_eager=True,
        help="Remove nothing: for a role without the right to delete. Leftovers stay; excludes --overwrite.",
    ),
]


def run(
    manifest: ManifestArgument,
    batch_index: BatchIndexOption = None,
    index_from: IndexFromOption = None,
    of: OfOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 1,
    no_delete: NoDeleteOption = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute one chunk, some, or all; skip committed ones.

    `lanewise run shear` takes the flags of `lanewise init shear` instead of a manifest.
    """
    carry_out(
        manifest,
        batch_index,
        index_from=index_from,
        of=of,
        cluster=cluster,
        overwrite=overwrite,
        workers=workers,
        overrides=overrides,
        as_json=as_json,
    )


def carry_out(
    manifest: str | Document,
    batch_index: BatchIndexOption = None,
    *,
    index_from: IndexFromOption = None,
    of: OfOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 1,
    no_delete: NoDeleteOption = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    single: bool = False,
    beside: Callable[[Document], Mapping[str, bytes]] | None = None,
) -> None:
    """Run a campaign, print a summary, and exit with the code of the outcome.

    Args:
        single, beside: as in `Starter`; the files are written if they are not there.
    """
    from lanewise.machine import progress
    from lanewise.manifest import planning

    if beside is not None and isinstance(manifest, Document):
        put_beside(beside(manifest))
    if batch_index is not None and index_from is not None:
        raise errors.UsageError("--batch-index and --index-from exclude each other")
    cluster = cluster or (batch_index is None and planning.index_variable(index_from) is not None)
    alone = single and not cluster
    campaign = _reached(manifest, overrides, errors.NoResult if alone else errors.InputUnreachable if cluster else None)
    n_chunks = len(campaign.plan.chunks)
    chosen, source = planning.choose(batch_index, index_from, of, campaign.manifest, n_chunks)
    with progress.reporter(as_json=as_json) as reporter:
        if chosen is not None:
            reporter.say("chosen", f"{spans.shown(chosen) if chosen else 'no chunk'} of {n_chunks}, by {source}")
        outcome = campaign.run(chosen, overwrite=overwrite, workers=workers, raise_on_failure=False, progress=reporter)
    total = sum(outcome.counts.values())
    url = campaign.manifest.output.url
    missing = f"{spans.shown(outcome.missing)} of {n_chunks}" if outcome.missing else ""
    reporter.say(
        "done",
        f"{total} realizations: {listed(outcome.counts) or 'nothing'}; chunks: {outcome.computed} computed, "
        f"{outcome.reused} already committed, {len(outcome.errors)} failed; results in {url}"
        + (f"; not committed: {missing}" if missing else ""),
        counts=dict(outcome.counts),
        computed=outcome.computed,
        reused=outcome.reused,
        failed=len(outcome.errors),
        missing=list(outcome.missing),
        url=url,
    )
    if outcome.errors:
        if alone and isinstance(outcome.errors[0], errors.InputUnreachable):
            raise errors.NoResult(str(outcome.errors[0]))
        raise outcome.errors[0]
    if outcome.missing:
        raise errors.Incomplete(f"{url}: {missing} not committed; run again to compute them")
    if alone and set(outcome.counts) == {LaneStatus.FAILED.word}:
        raise errors.NoResult(_reasons(campaign.record.rows()[0]))
    if not outcome.all_ok and not cluster:
        raise typer.Exit(errors.NOT_CONVERGED)


def put_beside(files: Mapping[str, bytes]) -> None:
    """Write the files of a starter, by path; one that exists stays."""
    for path, data in files.items():
        if not Path(path).exists():
            Path(path).write_bytes(data)


def _reached(
    manifest: str | Document, overrides: list[str] | None, unreachable: type[errors.LanewiseError] | None
) -> Campaign:
    """The campaign; raises `unreachable`, if it is given, where only inputs that cannot be reached are wrong."""
    try:
        return load(manifest, overrides)
    except (errors.ManifestError, errors.StorageError) as error:
        if unreachable is None or (isinstance(error, errors.ManifestError) and not error.unreachable):
            raise
        raise unreachable(str(error)) from None


def _reasons(rows: Sequence[Mapping[str, Any]]) -> str:
    """Why realizations failed, each reason once."""
    found = [str(row["reason"]) for row in rows if row.get("reason")]
    shown = [f"no result: {text}" for text in dict.fromkeys(found)]
    more = [f"… and {len(shown) - _REASONS} other reasons: lanewise status lists them"] if len(shown) > _REASONS else []
    return "\n".join([*shown[:_REASONS], *more]) or "no result: no data could be made or read"


def retry(
    manifest: ManifestArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed or were not finite.")] = False,
    nonconverged: Annotated[bool, typer.Option("--nonconverged", help="Only those that did not converge.")] = False,
    cluster: ClusterOption = False,
    no_delete: NoDeleteOption = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute again what failed or did not converge.

    Every attempt is recorded. The data keep their seed. Realizations that did not converge climb a ladder: longer
    warm-up, smaller steps, longer chains, another method. Chunks that failed, or whose process has died, are computed
    as by `run`.
    """
    from lanewise.machine import progress

    campaign = _reached(manifest, overrides, errors.InputUnreachable if cluster else None)
    either = failed or nonconverged
    chosen = {"failed": failed or not either, "nonconverged": nonconverged or not either}
    with progress.reporter(as_json=as_json) as reporter:
        outcome = campaign.retry(**chosen, progress=reporter)
        counts = listed(outcome.counts) or "nothing"
        reporter.say(
            "done",
            f"{outcome.n_tried} realizations tried again, {outcome.n_mended} of them ok now; {counts} are committed",
            tried=outcome.n_tried,
            mended=outcome.n_mended,
            counts=dict(outcome.counts),
        )
    if outcome.errors:
        raise outcome.errors[0]
    if set(outcome.counts) - {"ok"} and not cluster:
        raise typer.Exit(errors.NOT_CONVERGED)


def status(
    manifest: CampaignArgument,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until every chunk is committed.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="With --watch: seconds between reports.")
    ] = 5.0,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show from storage what is done, and the next command.

    Also what is running, lost, failed, damaged or missing, and the rate.

    Exits with 74 if a committed file is missing or cut.
    """
    from lanewise.operations import status as practice

    options = [f"--set {shlex.quote(pair)}" for pair in overrides or ()]
    while True:
        found = practice.status(load(manifest, overrides).record, " ".join([manifest, *options]))
        if watch and not as_json and sys.stdout.isatty():
            print(_CLEAR, end="")
        indent = None if watch else 2
        print(json.dumps(asdict(found), indent=indent) if as_json else practice.text(found), flush=True)
        if not watch or not found.chunks.missing:
            raise typer.Exit(errors.Damaged.exit_code if found.chunks.damaged else 0)
        time.sleep(interval)

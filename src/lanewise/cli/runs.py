"""Commands that compute, and `status`, which shows the progress."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, JsonOption, ManifestArgument, SetOption, load

if TYPE_CHECKING:
    from lanewise.manifest.document import Document

# Move the cursor home and clear the screen.
_CLEAR = "\033[H\033[2J"

BatchIndexOption = Annotated[
    int | None,
    typer.Option(
        "--batch-index",
        min=0,
        help="Run this chunk only. Else JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, else all.",
    ),
]
ClusterOption = Annotated[
    bool,
    typer.Option("--cluster", help="Exit 0 once results are committed, also if some realizations did not converge."),
]
WorkersOption = Annotated[
    int,
    typer.Option("--workers", min=1, help="Processes at a time, each with its share of resources.cpus, or a GPU."),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Compute again; committed results stay until new ones replace them.")
]


def run(
    manifest: ManifestArgument,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 1,
    overrides: SetOption = None,
) -> None:
    """Compute one chunk or all chunks; committed chunks are skipped.

    `lanewise run shear` takes the flags of `lanewise init shear` in place of a manifest.
    """
    carry_out(manifest, batch_index, overrides, cluster=cluster, overwrite=overwrite, workers=workers)


def carry_out(
    manifest: str | Document,
    batch_index: int | None,
    overrides: list[str] | None,
    *,
    cluster: bool,
    overwrite: bool,
    workers: int = 1,
) -> None:
    """Run a campaign, print the outcome, and exit with its code."""
    from lanewise.machine import progress
    from lanewise.manifest.planning import choose_index

    campaign = load(manifest, overrides)
    index, in_cluster = choose_index(batch_index, campaign.manifest, len(campaign.plan.chunks))
    with progress.reporter() as reporter:
        outcome = campaign.run(index, overwrite=overwrite, workers=workers, progress=reporter)
    total = sum(outcome.counts.values())
    url = campaign.manifest.output.url
    reporter.say(
        "done",
        f"{total} realizations: {_listed(outcome.counts)}; chunks: {outcome.computed} computed, "
        f"{outcome.reused} already committed, {len(outcome.errors)} failed; results in {url}",
        counts=dict(outcome.counts),
        computed=outcome.computed,
        reused=outcome.reused,
        failed=len(outcome.errors),
        url=url,
    )
    if outcome.errors:
        raise outcome.errors[0]
    if not outcome.all_ok and not (cluster or in_cluster):
        raise typer.Exit(errors.NOT_CONVERGED)


def retry(
    manifest: ManifestArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only realizations that failed or were not finite.")] = False,
    nonconverged: Annotated[
        bool, typer.Option("--nonconverged", help="Only realizations that did not converge.")
    ] = False,
    cluster: ClusterOption = False,
    overrides: SetOption = None,
) -> None:
    """Compute again the realizations that failed or did not converge; every attempt is recorded.

    Data keep their seed. A realization that did not converge climbs a ladder: longer warm-up, smaller steps, longer
    chains, another method. Chunks that failed as a whole, or whose process has ended, are computed as `run` does.
    """
    from lanewise.machine import progress

    campaign = load(manifest, overrides)
    either = failed or nonconverged
    with progress.reporter() as reporter:
        outcome = campaign.retry(
            failed=failed or not either, nonconverged=nonconverged or not either, progress=reporter
        )
        counts = _listed(outcome.counts)
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
        float, typer.Option("--interval", min=0.1, help="With --watch: time between two updates [s].")
    ] = 5.0,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which chunks are done, running, lost, failed or missing, the speed, and the next command."""
    import time

    from lanewise.operations import status as practice

    options = [f"--set {shlex.quote(pair)}" for pair in overrides or ()]
    while True:
        found = practice.status(load(manifest, overrides).record, " ".join([manifest, *options]))
        if watch and not as_json and sys.stdout.isatty():
            print(_CLEAR, end="")
        indent = None if watch else 2
        print(json.dumps(found.content, indent=indent) if as_json else practice.text(found), flush=True)
        if not watch or not found.chunks.missing:
            return
        time.sleep(interval)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(counts.items())) or "nothing"

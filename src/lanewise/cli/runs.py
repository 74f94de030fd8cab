"""Commands that compute, and the one that says how far it has come."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from lanewise import errors
from lanewise.cli.options import CampaignArgument, JsonOption, ManifestArgument, SetOption, load

if TYPE_CHECKING:
    from lanewise.document import Document


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
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Compute anew; what is committed stays until then.")]


def run(
    manifest: ManifestArgument,
    batch_index: BatchIndexOption = None,
    cluster: ClusterOption = False,
    overwrite: OverwriteOption = False,
    overrides: SetOption = None,
) -> None:
    """Compute one chunk, or all of them; what is committed already is skipped.

    `lanewise run shear` takes the flags of `lanewise init shear` in place of a manifest.
    """
    carry_out(manifest, batch_index, overrides, cluster=cluster, overwrite=overwrite)


def carry_out(
    manifest: str | Document,
    batch_index: int | None,
    overrides: list[str] | None,
    *,
    cluster: bool,
    overwrite: bool,
) -> None:
    """Run a campaign, tell how it ends, and exit accordingly."""
    from lanewise import progress
    from lanewise.plan import choose_index

    campaign = load(manifest, overrides)
    index, in_cluster = choose_index(batch_index, campaign.manifest, len(campaign.plan.chunks))
    with progress.reporter() as reporter:
        outcome = campaign.run(index, overwrite=overwrite, progress=reporter)
    total = sum(outcome.counts.values())
    counts = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in sorted(outcome.counts.items())) or "nothing"
    url = campaign.manifest.output.url
    reporter.say(
        "done",
        f"{total} realizations: {counts}; chunks: {outcome.computed} computed, {outcome.reused} already committed, "
        f"{len(outcome.errors)} failed; results in {url}",
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


def status(manifest: CampaignArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show from storage what is done, failed or missing, and the next command."""
    from lanewise import views

    campaign = load(manifest, overrides)
    options = [f"--set {shlex.quote(pair)}" for pair in overrides or ()]
    content = views.status(campaign, " ".join([manifest, *options]))
    print(json.dumps(content, indent=2) if as_json else views.status_text(content))

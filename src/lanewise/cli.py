"""The command line: thin. What a command does stands in the module that it calls; JAX is imported late."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lanewise import __version__, errors
from lanewise.problems.heterodyne import cli as simulate
from lanewise.render import cli as render

if TYPE_CHECKING:
    from lanewise.aggregate.results import BiasResults
    from lanewise.campaign import Campaign

app = typer.Typer(
    name="lanewise",
    help="Campaigns of many independent Bayesian inference problems, from one manifest.",
    epilog="Start with: lanewise plan manifests/level0.yaml, then lanewise run, then lanewise aggregate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(render.app, name="render")
app.add_typer(simulate.app, name="simulate")

ManifestArgument = Annotated[str, typer.Argument(metavar="MANIFEST", help="Path or URL of the manifest (YAML).")]
CampaignArgument = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST", help="Path or URL of the manifest, or the output URL of a campaign that has run."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a key, e.g. --set batch.size=8; repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"lanewise {__version__}")
        raise typer.Exit


@app.command()
def validate(manifest: ManifestArgument, overrides: SetOption = None) -> None:
    """Check a manifest and its config; every error at once, with its line and remedy."""
    campaign = _load(manifest, overrides)
    for remark in campaign.manifest.config.remarks:
        print(f"{manifest}: {remark}")
    print(f"{manifest}: valid; {len(campaign.plan.realizations)} realizations in {len(campaign.plan.chunks)} chunks")


@app.command()
def plan(manifest: CampaignArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show the chunks, their realizations, and what is already done."""
    from lanewise import views

    campaign = _load(manifest, overrides)
    content = views.plan(campaign)
    print(json.dumps(content, indent=2) if as_json else views.plan_text(content))


@app.command()
def run(
    manifest: ManifestArgument,
    batch_index: Annotated[
        int | None,
        typer.Option(
            "--batch-index",
            min=0,
            help="Run this chunk only. Else JOB_COMPLETION_INDEX or SLURM_ARRAY_TASK_ID, else all.",
        ),
    ] = None,
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster", help="Exit 0 once results are committed, also if some realizations did not converge."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove what is committed and compute it anew.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Compute one chunk, or all of them; what is committed already is skipped."""
    from lanewise import progress
    from lanewise.plan import choose_index

    campaign = _load(manifest, overrides)
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


@app.command()
def status(manifest: CampaignArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Show from storage what is done, failed or missing, and the next command."""
    from lanewise import views

    campaign = _load(manifest, overrides)
    options = [f"--set {shlex.quote(pair)}" for pair in overrides or ()]
    content = views.status(campaign, " ".join([manifest, *options]))
    print(json.dumps(content, indent=2) if as_json else views.status_text(content))


@app.command()
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
    """Add realizations with new seeds to the manifest; what is computed stays valid, `run` computes the rest.

    Writes one more number under realizations.extensions, also of a campaign that is half done: seeds go on after the
    last, chunks too, and everything before keeps its place.
    """
    from lanewise import extension

    if any(pair.startswith("realizations") for pair in overrides or ()):
        raise errors.UsageError("extend --set realizations…: extend writes these into the manifest; edit them there")
    campaign = _load(manifest, overrides)
    before, after = campaign.plan, extension.write(campaign, count)
    print(
        f"{campaign.manifest.source}: {len(before.realizations)} → {len(after.realizations)} realizations, "
        f"{len(before.chunks)} → {len(after.chunks)} chunks\nnext: lanewise run {manifest}"
    )


@app.command()
def verify(manifest: CampaignArgument, overrides: SetOption = None) -> None:
    """Read everything that is committed and compare sizes and SHA-256; exit 74 if damaged, 65 if foreign."""
    from lanewise import upkeep

    found = upkeep.verify(_load(manifest, overrides))
    for finding in found.findings:
        print(finding.text)
    print(f"{found.n_chunks} committed chunks, {found.n_files} files: {len(found.findings) or 'nothing'} wrong")
    if found.findings:
        damaged = not all(finding.foreign for finding in found.findings)
        raise typer.Exit(errors.StorageError.exit_code if damaged else errors.ResultsDiffer.exit_code)


@app.command()
def export(
    manifest: CampaignArgument,
    layout: Annotated[
        str, typer.Option("--layout", help="`directories`: one directory per realization, from the packed chunks.")
    ] = "directories",
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where to; default: the output URL of the campaign.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Unpack the committed chunks of a packed campaign into directories."""
    from lanewise import upkeep
    from lanewise.store import Store

    if layout != "directories":
        raise errors.UsageError(f"--layout {layout}: expected directories")
    campaign = _load(manifest, overrides)
    store = Store(output) if output else campaign.store
    print(f"{upkeep.export(campaign, store)} of {len(campaign.plan.realizations)} realizations in {store.where()}")


@app.command()
def clean(
    manifest: CampaignArgument,
    older_than: Annotated[
        float,
        typer.Option("--older-than", min=0, help="Hours; what is younger may be an attempt under way."),
    ] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    overrides: SetOption = None,
) -> None:
    """Remove what attempts left behind that were killed, or lost to another one."""
    from lanewise import upkeep

    campaign = _load(manifest, overrides)
    removed = upkeep.clean(campaign, older_than * 3600, dry_run=dry_run)
    for path in removed:
        print(campaign.store.where(path))
    print(f"{len(removed)} {'would be ' if dry_run else ''}removed; what is committed stays")


@app.command()
def extract(
    manifest: CampaignArgument,
    output: Annotated[
        str | None, typer.Option("--output", help="CSV to write; default: summary.csv in the output URL.")
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Collect the committed realizations into summary.csv."""
    from lanewise.aggregate import extract as table
    from lanewise.aggregate import stages

    campaign = _load(manifest, overrides)
    if output is None:
        summary = stages.write_summary(campaign)
        output = campaign.store.where(table.SUMMARY)
    else:
        summary = table.collect(campaign)
        _put(output, table.to_csv(summary))
    print(f"{len(summary)} of {len(campaign.plan.realizations)} realizations in {output}")


@app.command()
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

    from lanewise.aggregate import extract as table
    from lanewise.aggregate import stages
    from lanewise.aggregate.verdict import LEVEL_0
    from lanewise.manifest import Acceptance
    from lanewise.store import Store, split

    if level not in {None, LEVEL_0}:
        raise errors.UsageError(f"--level {level}: expected {LEVEL_0}")
    is_csv = source.endswith(".csv")
    origin = posterior_dir if is_csv else source
    campaign = _load(origin, overrides) if origin else None
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
    _print_verdict(results)
    print(f"numbers: {store.where(f'{where}/{stages.BIAS_RESULTS}' if where else stages.BIAS_RESULTS)}")


@app.command()
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
        bool, typer.Option("--strict", help="Exit 3, 4, 5 for the verdicts FAIL, INCONCLUSIVE, INVALID.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Extract, compute the statistics and write the report; always ends in a report."""
    from lanewise import progress
    from lanewise.aggregate import stages

    campaign = _load(manifest, overrides)
    total = len(campaign.plan.chunks)
    if wait:
        with progress.reporter() as reporter:
            reporter.begin("chunks committed", total)
            stages.wait(campaign, deadline, reporter.step)
    results = stages.aggregate(campaign)
    done = stages.n_complete(campaign, results)
    _print_verdict(results)
    print(f"report: {campaign.store.where(stages.REPORT)}")
    if done < min_complete * total:
        raise errors.Incomplete(f"{done} of {total} chunks are committed, fewer than --min-complete {min_complete:g}")
    if strict:
        raise typer.Exit(_STRICT[results.verdict.verdict.value])


# Typer carries a Click of its own since 0.16 and does not export this class: BadParameter is its only public child.
_ClickUsageError: Any = typer.BadParameter.__mro__[1]
_STRICT = {"PASS": 0, "FAIL": 3, "INCONCLUSIVE": 4, "INVALID": 5}


def _load(source: str, overrides: list[str] | None) -> Campaign:
    from lanewise import campaign

    return campaign.load(source, overrides or ())


def _put(path: str, data: bytes) -> None:
    from lanewise.store import Store, split

    folder, name = split(path)
    if not name:
        raise errors.UsageError(f"{path}: expected a file, got a directory; add a name")
    Store(folder).put(name, data)


def _print_verdict(results: BiasResults) -> None:
    from lanewise.views import verdict_text

    print(verdict_text(results))


def main() -> NoReturn:
    """Run the command line: what lanewise raises on purpose becomes its exit code and a text without a traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _interrupt)
    try:
        code = app(standalone_mode=False)
    except errors.LanewiseError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except _ClickUsageError as error:
        error.show()
        sys.exit(errors.UsageError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    print("interrupted; what was committed stays, run again to go on", file=sys.stderr)
    sys.exit(errors.INTERRUPTED)


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    print("terminated; what was committed stays, run again to go on", file=sys.stderr)
    sys.exit(errors.TERMINATED)

"""`lanewise stats`, as the published page has it, `lanewise check` and `lanewise catalogue`."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import Annotated

import typer

from lanewise import errors

_Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Override a key, e.g. --set batch.size=8; repeatable."),
]


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
    overrides: _Overrides = None,
) -> None:
    """Compute bias and verdict from the summary."""
    from lanewise.families.shear import aggregate
    from lanewise.families.shear.report.figures import figures
    from lanewise.families.shear.statistics import summary as table
    from lanewise.families.shear.statistics.criteria import LEVEL_0
    from lanewise.families.shear.statistics.results import evaluate
    from lanewise.manifest.locations import split
    from lanewise.manifest.manifest import Acceptance
    from lanewise.operations.aggregate import text
    from lanewise.storage.record import open_record
    from lanewise.storage.store import Store

    if level not in {None, LEVEL_0}:
        raise errors.UsageError(f"--level {level}: expected {LEVEL_0}")
    is_csv = source.endswith(".csv")
    origin = posterior_dir if is_csv else source
    record = open_record(origin, overrides or ()) if origin else None
    if record is not None and record.manifest.kind != "shear":
        raise errors.UsageError(f"{origin}: kind {record.manifest.kind} has no bias; use lanewise aggregate")
    if is_csv:
        folder, name = split(source)
        try:
            summary = table.from_csv(Store(folder).read(name), source)
        except FileNotFoundError:
            raise errors.UsageError(f"{source}: no such file; lanewise extract writes one") from None
    else:
        assert record is not None
        summary = table.collect(record)
    if record is None:
        # The priors and the plan behind a bare table are unknown.
        results = evaluate(summary, priors=(None, None), acceptance=Acceptance(level=level))
    else:
        if level:
            acceptance = replace(record.manifest.acceptance, level=level)
            record = replace(record, manifest=replace(record.manifest, acceptance=acceptance))
        results = aggregate.evaluated(record, summary)
    store = record.store if record is not None and not output_dir else Store(output_dir or ".")
    where = "" if output_dir else aggregate.STATS
    aggregate.write_stats(store, where, aggregate.BIAS_RESULTS, results, figures(results, summary))
    print(text(aggregate.concluded(results), origin or source))
    print(f"numbers: {store.where(f'{where}/{aggregate.BIAS_RESULTS}.json'.removeprefix('/'))}")


def check(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Path or URL of the manifest (YAML).")],
    max_abs_m: Annotated[
        float | None, typer.Option("--max-abs-m", help="The bound on |m|; default: the manifest's.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0, help="Add pairs only if they end within this time.")
    ] = 5.0,
    output_dir: Annotated[
        str | None,
        typer.Option(
            "--output-dir", metavar="URL", help="Where results go; default: the campaign's output, and -check."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever is there.")] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Number of processes, as for run.")] = 1,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Override a key, e.g. --set batch.width=8; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Decide in minutes whether |m| is below its bound, for CI.

    Runs ±g pairs of the manifest's scene and method at its largest shears: at first a few, then as many as their
    scatter says, within the time. What is in the output already is not computed again.

    Exits with 0 (PASS), 3 (FAIL), 4 (INCONCLUSIVE: the time is over) or 5 (INVALID).
    """
    from lanewise.families.shear import guardrail
    from lanewise.machine import progress
    from lanewise.report.page import REPORT
    from lanewise.statistics.verdict import EXIT_CODES

    record = guardrail.small_form(manifest, overrides or (), max_abs_m=max_abs_m, url=output_dir)
    with progress.reporter(as_json=as_json) as reporter:
        found = guardrail.check(record, minutes, overwrite=overwrite, n_workers=workers, progress=reporter)
        reporter.say("checked", found.line, verdict=found.verdict, pairs=found.n_pairs)
        reporter.say("report", f"report: {record.store.where(REPORT)}")
        if found.out_of_time:
            reporter.say("next", f"next: the same command again goes on with these {found.n_pairs} pairs")
    raise typer.Exit(EXIT_CODES[found.verdict])


def catalogue(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A manifest or an output URL.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File or URL to write; default: catalogue.parquet in the output URL."),
    ] = None,
    ellipticity: Annotated[
        str | None,
        typer.Option(
            "--ellipticity",
            metavar="TYPE:SIGMA",
            help="Add the log likelihood of a shear, for intrinsic ellipticities from this distribution, "
            "e.g. BernsteinArmstrong:0.2.",
        ),
    ] = None,
    half_width: Annotated[
        float, typer.Option("--half-width", help="With --ellipticity: for shears between ± this.")
    ] = 0.06,
    overrides: _Overrides = None,
) -> None:
    """Write one row per object: means, covariance, S/N, fit.

    The response is among the columns. A population has one row per galaxy, with ln L of the shear at nodes.
    """
    from lanewise.families.shear import config as shear_config
    from lanewise.families.shear.catalogue import file
    from lanewise.manifest.locations import split
    from lanewise.storage.record import open_record
    from lanewise.storage.store import Store

    record = open_record(source, overrides or ())
    if record.manifest.kind not in {"shear", "calibration"}:
        raise errors.UsageError(f"{source}: kind {record.manifest.kind} has no catalogue of galaxies; use summary.csv")
    config, intrinsic = shear_config.of(record.manifest), None
    if ellipticity is not None:
        from lanewise.families.shear.catalogue import likelihood

        intrinsic = likelihood.parse(ellipticity, half_width)
    folder, name = split(output) if output else (record.manifest.output.url, file.CATALOGUE)
    with tempfile.TemporaryDirectory() as place:
        written = os.path.join(place, file.CATALOGUE)
        n = file.write(record, written, intrinsic)
        Store(folder).put_file(name, written)
    of = "objects" if config.population is None else "galaxies"
    print(f"{n} {of}: {Store(folder).where(name)}")

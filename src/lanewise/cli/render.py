"""`lanewise render`: the jobs of a campaign for a cluster, as text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from lanewise.cli.options import ManifestArgument, with_flags
from lanewise.errors import UsageError
from lanewise.manifest import planning
from lanewise.render.site import Site
from lanewise.render.slurm import SlurmSite

app = typer.Typer(
    help="Write jobs for a cluster; nothing is submitted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead of standard output."),
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Override a key, e.g. --set output.url=s3://bucket/run; repeatable."
    ),
]


def _kubernetes(
    site: Site,
    *,
    manifest: ManifestArgument,
    patch: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Strategic merge patches of the objects, as YAML; repeatable, applied last."),
    ] = None,
    output: OutputOption = None,
    overrides: OverridesOption = None,
) -> None:
    """Write an Indexed Job and a Job that aggregates.

    With a ConfigMap, and a pod per chunk; for Kubernetes ≥ 1.31.

    The manifest travels inside; its resources become what the pods request. GPUs are among them unless
    resources.device is cpu: for a cluster without any, add --set resources.device=cpu.
    """
    from lanewise.manifest import loading as manifests
    from lanewise.manifest import yaml_text
    from lanewise.render.kubernetes import jobs

    loaded = manifests.load(manifest, overrides or ())
    patches = [one for file in patch or () for one in yaml_text.parse_all(manifests.read(file), file)]
    _write(jobs(loaded, planning.build(loaded), site, patches), output, "kubectl apply --server-side -f")


def _slurm(
    site: SlurmSite, *, manifest: ManifestArgument, output: OutputOption = None, overrides: OverridesOption = None
) -> None:
    """Write a script that submits what is open as Slurm arrays.

    The aggregation follows them.

    Storage tells what is open: render again after a time limit, a failure or `lanewise extend`. The jobs run in the
    directory of this command, read the manifest there, and ask for its resources; GPUs unless resources.device is cpu.
    """
    from lanewise.render.slurm import script
    from lanewise.storage.record import open_record

    record = open_record(manifest, overrides or ())
    done = record.commits()
    n_chunks = len(record.plan.chunks)
    open_ = [index for index in record.plan.indices if index not in done]
    words = [manifest, *(part for pair in overrides or () for part in ("--set", pair))]
    _write(script(record.manifest, n_chunks, open_, site, words, os.getcwd()), output, "bash")


def _write(text: str, output: Path | None, submit: str) -> None:
    """Write the text to the file, and the command that submits it to standard error."""
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be written: {error.strerror}") from None
    typer.echo(f"{submit} {output}", err=True)


app.command("kubernetes")(with_flags(Site, _kubernetes))
app.command("slurm")(with_flags(SlurmSite, _slurm))

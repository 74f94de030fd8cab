"""`lanewise render`: the jobs of a campaign for a cluster, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanewise.cli.options import ManifestArgument, with_flags
from lanewise.errors import UsageError
from lanewise.manifest import planning
from lanewise.render.site import Site

app = typer.Typer(
    help="Write the jobs that carry a campaign out on a cluster; nothing is submitted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _kubernetes(
    site: Site,
    *,
    manifest: ManifestArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead of standard output."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Override a key, e.g. --set output.url=s3://bucket/run; repeatable.",
        ),
    ] = None,
) -> None:
    """Write a ConfigMap, an Indexed Job with a pod per chunk, and a Job that aggregates (Kubernetes ≥ 1.31).

    The manifest travels inside; its resources become what the pods request. GPUs are among them unless
    resources.device is cpu: for a cluster without any, add --set resources.device=cpu.
    """
    from lanewise.manifest import loading as manifests
    from lanewise.render.kubernetes import jobs

    loaded = manifests.load(manifest, overrides or ())
    text = jobs(loaded, planning.build(loaded), site)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be written: {error.strerror}") from None
    typer.echo(f"kubectl apply --server-side -f {output}", err=True)


app.command("kubernetes")(with_flags(Site, _kubernetes))

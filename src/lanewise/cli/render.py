"""`lanewise render`: jobs for somebody's cluster, as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lanewise.errors import UsageError
from lanewise.manifest import planning
from lanewise.render.site import WORKING_DIRECTORY, Site

app = typer.Typer(
    help="Write the jobs that carry a campaign out on a cluster; nothing is submitted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def kubernetes(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Path or URL of the manifest (YAML).")],
    *,
    image: Annotated[str, typer.Option("--image", help="The lanewise image that the pods run, with registry and tag.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead of standard output."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Namespace of all objects; default: kubectl's.")
    ] = None,
    parallelism: Annotated[
        int | None,
        typer.Option("--parallelism", min=1, help="Chunks at a time; default: all of them, at most 50."),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            min=0,
            help="Further tries of a chunk whose failure may pass. Evictions do not count.",
        ),
    ] = Site.retries,
    pvc: Annotated[
        str | None,
        typer.Option(
            "--pvc",
            metavar="CLAIM[:PATH]",
            help=f"Volume for a local output.url, at PATH (default {WORKING_DIRECTORY}); ReadWriteMany.",
        ),
    ] = None,
    env_secret: Annotated[
        str | None,
        typer.Option(
            "--env-secret",
            metavar="NAME",
            help="Secret that becomes environment variables, e.g. bucket credentials.",
        ),
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option("--service-account", metavar="NAME", help="Where the cloud grants bucket access to an account."),
    ] = None,
    queue: Annotated[
        str | None, typer.Option("--queue", metavar="NAME", help="Kueue's LocalQueue that admits the chunks.")
    ] = None,
    gpu_resource: Annotated[
        str,
        typer.Option("--gpu-resource", help="What the nodes call a GPU, e.g. nvidia.com/mig-1g.10gb for slices."),
    ] = Site.gpu_resource,
    node_selector: Annotated[
        list[str] | None,
        typer.Option("--node-selector", metavar="KEY=VALUE", help="Only nodes with this label; repeatable."),
    ] = None,
    toleration: Annotated[
        list[str] | None,
        typer.Option("--toleration", metavar="KEY[=VALUE][:EFFECT]", help="Also nodes with this taint; repeatable."),
    ] = None,
    deadline: Annotated[
        int,
        typer.Option(
            "--deadline",
            min=1,
            help="Seconds that the aggregation waits for the last chunk; then it reports.",
        ),
    ] = Site.deadline_s,
    min_complete: Annotated[
        float | None,
        typer.Option(
            "--min-complete",
            min=0,
            max=1,
            help="Share of chunks without which the aggregation counts as failed.",
        ),
    ] = None,
    aggregate_memory: Annotated[
        str, typer.Option("--aggregate-memory", help="Memory of the aggregation.")
    ] = Site.aggregate_memory,
    grace: Annotated[
        int, typer.Option("--grace", min=1, help="Seconds from the wish to stop a pod (SIGTERM) to its end.")
    ] = Site.grace_s,
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

    claim, _, mount = (pvc or "").partition(":")
    site = Site(
        image=image,
        namespace=namespace,
        parallelism=parallelism,
        retries=retries,
        grace_s=grace,
        deadline_s=deadline,
        min_complete=min_complete,
        claim=claim or None,
        mount=mount or WORKING_DIRECTORY,
        service_account=service_account,
        secret=env_secret,
        queue=queue,
        gpu_resource=gpu_resource,
        aggregate_memory=aggregate_memory,
        node_selector=dict(_pair(text) for text in node_selector or ()),
        tolerations=tuple(toleration or ()),
    )
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


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise UsageError(f"--node-selector {text}: expected key=value, e.g. kubernetes.io/arch=amd64")
    return key, value

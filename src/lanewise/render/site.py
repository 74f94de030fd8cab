"""Cluster settings that complete a manifest, and checks that both are compatible."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from typer import Option

from lanewise.errors import UsageError
from lanewise.machine import host
from lanewise.manifest.locations import pinned
from lanewise.manifest.manifest import Manifest

WORKING_DIRECTORY = "/work"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_KEY = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_TOLERATION = re.compile(
    rf"(?P<key>{_LABEL_KEY})(?:=(?P<value>[A-Za-z0-9_.-]*))?(?::(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?"
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Cluster settings of a campaign; no result depends on them. They are the options of `lanewise render kubernetes`.

    Raises:
        UsageError: Kubernetes would refuse a value.
    """

    image: Annotated[str, Option(help="The lanewise image that the pods run, with registry and tag.")]
    namespace: Annotated[
        str | None, Option("--namespace", "-n", help="Namespace of all objects; default: kubectl's.")
    ] = None
    parallelism: Annotated[int | None, Option(min=1, help="Chunks at a time; default: all of them, at most 50.")] = None
    retries: Annotated[
        int, Option(min=0, help="Further tries of a chunk whose failure may pass. Evictions do not count.")
    ] = 3
    pvc: Annotated[
        str | None,
        Option(
            metavar="CLAIM[:PATH]",
            help=f"Volume for a local output.url, at PATH (default {WORKING_DIRECTORY}); ReadWriteMany.",
        ),
    ] = None
    env_secret: Annotated[
        str | None,
        Option(metavar="NAME", help="Secret that becomes environment variables, e.g. bucket credentials."),
    ] = None
    service_account: Annotated[
        str | None, Option(metavar="NAME", help="Where the cloud grants bucket access to an account.")
    ] = None
    queue: Annotated[str | None, Option(metavar="NAME", help="Kueue's LocalQueue that admits the chunks.")] = None
    gpu_resource: Annotated[str, Option(help="What the nodes call a GPU, e.g. nvidia.com/mig-1g.10gb for slices.")] = (
        "nvidia.com/gpu"
    )
    node_selector: Annotated[
        list[str] | None, Option(metavar="KEY=VALUE", help="Only nodes with this label; repeatable.")
    ] = None
    toleration: Annotated[
        list[str] | None, Option(metavar="KEY[=VALUE][:EFFECT]", help="Also nodes with this taint; repeatable.")
    ] = None
    deadline_s: Annotated[
        int,
        Option("--deadline", min=1, help="Seconds that the aggregation waits for the last chunk; then it reports."),
    ] = 86_400
    min_complete: Annotated[
        float | None, Option(min=0, max=1, help="Share of chunks without which the aggregation counts as failed.")
    ] = None
    aggregate_memory: Annotated[str, Option(help="Memory of the aggregation.")] = "4Gi"
    grace_s: Annotated[
        int, Option("--grace", min=1, help="Seconds from the wish to stop a pod (SIGTERM) to its end.")
    ] = 120
    chunks_per_pod: Annotated[
        int, Option(min=1, help="Chunks that one pod computes; more where there are more than 100 000 chunks.")
    ] = 1
    aggregate_queue: Annotated[
        str | None,
        Option(metavar="NAME", help="Kueue's LocalQueue of the aggregation, where Kueue stops jobs without a queue."),
    ] = None
    uid: Annotated[int, Option(min=1, help="User and group of the pods' processes.")] = 10001
    openshift: Annotated[bool, Option("--openshift", help="Leave user and group to the cluster.")] = False
    label: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="Label of all objects and pods, e.g. azure.workload.identity/use=true."),
    ] = None
    annotation: Annotated[list[str] | None, Option(metavar="KEY=VALUE", help="Annotation of the pods.")] = None
    priority_class: Annotated[str | None, Option(metavar="NAME", help="PriorityClass of the pods.")] = None
    pull_secret: Annotated[
        list[str] | None, Option(metavar="NAME", help="Secret for the image's registry; repeatable.")
    ] = None
    ephemeral_storage: Annotated[
        str | None, Option(metavar="QUANTITY", help="Disk of a pod, for /tmp and logs, e.g. 10Gi.")
    ] = None
    pod_deadline_s: Annotated[
        int | None,
        Option("--pod-deadline", min=1, help="Seconds after which a pod of a chunk is stopped and tried again."),
    ] = None
    ttl_s: Annotated[
        int | None, Option("--ttl", min=0, help="Seconds after which Kubernetes removes the ended Jobs.")
    ] = None

    @property
    def claim(self) -> str:
        """Name of the PersistentVolumeClaim for a local `output.url`; empty if there is none."""
        return (self.pvc or "").partition(":")[0]

    @property
    def mount(self) -> str:
        """Directory at which the claim is mounted."""
        return (self.pvc or "").partition(":")[2] or WORKING_DIRECTORY

    def __post_init__(self) -> None:
        if not self.image or re.search(r"\s", self.image):
            raise UsageError(f"--image: expected a name such as registry.example/lanewise:0.1, got '{self.image}'")
        _check_name("--namespace", self.namespace, 63)
        _check_name("--pvc", self.claim or None, 253)
        _check_name("--service-account", self.service_account, 253)
        _check_name("--env-secret", self.env_secret, 253)
        _check_name("--queue", self.queue, 63)
        if not self.mount.startswith("/") or posixpath.normpath(self.mount) in {"/", "/tmp", "/etc/lanewise"}:
            raise UsageError(f"--pvc: expected a directory of its own to mount at, such as /work, got '{self.mount}'")
        for option, text in (
            ("--aggregate-memory", self.aggregate_memory),
            ("--ephemeral-storage", self.ephemeral_storage),
        ):
            if text is not None and not host.is_quantity(text):
                raise UsageError(f"{option}: expected a quantity such as 4Gi, got '{text}'")
        _check_name("--aggregate-queue", self.aggregate_queue, 63)
        _check_name("--priority-class", self.priority_class, 253)
        for name in self.pull_secret or ():
            _check_name("--pull-secret", name, 253)
        if not re.fullmatch(_LABEL_KEY, self.gpu_resource) or "/" not in self.gpu_resource:
            raise UsageError(f"--gpu-resource: expected a name such as nvidia.com/gpu, got '{self.gpu_resource}'")
        for text in self.toleration or ():
            parse_toleration(text)
        for option, texts in (("--node-selector", self.node_selector), ("--label", self.label)):
            for text in texts or ():
                if not _LABEL_VALUE.fullmatch(parse_pair(option, text)[1]):
                    raise UsageError(
                        f"{option} {text}: expected a value of at most 63 letters, digits, '-', '_' and '.'"
                    )
        for text in self.annotation or ():
            parse_pair("--annotation", text)
        if reserved := [text for text in self.label or () if text.startswith("app.kubernetes.io/")]:
            raise UsageError(f"--label {reserved[0]}: lanewise sets this label; choose another key")


def check_output(manifest: Manifest, site: Site) -> None:
    """Check that the results are kept after the pods end.

    Raises:
        UsageError: `output.url` is in memory, or a local path outside the claim's volume, or it is remote and there is
            a claim.
    """
    url = manifest.output.url
    scheme, _, path = url.rpartition("://")
    if scheme == "memory":
        raise UsageError(
            f"output.url: {url} is in memory and ends with the pod; choose a bucket, as in --set output.url=s3://bucket/{manifest.name}"
        )
    if scheme not in {"", "file", "local"}:
        if site.claim:
            raise UsageError(
                f"--pvc {site.claim}: output.url is {url}, which needs no volume; omit --pvc or use a local path"
            )
        return
    if not site.claim:
        raise UsageError(
            f"output.url: {url} is a local path, but the pod's disk ends with the pod; choose a bucket, as in --set "
            f"output.url=s3://bucket/{manifest.name}, or mount a volume that every node can write: --pvc CLAIM"
        )
    inside = posixpath.normpath(posixpath.join(WORKING_DIRECTORY, path))
    mount = posixpath.normpath(site.mount)
    if not f"{inside}/".startswith(f"{mount}/"):
        raise UsageError(
            f"output.url: {inside} is not on the volume, which is mounted at {mount}; "
            f"mount it elsewhere with --pvc {site.claim}:PATH"
        )


def check_inputs(manifest: Manifest, site: Site, mounted: Collection[str] = ()) -> None:
    """Check that the pods can reach the files that the manifest names.

    Args:
        mounted: files that come with the ConfigMap.

    Raises:
        UsageError: a file is in memory, or on this machine's disk and not below the claim's mount.
    """
    lost = [path for path in pinned(manifest.content) if path not in mounted and not reachable(path, site)]
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UsageError(
            f"{manifest.source}: {lost[0]}{more}: a file of this machine, which the pods do not have; put it into a "
            "bucket and name its URL, or on the volume, mounted at the same path as here: --pvc CLAIM:PATH"
        )


def reachable(path: str, site: Site) -> bool:
    """Whether the pods have the file: at a URL, or below the claim's mount."""
    scheme, _, local = path.rpartition("://")
    if scheme not in {"", "file", "local"}:
        return scheme != "memory"
    return bool(site.claim) and f"{posixpath.normpath(local)}/".startswith(f"{posixpath.normpath(site.mount)}/")


def parse_toleration(text: str) -> dict[str, str]:
    """Parse `key[=value][:effect]` into a Kubernetes toleration.

    Raises:
        UsageError: the text has another form.
    """
    match = _TOLERATION.fullmatch(text)
    if match is None:
        raise UsageError(f"--toleration {text}: expected key[=value][:effect], e.g. nvidia.com/gpu=present:NoSchedule")
    meant = {"key": match["key"], "operator": "Exists"}
    if match["value"] is not None:
        meant |= {"operator": "Equal", "value": match["value"]}
    return meant | ({"effect": match["effect"]} if match["effect"] else {})


def parse_pair(option: str, text: str) -> tuple[str, str]:
    """Parse `key=value` of a label or an annotation.

    Raises:
        UsageError: the text has another form.
    """
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(_LABEL_KEY, key) or len(key.rpartition("/")[2]) > 63:
        raise UsageError(f"{option} {text}: expected key=value, e.g. kubernetes.io/arch=amd64")
    return key, value


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """Several `key=value` as a mapping."""
    return dict(parse_pair(option, text) for text in texts or ())


def _check_name(option: str, name: str | None, longest: int) -> None:
    # Names of at most 63 characters are DNS labels, which have no dots; longer ones are DNS names.
    labels = [] if name is None else name.split(".") if longest > 63 else [name]
    if name is not None and not (all(_NAME.fullmatch(label) for label in labels) and len(name) <= longest):
        raise UsageError(f"{option}: expected at most {longest} lower-case letters, digits and dashes, got '{name}'")

"""Cluster settings that complete a manifest, and checks that both are compatible."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lanewise.errors import UsageError
from lanewise.manifest.manifest import Manifest

WORKING_DIRECTORY = "/work"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL_KEY = r"(?:[a-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_TOLERATION = re.compile(
    rf"(?P<key>{_LABEL_KEY})(?:=(?P<value>[A-Za-z0-9_.-]*))?(?::(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?"
)
_QUANTITY = re.compile(r"[1-9][0-9]*(Mi|Gi|Ti|M|G|T)")


@dataclass(frozen=True)
class Site:
    """Cluster settings of a campaign; no result depends on them.

    Attributes:
        parallelism: largest number of chunks at a time; None: all, but at most 50.
        retries: further tries of a pod after an error that may be temporary.
        grace_s: time from SIGTERM to SIGKILL [s].
        deadline_s: how long the aggregation waits for the last commit [s].
        min_complete: fraction of chunks below which the aggregation exits with code 75; None: its default.
        claim: PersistentVolumeClaim for a local `output.url`, mounted at `mount`.
        secret: Secret whose keys become environment variables, such as credentials of the object store.
        queue: LocalQueue of Kueue that admits the chunks.
        gpu_resource: resource name of the GPUs, e.g. `nvidia.com/mig-1g.10gb` for partitions of a GPU.
        tolerations: each in the form `key[=value][:effect]`.

    Raises:
        UsageError: Kubernetes would refuse a value.
    """

    image: str
    namespace: str | None = None
    parallelism: int | None = None
    retries: int = 3
    grace_s: int = 120
    deadline_s: int = 86_400
    min_complete: float | None = None
    claim: str | None = None
    mount: str = WORKING_DIRECTORY
    service_account: str | None = None
    secret: str | None = None
    queue: str | None = None
    gpu_resource: str = "nvidia.com/gpu"
    aggregate_memory: str = "4Gi"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.image or re.search(r"\s", self.image):
            raise UsageError(f"--image: expected a name such as registry.example/lanewise:0.1, got '{self.image}'")
        _check_name("--namespace", self.namespace, 63)
        _check_name("--pvc", self.claim, 253)
        _check_name("--service-account", self.service_account, 253)
        _check_name("--env-secret", self.secret, 253)
        _check_name("--queue", self.queue, 63)
        if not self.mount.startswith("/") or posixpath.normpath(self.mount) in {"/", "/tmp", "/etc/lanewise"}:
            raise UsageError(f"--pvc: expected a directory of its own to mount at, such as /work, got '{self.mount}'")
        if not _QUANTITY.fullmatch(self.aggregate_memory):
            raise UsageError(f"--aggregate-memory: expected a quantity such as 4Gi, got '{self.aggregate_memory}'")
        for text in self.tolerations:
            toleration(text)


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


def toleration(text: str) -> dict[str, str]:
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


def _check_name(option: str, name: str | None, longest: int) -> None:
    if name is not None and not (_NAME.fullmatch(name) and len(name) <= longest):
        raise UsageError(f"{option}: expected at most {longest} lower-case letters, digits and dashes, got '{name}'")

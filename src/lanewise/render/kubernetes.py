"""A campaign as Kubernetes objects: a ConfigMap with the manifest, a Job for the chunks, a Job for the aggregation.

Plain `batch/v1`, Kubernetes 1.31 or later: no operator, no custom resource, no permissions in the cluster. The
aggregation polls the commits in storage. It does not depend on the chunk Job, which fails if a single index fails.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lanewise.errors import NOT_CONVERGED, ChunkImpossible, ManifestError, UsageError
from lanewise.machine import interrupts
from lanewise.manifest import registry, yaml_text
from lanewise.manifest.document import Document
from lanewise.manifest.locations import relocated
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan
from lanewise.render import patches as patching
from lanewise.render.site import (
    WORKING_DIRECTORY,
    Site,
    check_inputs,
    check_output,
    pairs,
    parse_toleration,
    reachable,
)
from lanewise.storage import claims, waits

Object = dict[str, Any]

MANIFEST_PATH = "/etc/lanewise/manifest.yaml"
_CODE = "/etc/lanewise/code"

# With more indexes than this, Kubernetes limits what may fail, and how many pods may run: pods get several chunks.
_MOST_INDEXES = 100_000
# Time between the end of our grace period and the kill of the pod [s].
_MARGIN_S = 20
_CONFIG_MAP_BYTES = 2**20
_AT_ONCE = 50
_QUEUE = "kueue.x-k8s.io/queue-name"


def jobs(manifest: Manifest, plan: Plan, site: Site, patches: Sequence[Document] = ()) -> str:
    """The objects for a campaign as YAML documents; equal arguments give equal text.

    Args:
        patches: strategic merge patches, applied last.

    Raises:
        UsageError: the results would not outlive their pods, the pods lack an input, or Kubernetes would refuse the
            objects.
    """
    found = patching.apply(objects(manifest, plan, site), patches)
    return _header(manifest, plan) + "".join(f"---\n{yaml_text.dump(each)}" for each in found)


def objects(manifest: Manifest, plan: Plan, site: Site) -> list[Object]:
    """The ConfigMap, the Job of the chunks and the Job of the aggregation.

    Raises:
        UsageError: see `jobs`.
    """
    check_output(manifest, site)
    check_inputs(manifest, site, _code(manifest, site))
    return [_config_map(manifest, site), _chunk_job(manifest, plan, site), _aggregation_job(manifest, site)]


def _header(manifest: Manifest, plan: Plan) -> str:
    chunks = f"{len(plan.indices)} chunk{'s' if len(plan.indices) > 1 else ''}"
    return (
        f"# Campaign {manifest.name}: {len(plan.realizations)} realizations in {chunks}.\n"
        "# Made by `lanewise render kubernetes`; render it again instead of editing it.\n"
        "#   kubectl apply --server-side -f FILE   starts it (a plain apply refuses above 256 KiB)\n"
        f"#   kubectl delete -f FILE                removes it; the results stay in {manifest.output.url}\n"
        "# A Job cannot be changed once it is there: delete first. What is committed is not computed again.\n"
    )


def _code(manifest: Manifest, site: Site) -> dict[str, str]:
    """The user's code that the pods do not have: path on this machine → path in the mounted folder."""
    found = registry.family(manifest.kind).code(manifest)
    return {} if all(reachable(path, site) for path in found) else dict(found)


def _code_keys(code: Mapping[str, str]) -> dict[str, str]:
    """Key in the ConfigMap → path in the mounted folder: keys have no slashes, and few other characters."""
    return {f"code-{number}": path for number, path in enumerate(code.values())}


def _config_map(manifest: Manifest, site: Site) -> Object:
    code = _code(manifest, site)
    content = relocated(dict(manifest.content), {path: f"{_CODE}/{name}" for path, name in code.items()})
    data = {posixpath.basename(MANIFEST_PATH): yaml_text.dump(content)}
    data |= {key: Path(path).read_text(encoding="utf-8") for key, path in zip(_code_keys(code), code, strict=True)}
    if (size := sum(len(text.encode()) for text in data.values())) > _CONFIG_MAP_BYTES:
        remedy = "split the campaign into several manifests"
        if code:
            remedy += ", or put the code into an image FROM lanewise, see docs/model.md"
        what = "the manifest and its code take" if code else "the manifest takes"
        raise UsageError(f"{manifest.source}: {what} {size} bytes, a ConfigMap holds {_CONFIG_MAP_BYTES}; {remedy}")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(manifest, site, "manifest"),
        "immutable": True,
        "data": data,
    }


def _chunk_job(manifest: Manifest, plan: Plan, site: Site) -> Object:
    n_chunks = len(plan.chunks)
    # Kept chunks are committed: a pod that meets one reuses it.
    n_present = (n_chunks - plan.first_new) or n_chunks
    n_pods = min(-(-n_present // site.chunks_per_pod), _MOST_INDEXES)
    args = ["run", MANIFEST_PATH, "--cluster"]
    if n_pods < n_chunks:
        args += ["--index-from", "JOB_COMPLETION_INDEX", "--of", str(n_pods)]
    needs = manifest.resources
    gpus = 0 if needs.device == "cpu" else needs.gpus
    resources = {
        "requests": {"cpu": needs.cpus, "memory": needs.memory},
        "limits": {"memory": needs.memory} | ({site.gpu_resource: gpus} if gpus else {}),
    }
    metadata = _metadata(manifest, site, "run")
    if site.queue:
        metadata["labels"][_QUEUE] = site.queue
        metadata["annotations"] = {"kueue.x-k8s.io/job-min-parallelism": "1"}
    spec: Object = {
        "completionMode": "Indexed",
        "completions": n_pods,
        "parallelism": min(n_pods, site.parallelism or _AT_ONCE),
        "backoffLimitPerIndex": site.retries,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": [*_rules(), _on_exit("FailIndex", NOT_CONVERGED, ChunkImpossible.exit_code)]},
        "template": _template(manifest, site, "run", args, resources),
    } | _ttl(site)
    if site.pod_deadline_s is not None:
        spec["template"]["spec"]["activeDeadlineSeconds"] = site.pod_deadline_s
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _aggregation_job(manifest: Manifest, site: Site) -> Object:
    args = ["aggregate", MANIFEST_PATH, "--wait", "--deadline", str(site.deadline_s)]
    if site.min_complete is not None:
        args += ["--min-complete", f"{site.min_complete:g}"]
    memory = {"memory": site.aggregate_memory}
    resources = {"requests": {"cpu": 1} | memory, "limits": memory}
    metadata = _metadata(manifest, site, "aggregate")
    template = _template(manifest, site, "aggregate", args, resources)
    # All tries of the Job share one deadline.
    job = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    template["spec"]["containers"][0]["env"].append({"name": waits.VARIABLE, "valueFrom": job})
    # Never in the queue of the chunks: it would hold quota while it waits for chunks that wait for quota.
    if site.aggregate_queue:
        metadata["labels"][_QUEUE] = site.aggregate_queue
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": site.retries,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _rules()},
            "template": template,
        }
        | _ttl(site),
    }


def _ttl(site: Site) -> Object:
    return {} if site.ttl_s is None else {"ttlSecondsAfterFinished": site.ttl_s}


def _rules() -> list[Object]:
    """Pod failure rules of every Job. The first match wins; an exit code without a rule counts as a retry."""
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return [
        {"action": "Ignore", "onPodConditions": [disrupted]},
        _on_exit("FailJob", UsageError.exit_code, ManifestError.exit_code),
    ]


def _on_exit(action: str, *codes: int) -> Object:
    return {
        "action": action,
        "onExitCodes": {"containerName": "lanewise", "operator": "In", "values": sorted(codes)},
    }


def _template(manifest: Manifest, site: Site, role: str, args: list[str], resources: Object) -> Object:
    spec: Object = {"restartPolicy": "Never", "terminationGracePeriodSeconds": site.grace_s}
    if site.service_account:
        spec["serviceAccountName"] = site.service_account
    if site.priority_class:
        spec["priorityClassName"] = site.priority_class
    if site.pull_secret:
        spec["imagePullSecrets"] = [{"name": name} for name in site.pull_secret]
    spec |= {"automountServiceAccountToken": False, "enableServiceLinks": False}
    if site.node_selector:
        spec["nodeSelector"] = pairs("--node-selector", site.node_selector)
    if site.toleration:
        spec["tolerations"] = [parse_toleration(text) for text in site.toleration]
    user = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), site.uid)
    spec["securityContext"] = {
        "runAsNonRoot": True,
        **({} if site.openshift else user | {"fsGroupChangePolicy": "OnRootMismatch"}),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec["containers"] = [_container(site, args, resources)]
    spec["volumes"] = [
        {"name": "manifest", "configMap": {"name": f"{manifest.name}-manifest"} | _items(manifest, site)},
        {"name": "tmp", "emptyDir": {}},
    ]
    if site.claim:
        spec["volumes"].append({"name": "output", "persistentVolumeClaim": {"claimName": site.claim}})
    annotations = pairs("--annotation", site.annotation)
    metadata = {"labels": _labels(manifest, site, role)} | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": spec}


def _items(manifest: Manifest, site: Site) -> Object:
    """Where the keys of the ConfigMap are mounted, if there is code."""
    name = posixpath.basename(MANIFEST_PATH)
    folder = posixpath.relpath(_CODE, posixpath.dirname(MANIFEST_PATH))
    keys = _code_keys(_code(manifest, site))
    items = [{"key": name, "path": name}, *({"key": key, "path": f"{folder}/{path}"} for key, path in keys.items())]
    return {"items": items} if keys else {}


def _container(site: Site, args: list[str], resources: Object) -> Object:
    """The container; only /tmp and the mounted volume are writable."""
    container: Object = {
        "name": "lanewise",
        "image": site.image,
        "args": args,
        "workingDir": WORKING_DIRECTORY,
    }
    container["env"] = [
        {"name": claims.NODE_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": interrupts.GRACE_VARIABLE, "value": str(max(site.grace_s - _MARGIN_S, site.grace_s // 2))},
    ]
    if site.gpu_resource not in resources["limits"]:
        # If NVIDIA's runtime is the default, a CUDA image exposes all GPUs even to a pod that requests none.
        container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    if site.env_secret:
        container["envFrom"] = [{"secretRef": {"name": site.env_secret}}]
    if site.ephemeral_storage:
        disk = {"ephemeral-storage": site.ephemeral_storage}
        resources = {kind: amounts | disk for kind, amounts in resources.items()}
    container["resources"] = resources
    container["securityContext"] = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container["volumeMounts"] = [
        {"name": "manifest", "mountPath": posixpath.dirname(MANIFEST_PATH), "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if site.claim:
        container["volumeMounts"].append({"name": "output", "mountPath": site.mount})
    return container


def _metadata(manifest: Manifest, site: Site, role: str) -> Object:
    """Metadata. The chunk Job has the campaign's name without a suffix: name and index must fit into 63 characters."""
    name = manifest.name if role == "run" else f"{manifest.name}-{role}"
    namespace = {"namespace": site.namespace} if site.namespace else {}
    return {"name": name, **namespace, "labels": _labels(manifest, site, role)}


def _labels(manifest: Manifest, site: Site, role: str) -> dict[str, str]:
    return pairs("--label", site.label) | {
        "app.kubernetes.io/name": "lanewise",
        "app.kubernetes.io/instance": manifest.name,
        "app.kubernetes.io/component": role,
    }

"""The rendered objects: valid for the API servers that we promise, and right where a schema cannot tell."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from typer.testing import CliRunner

from lanewise import errors
from lanewise.cli import app
from lanewise.errors import UsageError
from lanewise.manifest import planning, yaml_text
from lanewise.manifest.loading import load
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Computed, Plan
from lanewise.render import patches
from lanewise.render.kubernetes import MANIFEST_PATH, jobs
from lanewise.render.site import Site

ROOT = Path(__file__).parents[2]
LEVEL_0 = str(ROOT / "manifests/level0.yaml")
BUCKET = ("output.url=s3://bucket/level0",)
SITE = Site(image="registry.example/lanewise:0.2.0")
EVERYTHING = replace(
    SITE,
    namespace="lensing",
    parallelism=1,
    min_complete=0.9,
    service_account="campaigns",
    env_secret="bucket-credentials",
    queue="gpus",
    node_selector=["kubernetes.io/arch=amd64"],
    toleration=["nvidia.com/gpu=present:NoSchedule", "spot"],
)
CLAIMED = replace(SITE, pvc="results")


def campaign(*overrides: str) -> tuple[Manifest, Plan]:
    manifest = load(LEVEL_0, overrides)
    return manifest, planning.build(manifest)


def with_chunks(plan: Plan, count: int) -> Plan:
    return replace(plan, stretches=(Computed(count, plan.stretches[0].__getitem__),), size=1)


def render(site: Site = SITE, overrides: tuple[str, ...] = BUCKET) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(jobs(*campaign(*overrides), site)))


# The oldest that is promised, two between, and the newest whose schema is here.
VERSIONS = ["1.31", "1.33", "1.36", kubernetes_validate.latest_version()]
FITTED = replace(
    SITE,
    uid=2000,
    label=["azure.workload.identity/use=true", "team=y"],
    annotation=["example.org/note=any text: 1e3"],
    priority_class="low",
    pull_secret=["registry"],
    ephemeral_storage="10Gi",
    pod_deadline_s=3600,
    ttl_s=86400,
    queue="gpus",
    aggregate_queue="small",
)


def pod(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def container(job: dict[str, Any]) -> dict[str, Any]:
    [only] = pod(job)["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("site", "overrides"),
    [(SITE, BUCKET), (EVERYTHING, BUCKET), (CLAIMED, ()), (FITTED, BUCKET)],
    ids=["plain", "everything", "claim", "fitted"],
)
def test_strict_schema_of_every_promised_version_accepts_the_objects(
    version: str, site: Site, overrides: tuple[str, ...]
) -> None:
    documents = render(site, overrides)
    assert [each["kind"] for each in documents] == ["ConfigMap", "Job", "Job"]
    for each in documents:
        assert version.startswith(kubernetes_validate.validate(each, version, strict=True))


def test_strict_schema_would_notice_a_misspelt_field() -> None:
    job = render()[1]
    job["spec"]["backoffLimitPerIndexes"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_chunks_are_indexed_and_their_pods_never_restart_in_place() -> None:
    _, chunks, aggregation = render()
    spec = chunks["spec"]
    assert spec["completionMode"] == "Indexed"  # backoffLimitPerIndex needs it
    assert spec["completions"] == len(campaign()[1].chunks) == 2
    assert spec["parallelism"] == 2
    assert spec["backoffLimitPerIndex"] == 3
    for job in (chunks, aggregation):
        assert job["spec"]["podReplacementPolicy"] == "Failed"
        assert pod(job)["restartPolicy"] == "Never"  # a podFailurePolicy needs both


def test_failure_rules_follow_the_exit_codes() -> None:
    _, chunks, aggregation = render()
    rules = {job["metadata"]["name"]: job["spec"]["podFailurePolicy"]["rules"] for job in (chunks, aggregation)}
    for job_rules in rules.values():
        assert len(job_rules) <= 20
        assert job_rules[0] == {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
        for rule in job_rules[1:]:
            on_exit = rule["onExitCodes"]
            assert rule["action"] in {"FailJob", "FailIndex"}
            assert on_exit["operator"] == "In"
            assert on_exit["containerName"] == "lanewise"
            assert on_exit["values"] == sorted(set(on_exit["values"]))
            assert all(1 <= code <= 255 for code in on_exit["values"])
    by_action = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules["batched"][1:]}
    assert by_action == {"FailJob": [64, 65], "FailIndex": [2, 70]}
    # FailIndex needs backoffLimitPerIndex, which the aggregation has not.
    assert {rule["action"] for rule in rules["batched-aggregate"]} == {"Ignore", "FailJob"}


@pytest.mark.parametrize("error", [errors.StorageError, errors.Incomplete, errors.MachineError])
def test_failures_that_may_pass_are_counted(error: type[errors.LanewiseError]) -> None:
    for job in render()[1:]:
        for rule in job["spec"]["podFailurePolicy"]["rules"]:
            assert error.exit_code not in rule.get("onExitCodes", {}).get("values", [])


def test_pods_meet_restricted_pod_security() -> None:
    for job in render(CLAIMED, ())[1:]:
        spec, only = pod(job), container(job)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"]["allowPrivilegeEscalation"] is False
        assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert all(set(v) & {"configMap", "emptyDir", "persistentVolumeClaim"} for v in spec["volumes"])
        assert not set(spec) & {"hostNetwork", "hostPID", "hostIPC"}


def test_root_is_read_only_and_tmp_writable() -> None:
    for job in render()[1:]:
        assert container(job)["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"name": "tmp", "mountPath": "/tmp"} in container(job)["volumeMounts"]
        assert {"name": "tmp", "emptyDir": {}} in pod(job)["volumes"]


def test_every_mount_has_its_volume() -> None:
    for job in render(CLAIMED, ())[1:]:
        mounted = {mount["name"] for mount in container(job)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod(job)["volumes"]} == {"manifest", "tmp", "output"}


def test_commands_name_the_mounted_manifest() -> None:
    config_map, chunks, aggregation = render(replace(SITE, deadline_s=600, min_complete=0.95))
    assert container(chunks)["args"] == ["run", MANIFEST_PATH, "--cluster"]
    wait = ["--wait", "--deadline", "600", "--min-complete", "0.95"]
    assert container(aggregation)["args"] == ["aggregate", MANIFEST_PATH, *wait]
    for job in (chunks, aggregation):
        [mount] = [each for each in container(job)["volumeMounts"] if each["name"] == "manifest"]
        [volume] = [each for each in pod(job)["volumes"] if each["name"] == "manifest"]
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        assert [f"{mount['mountPath']}/{key}" for key in config_map["data"]] == [MANIFEST_PATH]


@pytest.mark.parametrize("name", ["batched", "1e3", "on", "0x1f"])
def test_mounted_manifest_is_the_same_campaign(name: str, tmp_path: Path) -> None:
    manifest, planned = campaign(*BUCKET, f"name='{name}'")
    config_map = yaml.safe_load(jobs(manifest, planned, SITE).split("---\n")[1])
    path = tmp_path / "manifest.yaml"
    path.write_text(config_map["data"]["manifest.yaml"], encoding="utf-8")
    mounted = load(str(path))
    assert replace(mounted, source=manifest.source) == manifest
    again = planning.build(mounted)
    assert [r.identity for r in again.realizations] == [r.identity for r in planned.realizations]
    assert again == planned


@pytest.mark.parametrize(
    ("overrides", "gpus"),
    [
        ((), 1),
        (("resources.gpus=2",), 2),
        (("resources.device=gpu",), 1),
        (("resources.device=cpu",), None),
        (("resources.gpus=0",), None),
    ],
)
def test_gpus_are_limits_and_are_hidden_from_pods_without_one(overrides: tuple[str, ...], gpus: int | None) -> None:
    _, chunks, aggregation = render(overrides=(*BUCKET, *overrides))
    hidden = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}]
    assert container(chunks)["resources"]["limits"].get("nvidia.com/gpu") == gpus
    assert container(chunks)["env"][2:] == ([] if gpus else hidden)
    assert "nvidia.com/gpu" not in container(aggregation)["resources"]["limits"]
    assert container(aggregation)["env"][2:-1] == hidden


@pytest.mark.parametrize(("grace_s", "ours"), [(120, "100"), (30, "15")])
def test_pods_know_their_node_and_end_before_they_are_killed(grace_s: int, ours: str) -> None:
    _, *rendered = render(replace(SITE, grace_s=grace_s))
    for job in rendered:
        node, grace = container(job)["env"][:2]
        assert node == {"name": "LANEWISE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
        assert grace == {"name": "LANEWISE_GRACE", "value": ours}


def test_chunks_ask_for_what_the_manifest_says() -> None:
    sized = ("resources.cpus=8", "resources.memory=3Gi")
    chunks = render(replace(SITE, gpu_resource="nvidia.com/mig-1g.10gb"), (*BUCKET, *sized))[1]
    assert container(chunks)["resources"] == {
        "requests": {"cpu": 8, "memory": "3Gi"},
        "limits": {"memory": "3Gi", "nvidia.com/mig-1g.10gb": 1},
    }


def test_the_sites_wishes_reach_both_pods_and_the_queue_only_the_chunks() -> None:
    documents = render(EVERYTHING)
    assert {each["metadata"]["namespace"] for each in documents} == {"lensing"}
    _, chunks, aggregation = documents
    assert chunks["spec"]["parallelism"] == 1
    assert chunks["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    # It would hold quota while it waits for chunks that wait for quota.
    assert "kueue.x-k8s.io/queue-name" not in aggregation["metadata"]["labels"]
    for job in (chunks, aggregation):
        assert pod(job)["serviceAccountName"] == "campaigns"
        assert pod(job)["nodeSelector"] == {"kubernetes.io/arch": "amd64"}
        assert container(job)["envFrom"] == [{"secretRef": {"name": "bucket-credentials"}}]
        assert pod(job)["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
            {"key": "spot", "operator": "Exists"},
        ]


def test_pods_fit_the_rules_of_their_cluster() -> None:
    _, chunks, aggregation = documents = render(FITTED)
    for each in documents:
        assert kubernetes_validate.validate(each, "1.31", strict=True)
        assert each["metadata"]["labels"]["azure.workload.identity/use"] == "true"
        assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "lanewise"
    assert [kubernetes_queue(each) for each in documents] == [None, "gpus", "small"]
    for job in (chunks, aggregation):
        assert job["spec"]["template"]["metadata"]["labels"]["team"] == "y"
        assert job["spec"]["template"]["metadata"]["annotations"] == {"example.org/note": "any text: 1e3"}
        assert {pod(job)["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {2000}
        assert (pod(job)["priorityClassName"], pod(job)["imagePullSecrets"]) == ("low", [{"name": "registry"}])
        assert all(kind["ephemeral-storage"] == "10Gi" for kind in container(job)["resources"].values())
        assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    assert (pod(chunks)["activeDeadlineSeconds"], "activeDeadlineSeconds" in pod(aggregation)) == (3600, False)


def kubernetes_queue(document: dict[str, Any]) -> str | None:
    queue: str | None = document["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
    return queue


def test_openshift_chooses_the_user_itself() -> None:
    for job in render(replace(SITE, openshift=True))[1:]:
        assert pod(job)["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_tries_of_the_aggregation_share_a_deadline() -> None:
    _, chunks, aggregation = render()
    field = {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
    assert {"name": "LANEWISE_WAIT", "valueFrom": {"fieldRef": field}} in container(aggregation)["env"]
    assert not [one for one in container(chunks)["env"] if one["name"] == "LANEWISE_WAIT"]


def test_label_of_ours_is_not_replaced() -> None:
    with pytest.raises(UsageError, match="lanewise sets this label"):
        replace(SITE, label=["app.kubernetes.io/name=mine"])


@pytest.mark.parametrize("value", ["y", "N", "yes", "off", "true", "0o17", "017", "1e3", "1_000", "12:30", "null", "~"])
def test_text_that_some_yaml_takes_for_something_else_is_quoted(value: str) -> None:
    text = jobs(*campaign(*BUCKET), replace(SITE, annotation=[f"a={value}"]))
    assert re.search(rf"^ +a: ['\"]{re.escape(value)}['\"]$", text, re.MULTILINE)


def test_longest_name_and_most_chunks_make_names_that_kubernetes_takes() -> None:
    manifest, planned = campaign(*BUCKET, f"name={'n' * 40}")
    documents = list(yaml.safe_load_all(jobs(manifest, with_chunks(planned, 1_000_000), SITE)))
    names = [each["metadata"]["name"] for each in documents]
    assert all(len(name) <= 63 for name in names)
    assert len(f"{names[1]}-999999") <= 63


@pytest.mark.parametrize(("n_chunks", "parallelism"), [(1, 1), (50, 50), (51, 50), (100_000, 50)])
def test_parallelism_is_the_chunks_or_fifty(n_chunks: int, parallelism: int) -> None:
    manifest, planned = campaign(*BUCKET)
    spec = list(yaml.safe_load_all(jobs(manifest, with_chunks(planned, n_chunks), SITE)))[1]["spec"]
    assert (spec["completions"], spec["parallelism"]) == (n_chunks, parallelism)
    assert "maxFailedIndexes" not in spec


@pytest.mark.parametrize(
    ("n_chunks", "per_pod", "n_pods"), [(100_000, 1, 100_000), (100_001, 1, 100_000), (10, 4, 3), (10, 99, 1)]
)
def test_pods_get_several_chunks_if_asked_for_or_if_there_are_too_many(
    n_chunks: int, per_pod: int, n_pods: int
) -> None:
    manifest, planned = campaign(*BUCKET)
    text = jobs(manifest, with_chunks(planned, n_chunks), replace(SITE, chunks_per_pod=per_pod))
    chunks = list(yaml.safe_load_all(text))[1]
    assert chunks["spec"]["completions"] == n_pods
    several = ["--index-from", "JOB_COMPLETION_INDEX", "--of", str(n_pods)]
    assert container(chunks)["args"][3:] == ([] if n_pods == n_chunks else several)


@pytest.mark.parametrize(
    ("url", "site", "complaint"),
    [
        ("results/x", SITE, r"local path.*--set output.url=s3://bucket/batched.*--pvc"),
        ("file:///data/x", SITE, "local path"),
        ("memory://x", SITE, "ends with the pod"),
        ("memory://x", CLAIMED, "ends with the pod"),
        ("../elsewhere", CLAIMED, "/elsewhere is not on the volume, which is mounted at /work"),
        ("/data/x", CLAIMED, "--pvc results:PATH"),
        ("/workshop", CLAIMED, "not on the volume"),
        ("s3://bucket/x", CLAIMED, "needs no volume"),
    ],
)
def test_results_that_would_end_with_the_pod_are_refused(url: str, site: Site, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        render(site, (f"output.url={url}",))


@pytest.mark.parametrize(("url", "mount"), [("results/x", "/work"), ("/data/x", "/data"), ("file:///data", "/data/")])
def test_claim_is_mounted_where_the_results_go(url: str, mount: str) -> None:
    for job in render(replace(SITE, pvc=f"results:{mount}"), (f"output.url={url}",))[1:]:
        assert {"name": "output", "mountPath": mount} in container(job)["volumeMounts"]
        assert container(job)["workingDir"] == "/work"


@pytest.mark.parametrize(
    ("path", "site", "complaint"),
    [
        ("s3://bucket/a.h5", SITE, ""),
        ("/data/in/a.h5", replace(SITE, pvc="results:/data"), ""),
        ("/data/in/a.h5", SITE, "/data/in/a.h5 and 1 more: a file of this machine.*--pvc CLAIM:PATH"),
        ("/data/in/a.h5", CLAIMED, "a file of this machine"),
        ("memory://a.h5", SITE, "a file of this machine"),
    ],
)
def test_inputs_that_the_pods_do_not_have_are_refused(path: str, site: Site, complaint: str) -> None:
    manifest, planned = campaign("output.url=/data/x" if site.pvc == "results:/data" else BUCKET[0])
    if site is CLAIMED:
        manifest, planned = campaign()
    named = [{"path": path, "sha256": "0" * 64}, {"path": f"{path}5", "sha256": "0" * 64}]
    manifest = replace(manifest, content={**manifest.content, "inputs": named})
    if not complaint:
        assert jobs(manifest, planned, site)
        return
    with pytest.raises(UsageError, match=complaint):
        jobs(manifest, planned, site)


def test_manifest_beyond_a_config_map_is_refused() -> None:
    manifest, planned = campaign(*BUCKET)
    big = replace(manifest, content={**manifest.content, "config": "c" * 2**20})
    with pytest.raises(UsageError, match="a ConfigMap holds 1048576"):
        jobs(big, planned, SITE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": ""},
        {"image": "two words"},
        {"namespace": "Upper"},
        {"pvc": "-dash"},
        {"queue": "q" * 64},
        {"pvc": "results:relative"},
        {"pvc": "results:/tmp"},
        {"aggregate_memory": "4 GB"},
        {"toleration": ["key:Sometimes"]},
        {"node_selector": ["pool"]},
        {"node_selector": ["pool=two words"]},
        {"label": ["key=" + "v" * 64]},
        {"annotation": ["no sign"]},
        {"namespace": "with.dot"},
        {"aggregate_queue": "Upper"},
        {"priority_class": "a..b"},
        {"pull_secret": ["-dash"]},
        {"ephemeral_storage": "ten"},
        {"gpu_resource": "gpu"},
    ],
)
def test_site_refuses_what_kubernetes_would(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        replace(SITE, **wrong)


def command_line(*args: str) -> str:
    result = CliRunner().invoke(app, ["render", "kubernetes", *args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def _examples() -> Any:
    place = importlib.util.spec_from_file_location("examples", ROOT / "k8s/render.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    return module


def test_examples_are_what_the_code_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = _examples().files()
    there = {str(path.relative_to(ROOT / "k8s")) for path in (ROOT / "k8s").rglob("*.yaml")}
    assert there == made.keys()
    for name, text in made.items():
        assert text == (ROOT / "k8s" / name).read_text(encoding="utf-8"), "run `make k8s`"


def test_overlays_give_the_objects_that_the_command_renders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    examples = _examples()
    base = list(yaml.safe_load_all((ROOT / "k8s/base/campaign.yaml").read_text(encoding="utf-8")))
    for name, overlay in examples.OVERLAYS.items():
        expected = examples.made(overlay)
        kustomization = yaml.safe_load((ROOT / f"k8s/overlays/{name}/kustomization.yaml").read_text(encoding="utf-8"))
        changes = [yaml_text.parse(one["patch"], name) for one in kustomization["patches"]]
        assert patches.apply(base, changes) == expected, name
        for each in expected:
            for version in VERSIONS:
                assert version.startswith(kubernetes_validate.validate(each, version, strict=True)), name
        if shutil.which("kubectl"):
            command = ["kubectl", "kustomize", f"k8s/overlays/{name}"]
            built = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = sorted(yaml.safe_load_all(built), key=lambda one: str(one["metadata"]["name"]))
            assert [canonical(one) for one in found] == [
                canonical(one) for one in sorted(expected, key=lambda one: str(one["metadata"]["name"]))
            ], name


def canonical(value: Any) -> Any:
    """Without the order of named entries, empty lists and the last newline of a text: kustomize changes them."""
    if isinstance(value, dict):
        return {key: canonical(part) for key, part in value.items() if part != []}
    if isinstance(value, list):
        parts = [canonical(part) for part in value]
        named = bool(parts) and all(isinstance(one, dict) and "name" in one for one in parts)
        return sorted(parts, key=lambda one: str(one["name"])) if named else parts
    return value.rstrip("\n") if isinstance(value, str) else value


def test_command_applies_patches_last(tmp_path: Path) -> None:
    patch = tmp_path / "patch.yaml"
    patch.write_text("kind: Job\nspec: {backoffLimit: 9}\n---\nkind: ConfigMap\nmetadata: {labels: {a: y}}\n")
    text = command_line(LEVEL_0, "--image", "lanewise", "--set", BUCKET[0], "--patch", str(patch))
    config_map, *both = yaml.safe_load_all(text)
    assert config_map["metadata"]["labels"]["a"] == "y"
    assert [job["spec"]["backoffLimit"] for job in both] == [9, 9]


def test_committed_example_is_what_the_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    options = ("--image", "registry.example/lanewise:0.2.0", "--set", "output.url=s3://bucket/level0")
    text = command_line("manifests/level0.yaml", *options)
    assert text == (ROOT / "k8s/level0.yaml").read_text(encoding="utf-8"), "run `make k8s`"


def test_command_writes_a_file_and_says_how_to_submit_it(tmp_path: Path) -> None:
    target = tmp_path / "jobs.yaml"
    options = (
        "--pvc",
        "results:/data",
        "--set",
        "output.url=/data/x",
        "--node-selector",
        "pool=gpu",
        "-o",
        str(target),
    )
    assert command_line(LEVEL_0, "--image", "lanewise", *options) == ""
    [claim] = [v for v in pod(list(yaml.safe_load_all(target.read_text()))[1])["volumes"] if v["name"] == "output"]
    assert claim["persistentVolumeClaim"] == {"claimName": "results"}


@pytest.mark.parametrize(
    ("option", "complaint"),
    [(("--node-selector", "pool"), "expected key=value"), (("-o", "/nowhere/x.yaml"), "cannot be written")],
)
def test_command_refuses_with_a_reason(option: tuple[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        command_line(LEVEL_0, "--image", "lanewise", "--set", BUCKET[0], *option)

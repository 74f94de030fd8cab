"""Strategic merge patches: what Kubernetes' own rules say of lists, null and directives; and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from lanewise.errors import UsageError
from lanewise.manifest import yaml_text
from lanewise.render import patches

JOB: dict[str, Any] = {
    "kind": "Job",
    "metadata": {"name": "a", "labels": {"x": "1"}},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "lanewise",
                        "args": ["run", "m"],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                    }
                ],
                "tolerations": [{"key": "k"}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        }
    },
}


def patched(text: str, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    return patches.apply(objects or [JOB], yaml_text.parse_all(text, "patch.yaml"))


def test_entries_with_an_identity_are_merged_and_other_lists_replaced() -> None:
    (job,) = patched("""
# the sidecar of the site
kind: Job
spec:
  template:
    spec:
      containers:
        - {name: lanewise, args: [validate], env: [{name: B, value: "3"}, {name: C, value: "4"}],
           volumeMounts: [{name: data, mountPath: /data}]}
        - {name: sidecar, image: s}
      tolerations: [{key: spot}]
      volumes: [{name: data, hostPath: null}, {name: tmp, $patch: delete}]
---
kind: Job
metadata: {labels: {x: null, y: "on"}}
""")
    spec = job["spec"]["template"]["spec"]
    first, second = spec["containers"]
    assert (first["args"], second["image"]) == (["validate"], "s")
    assert [(one["name"], one["value"]) for one in first["env"]] == [("A", "1"), ("B", "3"), ("C", "4")]
    assert [one["mountPath"] for one in first["volumeMounts"]] == ["/tmp", "/data"]
    assert (spec["tolerations"], spec["volumes"]) == ([{"key": "spot"}], [{"name": "data"}])
    assert job["metadata"]["labels"] == {"y": "on"}
    assert JOB["metadata"]["labels"] == {"x": "1"}


def test_a_directive_replaces_a_whole_mapping() -> None:
    assert patches.merged({"a": 1, "b": 2}, {"$patch": "replace", "c": 3}) == {"c": 3}


def test_patch_with_a_name_changes_one_object_and_without_all_of_its_kind() -> None:
    other = {"kind": "Job", "metadata": {"name": "b"}}
    found = patched("kind: Job\nmetadata: {name: b}\nspec: {n: 1}\n---\nkind: Job\nmore: yes\n", JOB, other)
    assert [one["spec"].get("n") for one in found] == [None, 1]
    assert [one["more"] for one in found] == ["yes", "yes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("spec: {}", "expected objects with a kind"),
        ("kind: Job\nmetadata: {name: c}", "fits none of these: Job a; got Job c"),
        ("kind: CronJob", "got CronJob"),
    ],
)
def test_patch_that_fits_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        patched(text)


@pytest.mark.parametrize(
    "change",
    [
        "kind: Job",
        "kind: Job\nmetadata: {labels: {x: null}}",
        "kind: Job\nspec: {template: {spec: {containers: [{name: lanewise, args: null, env: [{name: D, value: d}]}]}}}",
        "kind: Job\nspec: {template: {spec: {containers: [{name: lanewise, $patch: delete}], tolerations: []}}}",
    ],
)
def test_difference_leads_from_one_object_to_the_other(change: str) -> None:
    (after,) = patched(change)
    assert patches.merged(JOB, patches.difference(JOB, after) or {}) == after

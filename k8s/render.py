"""Write the examples of this folder again: `make k8s`. Objects and overlays come from `lanewise render kubernetes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanewise.manifest import loading, planning, yaml_text
from lanewise.render import patches
from lanewise.render.kubernetes import jobs, objects
from lanewise.render.site import Site

HERE = Path(__file__).parent
MANIFEST = "manifests/level0.yaml"
BASE = Site(image="registry.example/lanewise:0.2.0", pvc="results")
BUCKET = "output.url=s3://bucket/level0"


@dataclass(frozen=True)
class Overlay:
    """What an overlay changes: the site, and keys of the manifest."""

    site: Site
    overrides: tuple[str, ...] = ()


OVERLAYS = {
    "cpu": Overlay(BASE, ("resources.device=cpu",)),
    "gpu": Overlay(replace(BASE, toleration=["nvidia.com/gpu:NoSchedule"]), ("resources.device=gpu",)),
    "spot": Overlay(replace(BASE, toleration=["cloud.google.com/gke-spot=true:NoSchedule"], retries=6)),
    "kueue": Overlay(replace(BASE, queue="campaigns")),
    "s3": Overlay(replace(BASE, pvc=None, env_secret="bucket-credentials"), (BUCKET,)),
    "openshift": Overlay(replace(BASE, openshift=True)),
}


def made(overlay: Overlay) -> list[dict[str, Any]]:
    """The objects of an overlay, as the command renders them."""
    manifest = loading.load(MANIFEST, overlay.overrides)
    return objects(manifest, planning.build(manifest), overlay.site)


def files() -> dict[str, str]:
    """Every file of the examples by its path below this folder."""
    base = made(Overlay(BASE))
    alone = loading.load(MANIFEST, (BUCKET,))
    found = {
        "level0.yaml": jobs(alone, planning.build(alone), replace(BASE, pvc=None)),
        "base/kustomization.yaml": _kustomization({"resources": ["campaign.yaml"]}),
        "base/campaign.yaml": "".join(f"---\n{yaml_text.dump(one)}" for one in base),
    }
    for name, overlay in OVERLAYS.items():
        changes = [_patch(old, new) for old, new in zip(base, made(overlay), strict=True) if old != new]
        found[f"overlays/{name}/kustomization.yaml"] = _kustomization({"resources": ["../../base"], "patches": changes})
    return found


def _patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    change = patches.difference(old, new)
    metadata = {"name": old["metadata"]["name"], **change.pop("metadata", {})}
    return {
        "patch": yaml_text.dump({"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": metadata} | change)
    }


def _kustomization(content: Mapping[str, Any]) -> str:
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return f"# Made by `make k8s`; edit k8s/render.py instead.\n{yaml_text.dump({**head, **content})}"


if __name__ == "__main__":
    for path, text in files().items():
        target = HERE / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

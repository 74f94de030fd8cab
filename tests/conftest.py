"""Shared fixtures: small campaigns, and a problem whose posterior is known."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

from lanewise import campaign, plan

# Tests run where there is a GPU as they do where there is none.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

SCENE: dict[str, Any] = {
    "image": {"pixel_scale": 0.3, "size_x": 24, "size_y": 24, "fft_size": 64, "noise": {"sigma": 1e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.4},
    "gal": {
        "flux": 1.0,
        "half_light_radius": 0.5,
        "shear": {
            "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
            "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        },
    },
    "inference": {"method": "map"},
}
MANIFEST: dict[str, Any] = {
    "apiVersion": "lanewise/v1",
    "kind": "shear",
    "name": "test",
    "config": SCENE,
    "shear": {"grid": [0.01, 0.02]},
    "realizations": {"count": 2},
    "batch": {"size": 2, "width": 4},
    "output": {"url": "unset"},
}
Write = Callable[..., str]


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in plan.INDEX_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests compile once per session, and leave the user's cache alone unless one is named."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp().parent / "jax-cache"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a manifest with some keys replaced (`a__b=value` for a.b); returns its path."""

    def make(file: str = "manifest.yaml", url: str | None = None, **changes: Any) -> str:
        content = copy.deepcopy(MANIFEST)
        content["output"]["url"] = url or str(tmp_path / "results")
        for dotted, value in changes.items():
            *parents, leaf = dotted.split("__")
            node = content
            for parent in parents:
                node = node.setdefault(parent, {})
            if value is ...:
                node.pop(leaf)
            else:
                node[leaf] = value
        path = tmp_path / file
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return make


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty memory:// store."""
    fsspec.filesystem("memory").store.clear()
    yield "memory://bucket/run"
    fsspec.filesystem("memory").store.clear()


def tree(root: Path) -> dict[str, bytes]:
    """Every published file below a local output by relative path; what is under _lanewise/ is left out."""
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "_lanewise" not in p.parts
    }


def load(path: str, *overrides: str) -> campaign.Campaign:
    """The campaign of a manifest."""
    return campaign.load(path, overrides)

"""Versions, machine and source code that produced a commit."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lanewise.machine import host

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("lanewise", "jax", "jaxlib", "numpyro", "numpy", "scipy", "galsim", "h5netcdf", "fsspec")
# Variables that change how XLA and JAX compute; the rest of the environment is not recorded.
FLAGS = ("XLA_FLAGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "NVIDIA_TF32_OVERRIDE")


@cache
def versions() -> dict[str, str]:
    """Installed versions of the packages that affect the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Host, device and processor: XLA's programs depend on the CPU's model, which JAX does not report."""
    import jax

    device = jax.devices()[0]
    return {
        "host": platform.node(),
        "platform": device.platform,
        "device": device.device_kind,
        "processor": processor(),
    }


@cache
def processor() -> str:
    """The CPU's model and how many of them JAX may use, e.g. `Intel(R) Xeon(R) Gold 6338 × 8`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, platform.processor() or platform.machine())} × {len(host.affinity())}"


def flags() -> dict[str, str]:
    """Settings of XLA and JAX in the environment."""
    return {name: os.environ[name] for name in FLAGS if name in os.environ}


def inputs(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of the manifest with its config inlined, and of the config's normal form."""
    return {"manifest": _sha256(manifest), "config": _sha256(config)}


@cache
def source() -> dict[str, Any]:
    """SHA-256 of the package's modules, and its git commit if known; `modified`: whether files differ from it."""
    modules = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    return {"sha256": _sha256(modules), **_commit()}


def _commit() -> dict[str, Any]:
    try:
        installed = json.loads(metadata.distribution("lanewise").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        installed = {}
    if commit := installed.get("vcs_info", {}).get("commit_id"):
        return {"commit": commit}
    checkout = PACKAGE.parents[1]
    if not (checkout / ".git").exists():
        return {}
    commit, changes = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain", "--", "src")
    return {} if commit is None or changes is None else {"commit": commit, "modified": bool(changes)}


def _git(checkout: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

"""What a commit says of how it was made."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
PACKAGES = ("lanewise", "jax", "jaxlib", "numpyro", "numpy", "scipy", "galsim", "h5netcdf", "fsspec")
# What changes how XLA and JAX compute; nothing else of the environment is recorded.
FLAGS = ("XLA_FLAGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "NVIDIA_TF32_OVERRIDE")


@cache
def versions() -> dict[str, str]:
    """Installed versions of what fixes the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Host, device, and the processor: what XLA compiles for a CPU depends on its model, which JAX does not tell."""
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
    n_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{next(names, platform.processor() or platform.machine())} × {n_cores}"


def flags() -> dict[str, str]:
    """Settings of XLA and JAX in the environment."""
    return {name: os.environ[name] for name in FLAGS if name in os.environ}


def inputs(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 of what went in: the manifest with its config inlined, and the config's normal form."""
    return {"manifest": _sha256(manifest), "config": _sha256(config)}


@cache
def source() -> dict[str, Any]:
    """SHA-256 of the modules of the package, and its git commit if known; `modified` if files differ from that."""
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

"""A container engine, and the image built from this checkout; also on a host that reaches no image registry."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .engine import Engine

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/debian:trixie-slim"
IMAGE = "localhost/lanewise:test"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    command = next((name for name in ("podman", "docker") if shutil.which(name)), None)
    if command is None:
        pytest.fail("the container tests need podman or docker")
    environment = dict(os.environ)
    on_cgroup_v1 = not Path("/sys/fs/cgroup/cgroup.controllers").exists()
    if command == "podman" and on_cgroup_v1 and shutil.which("runc") and "CONTAINERS_CONF" not in environment:
        config = tmp_path_factory.mktemp("engine") / "containers.conf"
        config.write_text(_on_cgroup_v1(), encoding="utf-8")
        environment["CONTAINERS_CONF"] = str(config)
    return Engine(command, environment)


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    _need_base(engine, tmp_path_factory)
    pull = ("--pull=never",) if engine.command == "podman" else ()
    engine.must("build", *pull, *_site_secrets(tmp_path_factory), "--tag", IMAGE, str(ROOT))
    return IMAGE


def _on_cgroup_v1() -> str:
    """crun and systemd want cgroup v2; without CAP_SYS_RESOURCE, limits cannot be raised above this process's own."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return (
        f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    )


def _need_base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The base image: here already, from a registry, or made from Debian's own packages."""
    if engine.run("image", "inspect", BASE).returncode == 0 or engine.run("pull", BASE).returncode == 0:
        return
    if not shutil.which("mmdebstrap"):
        pytest.fail(f"{BASE} cannot be pulled, and there is no mmdebstrap to make it")
    tar = tmp_path_factory.mktemp("base") / "trixie.tar"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "trixie", str(tar)], check=True, timeout=600)
    engine.must("import", "--change", "CMD=bash", str(tar), BASE)
    tar.unlink()


def _site_secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A certificate authority that this host's pip needs is needed inside the build too."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.cert"], capture_output=True, text=True, check=False
    )
    authority = os.environ.get("PIP_CERT") or asked.stdout.strip()
    if not authority:
        return ()
    config = tmp_path_factory.mktemp("pip") / "pip.conf"
    config.write_text("[global]\ncert = /run/host-ca.crt\n", encoding="utf-8")
    return ("--secret", f"id=pipconf,src={config}", "--secret", f"id=hostca,src={authority}")

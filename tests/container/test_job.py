"""The rendered Job, carried out by its own rules with a container per pod, on a real S3 server, with mishaps."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import S3, Write
from lanewise.manifest import loading, planning
from lanewise.render import kubernetes
from lanewise.render.site import Site
from lanewise.storage.store import Store
from real import job as jobs
from real import mishaps

from .engine import Container, Engine, pod_run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (shutil.which("podman") or shutil.which("docker")), reason="neither podman nor docker"),
]


def test_twelve_chunks_in_containers_with_mishaps_give_the_bytes_of_one_run(
    engine: Engine,
    image: str,
    servers: Callable[[bool], S3],
    use_s3: Callable[[S3], None],
    write: Write,
    tmp_path: Path,
) -> None:
    relay = S3(behind=servers(False))
    try:
        use_s3(relay)
        # The Secret's variables. The host's network: the server listens on its 127.0.0.1 alone.
        secret = [f"--env={name}={value}" for name, value in relay.environment.items()]
        changes = mishaps.campaign("s3://bucket/contained", tmp_path)

        def rendered(name: str) -> tuple[str, dict[str, Any], dict[str, Path]]:
            """Path of a manifest, the Job of its chunks, and what is mounted into the pods."""
            path = write(f"{name}.yaml", f"s3://bucket/contained/{name}", **changes)
            manifest = loading.load(path)
            site = Site(image=image, env_secret="s3", parallelism=2)
            config_map, job, _ = yaml.safe_load_all(kubernetes.jobs(manifest, planning.build(manifest), site))
            mounted = tmp_path / name
            mounted.mkdir()
            for key, content in config_map["data"].items():
                (mounted / key).write_text(content, encoding="utf-8")
            return path, job, {"manifest": mounted}

        # Without an index, one container computes all chunks.
        _, job, volumes = rendered("whole")
        engine.must(*pod_run(job, volumes, *secret, network="host"))
        path, job, volumes = rendered("run")
        started: list[str] = []

        def start(index: int, job: dict[str, Any]) -> Container:
            name = f"lanewise-job-{tmp_path.name}-{len(started)}"
            started.append(name)
            more = (*secret, "--name", name, f"--env=JOB_COMPLETION_INDEX={index}")
            command = [engine.command, *pod_run(job, volumes, *more, network="host")]
            log = (tmp_path / f"pod-{index}.log").open("a")
            client = subprocess.Popen(
                command, env=engine.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )
            return Container(engine, name, client)

        made = mishaps.Mishaps(relay, Store("s3://bucket/contained/run"), {2: 2.0, 7: 4.0, 9: 6.0}, evicted_after_s=5.0)
        found = jobs.carry_out(job, start, made, mishaps.WITHIN_S)
        mishaps.check(path, found, made, "s3://bucket/contained/whole")
        assert len(started) == sum(len(codes) for codes in found.codes.values())
    finally:
        relay.kill()

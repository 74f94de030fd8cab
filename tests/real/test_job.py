"""The rendered Job, carried out by its own rules on a real S3 server, with kills, a poisoned image and a restart."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import S3, Write, load
from lanewise.manifest import loading, planning
from lanewise.render import kubernetes
from lanewise.render.kubernetes import MANIFEST_PATH
from lanewise.render.site import Site
from lanewise.storage.store import Store
from real import job as jobs
from real import mishaps
from real.job import Outcome, Pod

pytestmark = pytest.mark.real
COMMAND = (sys.executable, "-c", "from lanewise.cli import main; main()")


def _carry_out(path: str, tmp_path: Path, meanwhile: Callable[[list[Pod]], None]) -> Outcome:
    """The chunks' Job of a manifest, a process a pod, with the ConfigMap where it is mounted."""
    manifest = loading.load(path)
    text = kubernetes.jobs(manifest, planning.build(manifest), Site(image="i", env_secret="s3", parallelism=2))
    config_map, job, _ = yaml.safe_load_all(text)
    mounted = tmp_path / "manifest.yaml"
    mounted.write_text(config_map["data"]["manifest.yaml"])

    def start(index: int, job: dict[str, Any]) -> subprocess.Popen[str]:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        told = {one["name"]: one.get("value", "node-1") for one in container["env"]}
        arguments = [str(mounted) if word == MANIFEST_PATH else word for word in container["args"]]
        log = (tmp_path / f"pod-{index}.log").open("a")
        environment = {**os.environ, **told, "JOB_COMPLETION_INDEX": str(index)}
        return subprocess.Popen(
            [*COMMAND, *arguments], env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, text=True
        )

    return jobs.carry_out(job, start, meanwhile, mishaps.WITHIN_S)


def test_twelve_chunks_with_mishaps_give_the_bytes_of_one_run(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, tmp_path: Path
) -> None:
    relay = S3(behind=servers(False))
    try:
        use_s3(relay)
        changes = mishaps.campaign("s3://bucket/job", tmp_path)
        load(write("whole.yaml", "s3://bucket/job/whole", **changes)).run()
        path = write("job.yaml", "s3://bucket/job/run", **changes)
        made = mishaps.Mishaps(relay, Store("s3://bucket/job/run"), {2: 1.0, 7: 1.0, 9: 1.0}, evicted_after_s=3.0)
        found = _carry_out(path, tmp_path, made)
        mishaps.check(path, found, made, "s3://bucket/job/whole")
    finally:
        relay.kill()


def test_manifest_that_is_wrong_fails_the_job_at_once(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, tmp_path: Path
) -> None:
    use_s3(servers(False))
    path = write("job.yaml", "s3://bucket/wrong/run", realizations__count=4, batch__size=1)
    load(write("other.yaml", "s3://bucket/wrong/run", config__psf__sigma=0.5, batch__size=1)).run(0)
    found = _carry_out(path, tmp_path, lambda _: None)
    assert found.job_failed
    assert found.codes[0] == [65]
    # Of eight, only the two that ran beside each other.
    assert len(found.codes) <= 2

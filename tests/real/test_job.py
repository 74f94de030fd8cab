"""The rendered Job, carried out by its own rules on a real S3 server, with kills, a poisoned image and a restart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import S3, Write, load
from lanewise.manifest import loading, planning
from lanewise.operations import upkeep
from lanewise.render import kubernetes
from lanewise.render.kubernetes import MANIFEST_PATH
from lanewise.render.site import Site
from lanewise.storage import commits
from lanewise.storage.store import HOME, Store
from real import job as jobs
from real.job import Outcome, Pod

pytestmark = pytest.mark.real
N, POISONED = 12, 5
COMMAND = (sys.executable, "-c", "from lanewise.cli import main; main()")
WITHIN_S = 500.0
DOWN_S = 3.0
OK, KILLED, TERMINATED = 0, 137, 143


class Mishaps:
    """Kills the pods of three chunks, evicts one, and restarts the storage once, each while a pod computes.

    A pod is met after the given time; the storage goes down when four chunks are committed.
    """

    def __init__(self, relay: S3, front: Store) -> None:
        self._relay, self._front = relay, front
        self._kills, self._met = {2, 7, 9}, dict[int, float]()
        self._evicted = self._restarted = False

    def __call__(self, running: list[Pod]) -> None:
        now = time.monotonic()
        for pod in running:
            began = self._met.setdefault(pod.process.pid, now)
            if pod.index in self._kills and now - began > 1.0:
                self._kills.remove(pod.index)
                pod.kill()
            elif pod.index == 4 and not self._evicted and now - began > 3.0:
                self._evicted = True
                pod.evict()
        if not self._restarted and len(commits.indices(self._front)) >= 4:
            self._restarted = True
            self._relay.kill()
            time.sleep(DOWN_S)
            self._relay.start()

    @property
    def all_made(self) -> bool:
        return not self._kills and self._evicted and self._restarted


def _published(store: Store) -> dict[str, bytes]:
    return {path: store.read(path) for path in sorted(store.sizes_below("")) if not path.startswith(f"{HOME}/")}


def _carry_out(path: str, tmp_path: Path, meanwhile: Callable[[list[Pod]], None]) -> Outcome:
    """The chunks' Job of a manifest, with the ConfigMap where it is mounted."""
    manifest = loading.load(path)
    text = kubernetes.jobs(manifest, planning.build(manifest), Site(image="i", env_secret="s3", parallelism=2))
    config_map, job, _ = yaml.safe_load_all(text)
    mounted = tmp_path / "manifest.yaml"
    mounted.write_text(config_map["data"]["manifest.yaml"])

    def start(index: int, container: dict[str, Any]) -> subprocess.Popen[str]:
        told = {one["name"]: one.get("value", "node-1") for one in container["env"]}
        arguments = [str(mounted) if word == MANIFEST_PATH else word for word in container["args"]]
        log = (tmp_path / f"pod-{index}.log").open("a")
        environment = {**os.environ, **told, "JOB_COMPLETION_INDEX": str(index)}
        return subprocess.Popen(
            [*COMMAND, *arguments], env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, text=True
        )

    return jobs.carry_out(job, start, meanwhile, WITHIN_S)


def test_twelve_chunks_with_mishaps_give_the_bytes_of_one_run(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, tmp_path: Path
) -> None:
    behind = servers(False)
    relay = S3(behind=behind)
    try:
        use_s3(relay)
        rng = np.random.default_rng(1)
        images = rng.normal(scale=1e-3, size=(N, 24, 24)) + np.exp(-np.square(np.indices((24, 24)) - 11.5).sum(0) / 20)
        images[POISONED] = np.nan
        np.save(tmp_path / "stamps.npy", images)
        Store("s3://bucket/job").put("stamps.npy", (tmp_path / "stamps.npy").read_bytes())
        changes = {"shear": ..., "realizations": ..., "observations": {"images": "s3://bucket/job/stamps.npy"}}
        small = {"batch__size": 1, "resources": {"cpus": 1, "device": "cpu"}}
        whole = load(write("whole.yaml", "s3://bucket/job/whole", **changes, **small))
        whole.run()
        path = write("job.yaml", "s3://bucket/job/run", **changes, **small)
        store = Store("s3://bucket/job/run")
        mishaps = Mishaps(relay, store)
        found = _carry_out(path, tmp_path, mishaps)
        assert mishaps.all_made
        assert (found.succeeded, found.failed, found.job_failed) == (set(range(N)), set(), False), found
        assert [found.codes[index] for index in (2, 7, 9)] == [[KILLED, OK]] * 3
        # Before its handler is set, the signal itself ends a process.
        assert found.codes[4] in ([TERMINATED, OK], [OK])
        campaign = load(path)
        counts = [dict(campaign.record.commits()[index].counts) for index in range(N)]
        assert sum(count == {"ok": 1} for count in counts) == N - 1
        assert counts[POISONED] != {"ok": 1}
        assert _published(store) == _published(Store("s3://bucket/job/whole"))
        assert upkeep.verify(campaign.record).findings == ()
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

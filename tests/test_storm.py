"""Kills at every write and races for one chunk, on local disk and on both kinds of S3 server; see storm.py."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import S3, Write, load
from lanewise import upkeep
from lanewise.aggregate import stages
from lanewise.campaign import Campaign
from lanewise.store import TEMPORARY

SLOW = pytest.mark.slow


def _storm(what: str, kind: str, servers: Callable[[bool], S3], write: Write, tmp_path: Path, n: int = 0) -> Any:
    manifest = write(batch__size=1, shear={"grid": [0.01]})
    environment, url = dict(os.environ), str(tmp_path / "out")
    if kind != "local":
        environment |= servers(kind == "careless s3").environment
        url = f"s3://bucket/{tmp_path.name}"
    program = str(Path(__file__).with_name("storm.py"))
    command = [sys.executable, program, what, manifest, url, str(tmp_path / "log"), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=SLOW), pytest.param("careless s3", marks=SLOW)])
def test_killed_at_every_write_the_next_run_ends_in_the_same_bytes(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str
) -> None:
    told = _storm("kills", kind, servers, write, tmp_path)
    # Two chunks of one realization: manifest, probe, and each data, rows, view, commit and three files.
    assert told["points"] >= 15
    assert told["wrong"] == []


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        ("local", 5),
        *(pytest.param(kind, 20, marks=SLOW) for kind in ("local", "s3", "careless s3")),
    ],
)
def test_two_processes_on_one_chunk_end_in_one_truth(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str, n: int
) -> None:
    told = _storm("races", kind, servers, write, tmp_path, n)
    assert told["races"] == n
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_real_run_killed_at_random_moments_ends_in_the_same_bytes(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, tmp_path: Path, kind: str
) -> None:
    base = str(tmp_path)
    if kind == "s3":
        use_s3(servers(False))
        base = f"s3://bucket/{tmp_path.name}"
    settings: dict[str, Any] = {"batch__size": 1, "realizations__count": 6}
    whole = load(write("whole.yaml", url=f"{base}/whole", **settings))
    began = time.monotonic()
    assert _run(tmp_path / "whole.yaml").wait() == 0
    whole_s = time.monotonic() - began
    rng, n_kills, n_campaigns = random.Random(8), 0, 0
    while n_kills < 50:
        n_campaigns += 1
        name = f"killed{n_campaigns}"
        killed = load(write(f"{name}.yaml", url=f"{base}/{name}", **settings))
        seen: dict[int, str] = {}
        for _ in range(12):
            child = _run(tmp_path / f"{name}.yaml")
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=rng.uniform(0, 1.2 * whole_s))
            n_kills += child.poll() is None
            child.kill()
            child.wait()
            now = {index: commit.attempt for index, commit in killed.commits().items()}
            assert {index: now[index] for index in seen} == seen  # what is committed was not computed again
            seen = now
        assert _run(tmp_path / f"{name}.yaml").wait() == 0
        assert _published(killed) == _published(whole)
        assert upkeep.verify(killed).findings == ()


def _run(manifest: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("lanewise", path=str(Path(sys.executable).parent))
    assert program
    return subprocess.Popen([program, "run", str(manifest)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _published(campaign: Campaign) -> dict[str, bytes]:
    stages.write_summary(campaign)
    store = campaign.store
    names = [f"{r.run_id}/{name}" for r in campaign.plan.realizations for name in store.names(r.run_id)]
    return {
        name: store.read(name) for name in [*names, "summary.csv"] if not name.rpartition("/")[2].startswith(TEMPORARY)
    }

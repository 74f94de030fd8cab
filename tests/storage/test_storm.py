"""Kills at every write and races for one chunk, on local disk and on both kinds of S3 server; see storm.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import S3, Write

SLOW = pytest.mark.slow


def _storm(
    what: str,
    kind: str,
    servers: Callable[[bool], S3],
    write: Write,
    tmp_path: Path,
    n: int = 0,
    batch_size: int = 1,
    **changes: Any,
) -> Any:
    manifest = write(batch__size=batch_size, shear={"grid": [0.01]}, **changes)
    environment, url = dict(os.environ), str(tmp_path / "out")
    if kind != "local":
        environment |= servers(kind == "careless s3").environment
        url = f"s3://bucket/{tmp_path.name}"
    program = str(Path(__file__).parents[1] / "storm.py")
    command = [sys.executable, program, what, manifest, url, str(tmp_path / "log"), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["local", pytest.param("s3", marks=SLOW), pytest.param("careless s3", marks=SLOW)])
def test_killed_at_every_write_the_next_run_ends_in_the_same_bytes(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str
) -> None:
    told = _storm("kills", kind, servers, write, tmp_path)
    # Two chunks of one realization: manifest, probe, and each data, rows, view, commit and three files.
    assert told["points"] >= 15
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "careless s3"])
def test_killed_at_every_write_overwriting_leaves_the_old_results_or_the_new_ones(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str
) -> None:
    told = _storm("overwrites", kind, servers, write, tmp_path)
    assert told["points"] >= 20
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_killed_at_every_write_a_retry_leaves_the_old_results_or_the_new_ones(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str
) -> None:
    told = _storm("retries", kind, servers, write, tmp_path, batch_size=2)
    assert told["points"] >= 8
    assert told["wrong"] == []
    # What did not fail is as it was, but for the summary's other row.
    assert {path.partition("/")[0] for path in told["changed"]} == {"g1_+0.0100_g2_+0.0000_s43", "summary.csv"}


@pytest.mark.parametrize(
    ("what", "kind", "n"),
    [
        ("races", "local", 5),
        *(pytest.param("races", kind, 20, marks=SLOW) for kind in ("local", "s3", "careless s3")),
        *(pytest.param("overwriting_races", kind, 20, marks=SLOW) for kind in ("local", "s3", "careless s3")),
    ],
)
def test_two_processes_on_one_chunk_end_in_one_truth(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, what: str, kind: str, n: int
) -> None:
    told = _storm(what, kind, servers, write, tmp_path, n)
    assert told["races"] == n
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("method", ["map", "nuts"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_real_run_killed_at_random_moments_ends_in_the_same_bytes(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str, method: str, seed: int
) -> None:
    nuts = {"warmup": 200, "samples": 200, "chains": 2}
    inference = {"method": method, **({"nuts_config": nuts} if method == "nuts" else {})}
    settings: dict[str, Any] = {"config__inference": inference, "realizations__count": 6, "batch__width": 2}
    told = _storm("moments", kind, servers, write, tmp_path, seed, **settings)
    assert told["kills"] >= 9
    # A mode has no rounds of its own to speak of; a sampler's chunk is often killed within.
    assert method == "map" or told["resumed"] >= 2
    assert told["wrong"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_readers_in_loops_beside_writers_find_no_damage_and_no_attempt_is_lost(
    servers: Callable[[bool], S3], write: Write, tmp_path: Path, kind: str
) -> None:
    told = beside(kind, servers, write, tmp_path, rounds=60)
    assert told["attempts"] >= 60
    assert told["wrong"] == []


def beside(kind: str, servers: Callable[[bool], S3], write: Write, tmp_path: Path, rounds: int) -> Any:
    """What `beside.py` finds."""
    manifest, environment, url = write(batch__size=2), dict(os.environ), str(tmp_path / "out")
    if kind == "s3":
        environment |= servers(False).environment
        url = f"s3://bucket/{tmp_path.name}"
    program = str(Path(__file__).parents[1] / "beside.py")
    command = [sys.executable, program, manifest, url, str(tmp_path / "log"), str(rounds), "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)

"""Signals at random moments, to the parent, one worker or all: exit 0 only if everything is committed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import Write, load, tree

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
STAND_IN = [str(Path(__file__).parents[1] / "crew.py")]
REAL = ["-c", "from lanewise.cli import main; main()"]
NUTS = {"method": "nuts", "nuts_config": {"warmup": 100, "samples": 200}}
END_S = 60.0
needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")


@needs_two_cores
@pytest.mark.parametrize(
    ("program", "n_signals", "inference"),
    [
        pytest.param(STAND_IN, 2, {"method": "map"}, id="quick", marks=pytest.mark.long),
        pytest.param(STAND_IN, 100, {"method": "map"}, id="stand-in", marks=pytest.mark.slow),
        pytest.param(REAL, 100, NUTS, id="real", marks=pytest.mark.slow),
    ],
)
def test_exit_0_means_that_everything_is_committed(
    program: list[str], n_signals: int, inference: Any, write: Write, tmp_path: Path
) -> None:
    n_signals = int(os.environ.get("LANEWISE_TEST_SIGNALS", n_signals))
    rng = random.Random(n_signals)
    changes = {"batch__size": 1, "resources": {"cpus": 2}, "config__inference": inference}
    began = time.monotonic()
    whole = write("whole.yaml", url=str(tmp_path / "whole"), **changes)
    assert _finished(_start(program, whole))[0] == 0
    lasts_s = time.monotonic() - began
    expected = tree(tmp_path / "whole")
    sent = [(number, to) for to in ("one", "parent", "all") for number in SIGNALS] * (n_signals // 9 + 1)
    rng.shuffle(sent)
    finished = 0
    for number, to in sent[:n_signals]:
        # A campaign meets signals until it is complete; then comes the next one.
        url = tmp_path / f"results{finished}"
        path = write(f"{finished}.yaml", url=str(url), **changes)
        child = _start(program, path)
        crew = _signalled(child, number, to, rng.uniform(0.0, lasts_s))
        code, err = _finished(child)
        told = f"{number.name} to {to}: exit {code}\n{err}"
        _await_end(crew)
        missing = load(path).plan.chunks.n - len(load(path).record.commits())
        if code == 0:
            assert missing == 0, told
            assert tree(url) == expected, told
            finished += 1
        else:
            # A worker's death is not the end of a run.
            assert to != "one", told
            assert code in {143, 130, 75, *(-each for each in SIGNALS)}, told
    last = write("last.yaml", url=str(url), **changes)
    assert _finished(_start(program, last))[0] == 0
    assert tree(url) == expected


def _start(program: Sequence[str], path: str) -> subprocess.Popen[str]:
    command = [sys.executable, *program, "run", path, "--workers", "2"]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def _finished(child: subprocess.Popen[str]) -> tuple[int, str]:
    _, err = child.communicate(timeout=300)
    return child.returncode, err


def _signalled(child: subprocess.Popen[str], number: signal.Signals, to: str, after_s: float) -> list[int]:
    """Send the signal; returns the workers of that moment."""
    end = time.monotonic() + after_s
    crew = _workers(child.pid)
    while child.poll() is None and (time.monotonic() < end or (to == "one" and not crew)):
        time.sleep(0.01)
        crew = _workers(child.pid)
    targets = {"parent": [child.pid], "one": crew[-1:], "all": [child.pid, *crew]}[to]
    for pid in targets if child.poll() is None else ():
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return crew


def _workers(parent: int) -> list[int]:
    found = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == parent and b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            continue
    return found


def _await_end(pids: Sequence[int]) -> None:
    """Without their parent, workers end after their round."""
    end = time.monotonic() + END_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < end, "workers outlive their parent"
        time.sleep(0.05)

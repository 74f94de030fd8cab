"""Several processes at one campaign: the same bytes, no more threads than cores, one progress view, one end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import Lanewise, Write, load, tree
from lanewise.errors import UsageError
from lanewise.machine.progress import Silent
from lanewise.operations import workers
from lanewise.operations.workers import Share
from lanewise.storage import failures

SLOW = pytest.mark.slow
GRACE_S = 5.0
# The workers hear of a signal half a second later, and three interpreters end, on two cores that do other things too.
SLACK_S = 5.0
TWO = {"resources": {"cpus": 2}, "batch__size": 1}
needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")


class _View(Silent):
    """Remembers what one reporter is told of all workers; may act once two chunks are under way."""

    def __init__(self, act: Any = None) -> None:
        self.begun: list[tuple[str, int]] = []
        self.said: list[str] = []
        self._act = act

    def begin(self, what: str, total: int) -> None:
        self.begun.append((what, total))

    def step(self, done: int, note: str = "") -> None:
        if self._act is not None and "," in note:  # two chunks are under way
            self._act, act = None, self._act
            act()

    def say(self, event: str, text: str, **fields: Any) -> None:
        self.said.append(event)


@pytest.mark.long
@needs_two_cores
def test_two_workers_give_the_bytes_of_one_process(write: Write, tmp_path: Path) -> None:
    load(write("one.yaml", url=str(tmp_path / "one"), **TWO)).run()
    view = _View()
    campaign = load(write("two.yaml", url=str(tmp_path / "two"), **TWO))
    campaign.run(0)
    outcome = campaign.run(workers=2, progress=view)
    assert (outcome.computed, outcome.reused, dict(outcome.counts)) == (3, 1, {"ok": 4})
    assert tree(tmp_path / "two") == tree(tmp_path / "one")
    assert view.begun == [("2 workers", 3)]
    assert sorted(view.said) == [*["committed"] * 3, "reused"]
    # Each process saw one core, and no thread of XLA's had to share it.
    machines = [campaign.record.commits()[index].provenance["machine"]["processor"] for index in (1, 2, 3)]
    assert all(machine.endswith("× 1") for machine in machines)


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_chunk_of_a_dead_worker_is_taken_up_again_and_its_death_is_on_record(
    sent: signal.Signals, write: Write, tmp_path: Path
) -> None:
    import multiprocessing

    nuts = {"method": "nuts", "nuts_config": {"warmup": 500, "samples": 1000}}
    changes = {"realizations__count": 2, "config__inference": nuts, **TWO}
    campaign = load(write(**changes))

    def end() -> None:
        victim = multiprocessing.active_children()[0]
        assert victim.pid is not None
        os.kill(victim.pid, sent)

    view = _View(end)
    outcome = campaign.run(workers=2, progress=view)
    assert (outcome.computed, outcome.all_ok, view.said.count("lost")) == (4, True, 1)
    (death,) = failures.survey(campaign.store)
    how = "was killed by signal 9, perhaps out of memory" if sent == signal.SIGKILL else "ended with 143"
    assert (death.cause, death.message.startswith(f"its process {how}")) == ("WorkerLost", True)
    whole = load(write("whole.yaml", url=str(tmp_path / "whole"), **changes))
    whole.run()
    assert tree(tmp_path / "results") == tree(tmp_path / "whole")


@needs_two_cores
@pytest.mark.parametrize(
    "overwrite", [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=pytest.mark.long)]
)
def test_chunk_that_costs_every_worker_is_given_up_and_named(write: Write, overwrite: bool) -> None:
    path = write(realizations__count=1, **TWO)
    program = [sys.executable, str(Path(__file__).parents[1] / "crew.py"), "run", path, "--workers", "2"]
    if overwrite:
        subprocess.run(program[:-2], check=True, capture_output=True)
        program.append("--overwrite")
    environment = {**os.environ, "CREW_DIES": "1"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 75, done.stderr
    assert "its process was killed by signal 9" in done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["computed"], told["missing"], "not committed: chunk 1 of 2" in told["text"]) == (1, [1], True)
    record = load(path).record
    assert sorted(record.commits()) == ([0, 1] if overwrite else [0])
    # Nobody else is blamed, and the number of tries is bounded.
    assert [(one.chunk, one.cause) for one in failures.survey(record.store)] == [(1, "WorkerLost")] * 3


@needs_two_cores
@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_reaches_every_worker_and_the_next_run_completes(
    write: Write, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    nuts = {"method": "nuts", "nuts_config": {"warmup": 300, "samples": 700}}
    changes = {"config__inference": nuts, **TWO}
    path = write(**changes)
    program = [sys.executable, "-c", "from lanewise.cli import main; main()", "run", path, "--workers", "2"]
    environment = {**os.environ, "LANEWISE_GRACE": str(GRACE_S)}
    child = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stdout is not None
    while '"done": 0, "total": 4' not in child.stdout.readline():
        assert child.poll() is None
    began = time.monotonic()
    child.send_signal(sent)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, time.monotonic() - began < GRACE_S + SLACK_S) == (code, True), err
    left = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _parent(pid) == child.pid]
    assert left == []
    campaign = load(path)
    assert campaign.run(workers=2).all_ok
    whole = load(write("whole.yaml", url=str(tmp_path / "whole"), **changes))
    whole.run()
    assert tree(tmp_path / "results") == tree(tmp_path / "whole")


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("resources", "cores", "gpus", "n", "expected"),
    [
        ({"cpus": 4}, 8, [], 2, [Share((0, 1)), Share((2, 3))]),
        ({"cpus": 4}, 3, [], 2, [Share((0,)), Share((1, 2))]),
        ({"cpus": 4}, 8, [], 5, "resources.cpus is 4 and 8 cores are here; expected 1 to 4"),
        ({"cpus": 4, "gpus": 2}, 8, ["0", "3"], 2, [Share((0, 1), "0"), Share((2, 3), "3")]),
        ({"cpus": 4, "gpus": 2, "device": "cpu"}, 8, ["0", "3"], 2, [Share((0, 1)), Share((2, 3))]),
        ({"cpus": 4, "gpus": 1}, 8, ["0", "3"], 2, "resources.gpus is 1 and 2 are here; each worker needs one GPU"),
    ],
)
def test_workers_share_cores_and_gpus_within_the_resources(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, Any],
    cores: int,
    gpus: list[str],
    n: int,
    expected: Any,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr(workers, "_gpus", lambda: gpus)
    manifest = load(write(resources=resources)).manifest
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            workers.shares(manifest, n)
    else:
        assert workers.shares(manifest, n) == expected


def test_more_workers_than_cores_are_a_usage_error(lanewise: Lanewise, write: Write) -> None:
    code, _, err = lanewise("run", write(resources={"cpus": 1}), "--workers", "2")
    assert (code, err.startswith("--workers 2: resources.cpus is 1 and")) == (64, True)

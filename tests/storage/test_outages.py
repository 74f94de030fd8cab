"""A real `lanewise run` on an S3 server that is stopped or killed in the midst of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import S3, Write, load
from lanewise.api import Campaign
from lanewise.operations import upkeep
from lanewise.report.tables import frame_csv

pytestmark = pytest.mark.slow
DEADLINE_S = 8


@pytest.fixture
def server(servers: Callable[[bool], S3], use_s3: Callable[[S3], None]) -> Iterator[S3]:
    """A server that may die without losing what it has."""
    relay = S3(behind=servers(False))
    use_s3(relay)
    yield relay
    relay.kill()


def _stop(server: S3) -> None:
    server.send(signal.SIGSTOP)


def _go_on(server: S3) -> None:
    server.send(signal.SIGCONT)


OUTAGES: dict[str, tuple[Callable[[S3], None], Callable[[S3], None]]] = {
    "stopped": (_stop, _go_on),
    "killed": (S3.kill, S3.start),
}


def _run(path: str, server: S3) -> subprocess.Popen[str]:
    program = str(Path(sys.executable).with_name("lanewise"))
    environment = {**os.environ, **server.environment, "LANEWISE_STORAGE_DEADLINE": str(DEADLINE_S)}
    pipe = subprocess.PIPE
    return subprocess.Popen([program, "run", path], stdout=pipe, stderr=pipe, text=True, env=environment)


def _until_committed(run: subprocess.Popen[str], n: int) -> None:
    assert run.stdout is not None
    seen = 0
    while seen < n:
        line = run.stdout.readline()
        assert line, run.communicate()
        seen += json.loads(line)["event"] == "committed"


def _published(campaign: Campaign) -> dict[str, bytes]:
    campaign.store.put("summary.csv", frame_csv(campaign.summary))
    store = campaign.store
    names = [f"{r.run_id}/{name}" for r in campaign.plan.realizations for name in store.names(r.run_id)]
    return {name: store.read(name) for name in [*names, "summary.csv"]}


@pytest.fixture
def whole(server: S3, write: Write, tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed run publishes."""
    campaign = load(write("whole.yaml", url=f"s3://bucket/{tmp_path.name}/whole", batch__size=1))
    campaign.run()
    return _published(campaign)


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_server_that_comes_back_in_time_is_waited_for(
    server: S3, write: Write, tmp_path: Path, whole: dict[str, bytes], outage: str
) -> None:
    begin, end = OUTAGES[outage]
    path = write(url=f"s3://bucket/{tmp_path.name}/run", batch__size=1)
    run = _run(path, server)
    for n in (1, 1):  # in the second chunk, and in a later one
        _until_committed(run, n)
        begin(server)
        time.sleep(2)
        end(server)
    _, told = run.communicate(timeout=120)
    assert (run.returncode, told) == (0, "")
    assert _published(load(path)) == whole
    assert upkeep.verify(load(path).record).findings == ()


@pytest.mark.parametrize(("outage", "code", "text"), [("stopped", 75, "gave no answer"), ("killed", 74, "cannot be")])
def test_a_server_that_does_not_ends_the_run_within_the_deadline_and_nothing_is_torn(
    server: S3, write: Write, tmp_path: Path, whole: dict[str, bytes], outage: str, code: int, text: str
) -> None:
    begin, end = OUTAGES[outage]
    path = write(url=f"s3://bucket/{tmp_path.name}/run", batch__size=1)
    run = _run(path, server)
    _until_committed(run, 1)
    began = time.monotonic()
    begin(server)
    _, told = run.communicate(timeout=120)
    took_s = time.monotonic() - began
    end(server)
    assert run.returncode == code
    assert (text in told, told.count("\n")) == (True, 1)
    # One call's deadline, what it may move, and the end of a process on a busy machine.
    assert took_s < DEADLINE_S + 12
    campaign = load(path)
    before = campaign.record.commits()
    assert 1 <= len(before) < 4
    again = _run(path, server)
    _, told = again.communicate(timeout=120)
    assert (again.returncode, told) == (0, "")
    assert campaign.record.commits().items() >= before.items()
    assert _published(campaign) == whole
    assert upkeep.verify(campaign.record).findings == ()

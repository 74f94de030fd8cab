"""SIGTERM and SIGINT in every phase of a run: the exit code within the grace, and the same bytes after the next run."""

from __future__ import annotations

import copy
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import gaussian
from conftest import MANIFEST, Write, load, tree
from lanewise.operations import chunks

SLOW = pytest.mark.slow
TERM, INT = signal.SIGTERM, signal.SIGINT
CODES = {TERM: 143, INT: 130}
GRACE_S = 3.0
# Of a machine that does other things: for the interpreter to notice, and for the process to end.
SLACK_S = 2.0
QUIET_S = 5.0
# Of a width and with draws that other tests have, too: one program.
NUTS = {"method": "nuts", "nuts_config": {"warmup": 150, "samples": 400, "chains": 2}}
WIDTH = 8


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, seconds after the signal, and what it said on standard error."""

    code: int
    took_s: float
    err: str


def _signalled(phase: str, *arguments: str, sent: signal.Signals, times: int = 1, grace_s: float = GRACE_S) -> Ended:
    """Run a command line and send it a signal once it has come to the phase."""
    program = [sys.executable, str(Path(__file__).parents[1] / "phases.py"), phase, *arguments]
    environment = {**os.environ, "LANEWISE_GRACE": str(grace_s)}
    child = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    told = b""
    while b"HERE" not in told:
        told += (more := os.read(child.stdout.fileno(), 1000))
        assert more, told
    # The density is traced several times, for its value and its derivatives; after the last XLA is at work.
    while phase == "compiling" and select.select([child.stdout], [], [], QUIET_S)[0]:
        assert os.read(child.stdout.fileno(), 1000)
    began = time.monotonic()
    for _ in range(times):
        child.send_signal(sent)
        time.sleep(0.1)
    _, err = child.communicate(timeout=120)
    return Ended(child.returncode, time.monotonic() - began, err.decode())


def _campaign(write: Write, file: str, url: Path) -> str:
    return write(file, url=str(url), config__inference=NUTS, batch__width=WIDTH)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a campaign that no signal reaches publishes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    content = copy.deepcopy(MANIFEST)
    content["config"]["inference"] = NUTS
    content["batch"]["width"] = WIDTH
    content["output"]["url"] = str(folder / "results")
    (folder / "m.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "solver", gaussian.solver)
        load(str(folder / "m.yaml")).run()
    return tree(folder / "results")


@pytest.mark.long
@pytest.mark.parametrize("sent", [TERM, pytest.param(INT, marks=SLOW)])
@pytest.mark.parametrize(
    "phase", ["sampling", *(pytest.param(one, marks=SLOW) for one in ("compiling", "writing", "hanging"))]
)
def test_a_run_ends_within_the_grace_and_the_next_one_completes_to_the_same_bytes(
    write: Write,
    tmp_path: Path,
    undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
    sent: signal.Signals,
) -> None:
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    path = _campaign(write, "signalled.yaml", tmp_path / "signalled")
    ended = _signalled(phase, "run", path, sent=sent)
    assert ended.code == CODES[sent], ended.err
    assert ended.took_s < GRACE_S + SLACK_S
    assert "committed results are kept; run again to continue" in ended.err
    campaign = load(path)
    left = {phase: campaign.store.names(f"_lanewise/{phase}") for phase in ("commits", "checkpoints")}
    outlasted = "during a step longer than the grace period of 3 s" in ended.err
    if phase == "sampling":
        assert (left, outlasted) == ({"commits": [], "checkpoints": ["00000"]}, False)
    elif phase == "writing":
        assert (left, outlasted) == ({"commits": ["00000.commit"], "checkpoints": []}, False)
    else:
        assert (left["commits"], outlasted) == ([], True)
    outcome = campaign.run()
    assert outcome.all_ok
    resumed = [commit.provenance["rounds_resumed"] for commit in campaign.record.commits().values()]
    # The signal came as the third round began: it ended, and it was kept.
    assert resumed == ([3, 0] if phase == "sampling" else [0, 0])
    assert tree(tmp_path / "signalled") == undisturbed


@pytest.mark.parametrize("sent", [TERM, pytest.param(INT, marks=SLOW)])
def test_who_waits_for_others_ends_at_once(write: Write, sent: signal.Signals) -> None:
    ended = _signalled("waiting", "aggregate", write(), "--wait", sent=sent, grace_s=60)
    assert ended.code == CODES[sent], ended.err
    assert ended.took_s < SLACK_S


@pytest.mark.slow
def test_a_second_signal_ends_at_once(write: Write, tmp_path: Path) -> None:
    path = _campaign(write, "m.yaml", tmp_path / "results")
    ended = _signalled("hanging", "run", path, sent=TERM, times=2, grace_s=60)
    assert (ended.code, ended.took_s < SLACK_S) == (143, True)


def test_a_grace_that_is_no_number_is_a_usage_error(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "from lanewise.cli import main; main()", "--version"]
    done = subprocess.run(
        program, capture_output=True, text=True, env={**os.environ, "LANEWISE_GRACE": "soon"}, check=False
    )
    assert (done.returncode, done.stderr) == (64, "LANEWISE_GRACE: expected seconds ≥ 0, got 'soon'\n")

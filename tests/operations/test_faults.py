"""A hundred realizations in bad weather, on S3: what storage tells, what a retry mends, and what the report admits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import S3, Write, load
from gaussian import PRIOR
from lanewise.operations import upkeep

POISONED, PASSING, BENT = [45, 83, 127], [61, 110], [50, 77, 121]
WEATHER = {"poisoned": [*POISONED, *PASSING], "bent": BENT}
CALM = {"poisoned": POISONED, "bent": BENT}


class _Commands:
    """The command line of processes of their own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**os.environ, **environment, "LANEWISE_STORAGE_DEADLINE": "5"}

    def start(self, weather: dict[str, Any], *arguments: str) -> subprocess.Popen[str]:
        program = [sys.executable, str(Path(__file__).parents[1] / "faults.py"), json.dumps(weather), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(program, text=True, env=self._environment, **pipes)  # type: ignore[call-overload,no-any-return]

    def __call__(self, weather: dict[str, Any], *arguments: str) -> tuple[int, str]:
        child = self.start(weather, *arguments)
        out, err = child.communicate(timeout=300)
        return child.returncode, out + err

    def status(self, path: str) -> Any:
        code, out = self(CALM, "status", path, "--json")
        assert code == 0, out
        return json.loads(out)


@pytest.mark.slow
def test_a_campaign_in_bad_weather_is_told_mended_and_reported_as_it_is(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], write: Write, tmp_path: Path
) -> None:
    relay = S3(behind=servers(False))
    use_s3(relay)
    lanewise = _Commands(relay.environment)
    prior = {"type": "Normal", "mean": 0.0, "sigma": PRIOR}
    path = write(
        url=f"s3://bucket/{tmp_path.name}",
        config__gal__shear={"g1": prior, "g2": prior},
        config__inference={"method": "nuts", "nuts_config": {"warmup": 100, "samples": 100, "chains": 2}},
        convergence={"ess_min": 40, "rhat_max": 1.1},
        shear={"grid": [-0.1, 0.1]},
        realizations__count=50,
        batch={"size": 10, "width": 20},
        # Wide enough that only what is lost decides: σ of m is about 0.25.
        acceptance={"max_abs_m": 3.0},
    )
    try:
        _storm(lanewise, relay, path)
        _reported(lanewise, path, "INVALID", "8 excluded")
        before = {index: commit.attempt for index, commit in load(path).record.commits().items()}
        code, out = lanewise(CALM, "retry", path)
        assert (code, "8 realizations tried again, 5 of them ok now" in out) == (2, True), out
        told = lanewise.status(path)
        assert told["realizations"]["counts"] == {"ok": 97, "non_finite": 3}
        assert sorted(one["run_id"].rpartition("_s")[2] for one in told["not_ok"]) == sorted(map(str, POISONED))
        assert all(one["retries"] == 1 for one in told["not_ok"])
        assert len(told["retried"]) == 8
        assert told["next"] == f"lanewise aggregate {path}"
        # Seeds run from 42, ten to a chunk: these chunks had nothing to mend.
        touched = {(seed - 42) // 10 for seed in (*POISONED, *PASSING, *BENT)}
        after = {index: commit.attempt for index, commit in load(path).record.commits().items()}
        assert {index for index in after if after[index] != before[index]} == touched
        _reported(lanewise, path, "PASS", "3 excluded")
        assert upkeep.verify(load(path).record).findings == ()
    finally:
        relay.kill()


def _storm(lanewise: _Commands, relay: S3, path: str) -> None:
    """Two kills and an outage; after each, `status` says where the campaign stands. Then it completes."""
    for dies, n_committed in ((2, 2), (5, 5)):
        assert lanewise({**WEATHER, "die": dies}, "run", path)[0] == -9
        time.sleep(1.0)  # three beats
        told = lanewise.status(path)
        assert told["chunks"]["committed"] == n_committed
        assert [one["chunk"] for one in told["chunks"]["lost"]] == [dies]
        assert told["next"] == f"lanewise run {path}"
    child = lanewise.start(WEATHER, "run", path)
    assert child.stdout is not None
    while '"event": "committed"' not in child.stdout.readline():
        assert child.poll() is None
    relay.kill()
    _, err = child.communicate(timeout=120)
    assert (child.returncode, "cannot be reached" in err) == (74, True), err
    relay.start()
    assert lanewise.status(path)["chunks"]["committed"] in {6, 7}
    code, out = lanewise(WEATHER, "run", path)
    assert code == 2, out
    told = lanewise.status(path)
    assert (told["chunks"]["missing"], told["chunks"]["lost"]) == ([], [])
    assert told["realizations"]["counts"] == {"ok": 92, "non_finite": 5, "not_converged": 3}
    assert sum(one["n"] for one in told["causes"]) == 8
    assert told["next"] == f"lanewise retry {path}"


def _reported(lanewise: _Commands, path: str, verdict: str, said: str) -> None:
    code, out = lanewise(CALM, "aggregate", path)
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, verdict), out
    assert said in out
    report = load(path).store.read("report.html").decode()
    assert said in report
    assert "missing." in report

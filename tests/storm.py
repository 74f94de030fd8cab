"""A program that carries a small campaign out in bad weather; run as `python storm.py WHAT MANIFEST URL LOG N`.

`kills`, `overwrites`, `retries`, `races` and `overwriting_races`: a stand-in for the engine makes up results in no
time, so that storage is all there is. `moments`: the engine is the real one, with a checkpoint after every round. Every
run is a forked child of its own: it dies by its own SIGKILL at a given point, races another one, or is killed at a
random moment. Prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd  # noqa: F401  imported before the forks, which are then quick

from lanewise import api as campaigns
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.machine import provenance
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk, Realization
from lanewise.manifest.protocols import Keeper, Solver
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks, upkeep
from lanewise.report.tables import frame_csv
from lanewise.storage import commits, directories
from lanewise.storage.checkpoints import Policy
from lanewise.storage.record import Record
from lanewise.storage.store import Store

KILLS = 9
# A run is killed after a random number of steps, at most this many, and a random while, at most this long.
STEPS, WHILE_S = 15, 0.3
# The salt with which every odd seed fails, and the others come out as with the salt 1.
FAILING = 99


class StandIn:
    """In the engine's place: results from the seed and a salt; every chunk that it is asked for is noted in a log."""

    made: ClassVar[dict[str, Any]] = {}

    def __init__(self, log: Path, salt: int, gate: Callable[[], None]) -> None:
        self._log, self._salt, self._gate = log, salt, gate

    def run(self, chunk: Chunk, *_: Any) -> list[Result]:
        with self._log.open("a") as stream:
            stream.write(f"{chunk.index}\n")
        self._gate()
        return [self._result(realization) for realization in chunk.realizations]

    def _result(self, realization: Realization) -> Result:
        rng = np.random.default_rng([realization.planned.seed, self._salt if self._salt != FAILING else 1])
        if self._salt == FAILING and realization.planned.seed % 2:
            seed, truth = realization.planned.seed, realization.planned.truth
            return Result(realization.run_id, seed, LaneStatus.FAILED, "It was unlucky.", "map", truth)
        draws = {name: rng.normal(size=(1, 20)) for name in ("g1", "g2")}
        seed, truth = realization.planned.seed, realization.planned.truth
        return Result(realization.run_id, seed, LaneStatus.OK, "", "map", truth, draws)


class Deadly(Store):
    """Kills its own process before its n-th write; on a local store also between the steps of one."""

    def __init__(self, url: str, n: int) -> None:
        super().__init__(url)
        self._left = n
        if self._local:
            for name in ("replace", "link"):
                setattr(os, name, self._counted(getattr(os, name)))

    def put(self, path: str, data: bytes) -> None:
        self._tick()
        super().put(path, data)

    def create(self, path: str, data: bytes) -> bool:
        self._tick()
        return super().create(path, data)

    def remove(self, path: str) -> None:
        self._tick()
        super().remove(path)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._tick()
            return function(*arguments)

        return call

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def load(manifest: str, url: str, log: Path, store: Store | None = None, salt: int = 0, gate: Any = None) -> Campaign:
    found = campaigns.load(manifest, [f"output.url={url}"])
    if store is not None:
        found.record.__dict__["store"] = store
    found.record.__dict__["stand_in"] = StandIn(log, salt, gate or (lambda: None))
    return found


def _stand_in(record: Record, manifest: Manifest | None = None, *, retry: int = 0, before: Any = None) -> Solver:
    """The stand-in that `load` gave to the campaign; the engine where there is none."""
    own: Solver | None = record.__dict__.get("stand_in")
    return _engine(record, manifest, retry=retry, before=before) if own is None else own


_engine = chunks.solver
chunks.solver = _stand_in


def child(work: Callable[..., Any]) -> tuple[int, Any]:
    """The work's value from a process of its own, and how that ended: 0, or minus the signal.

    The work gets no arguments; it may have defaults, which hold what a loop's variables are.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, json.loads(text) if text else None


def published(found: Campaign) -> dict[str, str]:
    """Every published file by path, in hexadecimal; and the summary."""
    found.store.put("summary.csv", frame_csv(found.summary))
    names = [
        f"{run_id}/{n}" for r in found.plan.realizations for run_id in [r.run_id] for n in found.store.names(run_id)
    ]
    names = [name for name in names if not name.rpartition("/")[2].startswith(".")]
    return {name: found.store.read(name).hex() for name in [*names, "summary.csv"]}


def kills(manifest: str, url: str, log: Path, _: int) -> dict[str, Any]:
    def undisturbed() -> Any:
        found = load(manifest, f"{url}/whole", log)
        found.run()
        return published(found)

    _, expected = child(undisturbed)
    wrong: list[str] = []
    n = 0
    while True:
        n += 1
        log.unlink(missing_ok=True)
        here = f"{url}/{n}"

        def die(n: int = n, here: str = here) -> None:
            load(manifest, here, log, Deadly(here, n)).run()

        def again(here: str = here) -> Any:
            found = load(manifest, here, log)
            before = [chunk for chunk in found.plan.chunks if commits.read(found.store, chunk) is not None]
            log.unlink(missing_ok=True)
            outcome = found.run()
            computed = log.read_text().split() if log.exists() else []
            findings = [finding.text for finding in upkeep.verify(found.record).findings]
            return [[c.index for c in before], list(map(int, computed)), outcome.computed, published(found), findings]

        status, _ = child(die)
        if status == 0:
            return {"points": n - 1, "wrong": wrong}
        _, told = child(again)
        if status != -signal.SIGKILL or told is None:
            wrong.append(f"point {n}: ended with {status}")
            continue
        before, computed, n_computed, files, findings = told
        if set(before) & set(computed) or n_computed != len(computed):
            wrong.append(f"point {n}: committed {before}, computed again {computed}")
        if files != expected or findings:
            wrong.append(f"point {n}: files differ; {findings}")


def overwrites(manifest: str, url: str, log: Path, _: int) -> dict[str, Any]:
    """Kills `run --overwrite` at every write; the old results have the salt 1, the new ones 2."""
    old, new = (child(lambda salt=salt: _whole(manifest, f"{url}/{salt}", log, salt))[1] for salt in (1, 2))
    wrong: list[str] = []
    n = 0
    while True:
        n += 1
        here = f"{url}/overwritten{n}"
        child(lambda here=here: _whole(manifest, here, log, 1))
        status, _ = child(
            lambda here=here, n=n: load(manifest, here, log, Deadly(here, n), salt=2).run(overwrite=True).computed
        )
        ended, told = child(lambda here=here: _after(load(manifest, here, log), old, new))
        if status == 0:
            wrong += [] if told == [2, 2] else [f"undisturbed: {told}"]
            return {"points": n - 1, "wrong": wrong}
        if status != -signal.SIGKILL or ended != 0 or told not in ([1, 1], [2, 1], [2, 2]):
            wrong.append(f"point {n}: ended with {status}, {told}")


def retries(manifest: str, url: str, log: Path, _: int) -> dict[str, Any]:
    """Kills `retry` at every write; one realization of two failed at first, and nothing may happen to the other."""
    old = child(lambda: _whole(manifest, f"{url}/old", log, FAILING))[1]
    child(lambda: _whole(manifest, f"{url}/new", log, FAILING))
    new = child(lambda: _retried(manifest, f"{url}/new", log))[1]
    wrong: list[str] = []
    n = 0
    while True:
        n += 1
        here = f"{url}/retried{n}"
        child(lambda here=here: _whole(manifest, here, log, FAILING))
        status, _ = child(lambda here=here, n=n: load(manifest, here, log, Deadly(here, n), salt=1).retry().n_tried)
        # Whatever was cut off, the directories are of one commit, the old one or the new; then the retry ends.
        ended, between = child(lambda here=here: _after_retry(load(manifest, here, log, salt=1)))
        last, after = child(lambda here=here: _retried(manifest, here, log))
        if (ended, last) != (0, 0) or between not in (old, new) or after != new:
            wrong.append(f"point {n}: ended with {status}, {ended}, {last}")
        if status == 0:
            return {
                "points": n - 1,
                "wrong": wrong,
                "changed": sorted(path for path in new if old.get(path) != new[path]),
            }


def _retried(manifest: str, here: str, log: Path) -> dict[str, str]:
    found = load(manifest, here, log, salt=1)
    found.retry()
    assert not upkeep.verify(found.record).findings
    return published(found)


def _after_retry(found: Campaign) -> dict[str, str]:
    found.run()
    assert not upkeep.verify(found.record).findings
    return published(found)


def _whole(manifest: str, here: str, log: Path, salt: int) -> dict[str, str]:
    found = load(manifest, here, log, salt=salt)
    found.run()
    return published(found)


def _after(found: Campaign, old: dict[str, str], new: dict[str, str]) -> list[Any]:
    """The salt of every chunk's results, what is wrong besides, before and after a run that has nothing to compute."""

    def salt(files: dict[str, str]) -> list[int]:
        return [salt for salt, source in ((1, old), (2, new)) if source.items() >= files.items()]

    wrong: list[Any] = []
    told: list[Any] = []
    for chunk in found.plan.chunks:
        commit = commits.read(found.store, chunk)
        assert commit is not None
        held = {path: data.hex() for path, data in _files(found, commit)}
        told += salt(held)
        for run_id in chunk.run_ids:
            names = found.store.names(run_id)
            shown = {f"{run_id}/{name}": found.store.read(f"{run_id}/{name}").hex() for name in names if name[0] != "."}
            if not salt(shown):
                wrong.append(f"{run_id} is a mixture")
    outcome = found.run()
    wrong += [finding.text for finding in upkeep.verify(found.record).findings]
    wrong += [f"{outcome.computed} chunks computed again"] * bool(outcome.computed)
    return told + wrong


def overwriting_races(manifest: str, url: str, log: Path, n_races: int) -> dict[str, Any]:
    """Both racers replace what a third one had committed."""
    return races(manifest, url, log, n_races, overwrite=True)


def races(manifest: str, url: str, log: Path, n_races: int, overwrite: bool = False) -> dict[str, Any]:
    wrong: list[str] = []
    winners: list[int] = []
    for n in range(n_races):
        here = f"{url}/race{n}"
        if overwrite:
            child(lambda here=here: load(manifest, here, log, salt=3).run(0).computed)
        arrived, go = os.pipe(), os.pipe()

        def gate(arrived: tuple[int, int] = arrived, go: tuple[int, int] = go) -> None:
            os.write(arrived[1], b"x")
            os.read(go[0], 1)

        def race(salt: int, here: str = here) -> int:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    outcome = load(manifest, here, log, salt=salt, gate=gate).run(0, overwrite=overwrite)
                    code = 0 if outcome.all_ok else 1
                finally:
                    os._exit(code)
            return pid

        racers = [race(1), race(2)]
        for _ in racers:
            os.read(arrived[0], 1)
        os.write(go[1], b"xx")
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in racers]
        for end in (*arrived, *go):
            os.close(end)

        def judge(here: str = here) -> Any:
            found = load(manifest, here, log)
            findings = [finding.text for finding in upkeep.verify(found.record).findings]
            chunk = found.plan.chunks[0]
            commit = commits.read(found.store, chunk)
            assert commit is not None
            held = {path: data.hex() for path, data in _files(found, commit)}
            shown = {path: found.store.read(path).hex() for path in held}
            means = [row["g1_mean"] for row in commits.load_rows(found.store, commit)]
            salts = [s for s in (1, 2) if _means(found, chunk, s, log) == means]
            return [findings, shown == held, salts]

        status, told = child(judge)
        if codes != [0, 0] or status != 0 or told[0] or not told[1] or len(told[2]) != 1:
            wrong.append(f"race {n}: racers ended with {codes}; {told}")
        else:
            winners += told[2]
    return {"races": n_races, "winners": winners, "wrong": wrong}


class Telling(Silent):
    """Writes a byte into a pipe at every step of a run, also where a step is of storage alone."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def step(self, done: int, note: str = "") -> None:
        os.write(self._pipe, b"x")

    def say(self, event: str, text: str, **fields: Any) -> None:
        os.write(self._pipe, b"x")


def moments(manifest: str, url: str, log: Path, seed: int) -> dict[str, Any]:
    """Kills the real engine's runs, campaign after campaign, each until it is whole."""
    rng = random.Random(seed)
    kills = campaigns_done = resumed = 0
    wrong: list[str] = []
    child(lambda: _real_run(_real(manifest, f"{url}/whole"), log, os.open(os.devnull, os.O_WRONLY)))
    _, (_, _, expected) = child(lambda: _judged(_real(manifest, f"{url}/whole")))
    while kills < KILLS:
        here = f"{url}/{campaigns_done}"
        died = True
        before: dict[str, str] = {}

        def run(pipe: int, here: str = here) -> None:
            _real_run(_real(manifest, here), log, pipe)

        while died:
            log.unlink(missing_ok=True)
            died = _killed(run, rng)
            kills += died
            computed = log.read_text().split() if log.exists() else []
            _, now = child(lambda here=here: {i: c.attempt for i, c in _real(manifest, here).record.commits().items()})
            if set(before) & set(computed) or {index: now[index] for index in before} != before:
                wrong.append(f"campaign {campaigns_done}: committed {before}, computed again {computed}, now {now}")
            before = now
        _, (findings, rounds, files) = child(lambda here=here: _judged(_real(manifest, here)))
        resumed += sum(map(bool, rounds))
        if files != expected or findings:
            wrong.append(f"campaign {campaigns_done}: files differ; {findings}")
        campaigns_done += 1
    return {"kills": kills, "campaigns": campaigns_done, "resumed": resumed, "wrong": wrong}


def _real(manifest: str, here: str) -> Campaign:
    policy = Policy(long_s=0, interval_s=0, share=1e9)
    return replace(campaigns.load(manifest, [f"output.url={here}"]), checkpoints=policy)


def _real_run(found: Campaign, log: Path, pipe: int) -> None:
    from lanewise.engine.engine import Engine

    compute = Engine.run

    def noted(
        self: Engine, chunk: Chunk, progress: Reporter | None = None, keeper: Keeper | None = None
    ) -> list[Result]:
        with log.open("a") as stream:
            stream.write(f"{chunk.index}\n")
        return compute(self, chunk, progress, keeper)

    Engine.run = noted  # type: ignore[method-assign]
    found.run(progress=Telling(pipe))


def _judged(found: Campaign) -> Any:
    findings = [finding.text for finding in upkeep.verify(found.record).findings]
    rounds = [commit.provenance["rounds_resumed"] for commit in found.record.commits().values()]
    return [findings, rounds, published(found)]


def _killed(run: Callable[[int], None], rng: random.Random) -> bool:
    """Whether the run, in a process of its own, was killed before its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            run(writer)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    left = rng.randint(1, STEPS)
    while left > 0 and (told := os.read(reader, left)):
        left -= len(told)
    time.sleep(rng.uniform(0, WHILE_S))
    os.kill(pid, signal.SIGKILL)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def _files(found: Campaign, commit: commits.Commit) -> Iterable[tuple[str, bytes]]:
    return directories.files_of(commit.settings, commits.load_results(found.store, commit))


def _means(found: Campaign, chunk: Chunk, salt: int, log: Path) -> list[float]:
    results = StandIn(log, salt, lambda: None).run(chunk)
    return [float(np.mean(result.posterior["g1"])) for result in results]


if __name__ == "__main__":
    what, manifest_path, base, log_path, n_times = sys.argv[1:]
    if what == "moments":
        # Only imported: a process that has used JAX cannot be forked.
        campaigns.load(manifest_path)
    else:
        # The device has no part in this, and importing JAX in every child would take minutes.
        nowhere = dict.fromkeys(("host", "platform", "device", "processor"), "none")
        provenance.machine = lambda: nowhere
        # What a whole run imports here is not imported by every child; no connection is made before the forks.
        with tempfile.TemporaryDirectory() as place:
            whole = load(manifest_path, f"{place}/results", Path(place, "log"))
            whole.run()
            upkeep.verify(whole.record)
            published(whole)
    if base.startswith("s3:"):
        import s3fs  # noqa: F401
    works = {work.__name__: work for work in (kills, overwrites, retries, races, overwriting_races, moments)}
    print(json.dumps(works[what](manifest_path, base, Path(log_path), int(n_times))))

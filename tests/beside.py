"""Readers in loops beside writers of one campaign; run as `python beside.py MANIFEST URL LOG ROUNDS SEED`.

Every round starts two or three writers (`run --overwrite`, or `retry`) and three readers (`verify`, `status`, the rows
of `aggregate`, `export`), each in a process of its own; the readers go on until the writers have ended. A stand-in for
the engine makes up results in no time: odd seeds fail, however often they are retried, so that every retry adds an
attempt. Prints what it found as JSON: everything that a reader took for damage, every process that did not end well,
and every attempt that was computed and is not on record.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd  # noqa: F401  imported before the forks, which are then quick

from lanewise import api
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.machine import provenance
from lanewise.manifest.plan import Chunk
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks, status, upkeep
from lanewise.storage.record import Record

# Rounds in one campaign; the list of attempts grows with each.
_ROUNDS_OF_ONE = 20


class StandIn:
    """Results of the same size and other bits in every process; attempts of retries are noted in a log."""

    made: ClassVar[dict[str, Any]] = {}
    log: ClassVar[Path]

    def __init__(self, retry: int) -> None:
        self._retry = retry

    def run(self, chunk: Chunk, *_: Any) -> list[Result]:
        found = []
        for one in chunk.realizations:
            seed, truth = one.planned.seed, one.planned.truth
            if seed % 2:
                found.append(Result(one.run_id, seed, LaneStatus.FAILED, "It was unlucky.", "map", truth))
            else:
                draws = {name: np.random.default_rng().normal(size=(1, 20)) for name in ("g1", "g2")}
                found.append(Result(one.run_id, seed, LaneStatus.OK, "", "map", truth, draws))
            if self._retry:
                with self.log.open("a") as stream:
                    stream.write(f"{one.run_id} {self._retry}\n")
        return found


def _solver(record: Record, manifest: Any = None, *, retry: int = 0, before: object = None) -> StandIn:
    return StandIn(retry)


def _verify(campaign: Campaign) -> list[str]:
    return [finding.text for finding in upkeep.verify(campaign.record).findings]


def _status(campaign: Campaign) -> list[str]:
    found = status.status(campaign.record, "m")
    advice = ["it advises to verify"] if found.next.startswith("lanewise verify") else []
    missing = [f"missing: {found.chunks.missing}"] if found.chunks.missing else []
    return [*found.chunks.damaged.values(), *advice, *missing]


def _rows(campaign: Campaign) -> list[str]:
    rows, damaged = campaign.record.rows()
    return [*map(str, damaged.values()), *([] if len(rows) == 4 else [f"{len(rows)} rows"])]


def _export(campaign: Campaign) -> list[str]:
    return [] if upkeep.export(campaign.record) == 4 else ["not all exported"]


READERS = {"verify": _verify, "status": _status, "rows": _rows, "export": _export}


def _child(work: Callable[[], object], told: Path) -> int:
    """Start a process; what goes wrong in it is appended to a file."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            _tell(told, [traceback.format_exc()[-1500:]])
        finally:
            os._exit(code)
    return pid


def main(manifest: str, url: str, log: Path, rounds: int, seed: int) -> dict[str, Any]:
    rng = random.Random(seed)
    StandIn.log = log
    told, looks = log.with_suffix(".told"), log.with_suffix(".looks")
    n_attempts = 0
    for number in range(rounds):
        here = f"output.url={url}/{number // _ROUNDS_OF_ONE}"
        if number % _ROUNDS_OF_ONE == 0:
            os.waitpid(_child(api.load(manifest, [here]).run, told), 0)
        overwriting = number % 2 == 1
        whats = [overwriting, overwriting and rng.random() < 0.5, *([False] if rng.random() < 0.5 else [])]
        names = rng.sample(sorted(READERS), 3)
        gate = os.pipe()
        readers = [_child(partial(_read, name, manifest, here, gate, told, looks), told) for name in names]
        writers = [_child(partial(_write, manifest, here, what), told) for what in whats]
        for pid in writers:
            os.waitpid(pid, 0)
        os.close(gate[1])
        for pid in readers:
            os.waitpid(pid, 0)
        os.close(gate[0])
        # What an overwriting run replaces, it replaces with all attempts.
        made = log.read_text().splitlines() if log.exists() and not overwriting else []
        n_attempts += len(made)
        os.waitpid(_child(partial(_judge, manifest, here, made, told), told), 0)
        log.unlink(missing_ok=True)
    counts: Counter[str] = Counter()
    for line in looks.read_text().splitlines():
        name, n = line.split()
        counts[name] += int(n)
    wrong = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
    return {"rounds": rounds, "looks": counts, "attempts": n_attempts, "wrong": wrong}


def _write(manifest: str, here: str, overwrite: bool) -> None:
    campaign = api.load(manifest, [here])
    if overwrite:
        campaign.run(overwrite=True)
    else:
        campaign.retry()


def _read(name: str, manifest: str, here: str, gate: tuple[int, int], told: Path, looks: Path) -> None:
    """Look again and again until the gate is closed."""
    os.close(gate[1])
    n = 0
    while True:
        _tell(told, [f"{name}: {text}" for text in READERS[name](api.load(manifest, [here]))])
        n += 1
        if select.select([gate[0]], [], [], 0)[0]:
            break
    with looks.open("a") as stream:
        stream.write(f"{name} {n}\n")


def _judge(manifest: str, here: str, made: list[str], told: Path) -> None:
    """After a round: the files are right, and every attempt that was made is on record."""
    record = api.load(manifest, [here]).record
    found = upkeep.verify(record)
    wrong = [f"at the end: {one.text}" for one in found.findings]
    wrong += [f"at the end: incomplete {found.incomplete}"] if found.incomplete else []
    every = {run_id: tries for commit in record.commits().values() for run_id, tries in commit.tries.items()}
    numbers = {run_id: [one["retry"] for one in tries] for run_id, tries in every.items()}
    wrong += [f"{run_id}: attempts {of}" for run_id, of in numbers.items() if of[0] != 0 or of != sorted(set(of))]
    for line in made:
        run_id, number = line.split()
        if int(number) not in numbers.get(run_id, []):
            wrong.append(f"lost: {line}")
    _tell(told, wrong)


def _tell(told: Path, texts: list[str]) -> None:
    with told.open("a") as stream:
        stream.writelines(json.dumps(text) + "\n" for text in texts)


if __name__ == "__main__":
    manifest_path, base, log_path, n_rounds, first_seed = sys.argv[1:]
    chunks.solver = _solver
    # The device has no part in this, and importing JAX in every child would take minutes.
    nowhere = dict.fromkeys(("host", "platform", "device", "processor"), "none")
    provenance.machine = lambda: nowhere
    # What a whole run imports here is not imported by every child; no connection is made before the forks.
    with tempfile.TemporaryDirectory() as place:
        StandIn.log = Path(place, "log")
        whole = api.load(manifest_path, [f"output.url={place}/results"])
        whole.run()
        for look in READERS.values():
            look(whole)
    if base.startswith("s3:"):
        import s3fs  # noqa: F401
    print(json.dumps(main(manifest_path, base, Path(log_path), int(n_rounds), int(first_seed))))

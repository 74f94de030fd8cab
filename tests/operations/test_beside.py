"""Readers beside writers: what another process replaces or has not published yet is no damage; nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Write, load, tree
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.errors import ResultsDiffer
from lanewise.manifest.plan import Chunk
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks, retry, status, upkeep
from lanewise.storage import commits, directories
from lanewise.storage.record import Record
from lanewise.storage.store import Store

READERS: dict[str, Callable[[Campaign], object]] = {
    "verify": lambda campaign: [one.text for one in upkeep.verify(campaign.record).findings],
    "status": lambda campaign: dict(status.status(campaign.record, "m.yaml").chunks.damaged),
    "rows": lambda campaign: list(campaign.record.rows()[1]),
    "export": lambda campaign: None if upkeep.export(campaign.record) == 4 else "not all",
    "run": lambda campaign: campaign.run(raise_on_failure=False).errors,
    "posteriors": lambda campaign: (
        [commits.load_results(campaign.store, c) for c in campaign.record.commits().values()] and None
    ),
}


class StandIn:
    """In the engine's place: odd seeds fail in the first run; results differ from run to run in bits, not in size."""

    made: dict[str, Any] = {}  # noqa: RUF012
    runs = 0

    def __init__(self, retry: int) -> None:
        self._retry = retry

    def run(self, chunk: Chunk, *_: Any) -> list[Result]:
        type(self).runs += 1
        return [self._result(one.run_id, one.planned.seed, one.planned.truth) for one in chunk.realizations]

    def _result(self, run_id: str, seed: int, truth: Any) -> Result:
        if seed % 2 and self._retry < 3:
            return Result(run_id, seed, LaneStatus.FAILED, f"attempt {self._retry}", "map", truth)
        draws = np.random.default_rng([seed, self._retry, self.runs]).normal(size=(1, 20))
        return Result(run_id, seed, LaneStatus.OK, "", "map", truth, {"g1": draws, "g2": draws})


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def solver(record: Record, manifest: Any = None, *, retry: int = 0, before: object = None) -> StandIn:
        return StandIn(retry)

    monkeypatch.setattr(chunks, "solver", solver)
    monkeypatch.setattr(upkeep, "_PAUSES_S", (0.0,))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something in the place of another process, before calls of a store's method; not within itself."""

    def install(names: tuple[str, ...], act: Callable[[str], object]) -> None:
        inside: list[bool] = []

        def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(self: Store, path: str, *rest: Any) -> Any:
                if not inside:
                    inside.append(True)
                    try:
                        act(path)
                    finally:
                        inside.pop()
                return real(self, path, *rest)

            return call

        for name in names:
            monkeypatch.setattr(Store, name, wrap(getattr(Store, name)))

    return install


@pytest.mark.parametrize("reader", READERS)
def test_chunk_that_is_overwritten_between_commit_and_files_is_not_damaged(
    write: Write, between: Callable[..., None], reader: str
) -> None:
    path = write()
    load(path).run()
    files = iter(range(3))

    def overwrite(name: str) -> None:
        if name.endswith((".rows", ".nc", ".view")) and next(files, None) is not None:
            load(path).run(0, overwrite=True)

    between(("read",), overwrite)
    assert not READERS[reader](load(path))
    assert next(files, None) is None or reader == "status", "the files were overwritten three times"
    assert upkeep.verify(load(path).record).findings == ()


@pytest.mark.parametrize("reader", ["verify", "status", "rows"])
@pytest.mark.parametrize("writer", ["overwrite", "retry", "export"])
def test_no_step_of_a_writer_looks_like_damage(
    write: Write, between: Callable[..., None], reader: str, writer: str
) -> None:
    path, told = write(), []
    load(path).run()
    looks: Iterator[object] = (READERS[reader](load(path)) for _ in iter(int, 1))
    between(("put", "create", "swap", "remove"), lambda _: told.append(next(looks)))
    campaign = load(path)
    acts: dict[str, Callable[[], object]] = {
        "overwrite": lambda: campaign.run(overwrite=True),
        "retry": campaign.retry,
        "export": lambda: upkeep.export(campaign.record),
    }
    acts[writer]()
    assert len(told) > 8
    assert not any(told)


def test_export_beside_an_overwriting_run_leaves_the_directories_of_the_valid_commit(
    write: Write, between: Callable[..., None], tmp_path: Path
) -> None:
    path, left = write(), iter(range(1))
    load(path).run()

    def overwrite(name: str) -> None:
        if name.endswith("posterior.nc") and next(left, None) is not None:
            load(path).run(0, overwrite=True)

    between(("put",), overwrite)
    upkeep.export(load(path).record)
    assert next(left, None) is None
    assert upkeep.verify(load(path).record).findings == ()
    record = load(path).record
    held = {
        n: data
        for c in record.commits().values()
        for n, data in directories.files_of(c.settings, commits.results_of(record.store, c))
    }
    assert {name: data for name, data in tree(tmp_path / "results").items() if name in held} == held


def test_publication_that_is_cut_off_is_told_and_completed_by_the_next_run(write: Write) -> None:
    path, put = write(), Store.put
    load(path).run()

    def die(self: Store, name: str, data: bytes) -> None:
        if name.endswith("posterior.nc"):
            raise KeyboardInterrupt
        put(self, name, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Store, "put", die)
        with pytest.raises(KeyboardInterrupt):
            load(path).run(0, overwrite=True)
    found = upkeep.verify(load(path).record)
    assert (found.findings, found.incomplete) == ((), (0,))
    load(path).run()
    found = upkeep.verify(load(path).record)
    assert (found.findings, found.incomplete, found.n_files) == ((), (), 16)
    assert not directories.marked(load(path).store, load(path).plan.chunks[0])


@pytest.mark.parametrize(("age_s", "stays"), [(7200, False), (60, True)])
def test_mark_of_a_writer_that_was_killed_long_ago_is_removed_by_the_next_run(
    write: Write, age_s: float, *, stays: bool
) -> None:
    path = write()
    load(path).run()
    store, chunk = load(path).store, load(path).plan.chunks[0]
    mark = f"{commits.CHUNKS}/{chunk.name}/20200101T000000-00000000.incomplete"
    store.put(mark, b"incomplete")
    written = store.now() - age_s
    os.utime(f"{store.url}/{mark}", (written, written))
    load(path).run()
    assert directories.marked(store, chunk) is stays
    assert upkeep.verify(load(path).record).findings == ()


@pytest.mark.parametrize("theirs", [1, 2, 3])
@pytest.mark.parametrize("ours", [1, 2])
def test_two_retries_at_once_lose_no_attempt(
    write: Write, monkeypatch: pytest.MonkeyPatch, ours: int, theirs: int
) -> None:
    """Ours begins with `ours` − 1 attempts on record; while it computes, others make `theirs` of their own."""
    path = write(shear={"grid": [0.01]})
    load(path).run()
    for _ in range(ours - 1):
        load(path).retry()
    again, began = retry._again, iter(range(1))

    def slowly(*arguments: Any) -> Any:
        computed = again(*arguments)
        if next(began, None) is not None:
            for _ in range(theirs):
                load(path).retry()
        return computed

    monkeypatch.setattr(retry, "_again", slowly)
    load(path).retry()
    (commit,) = load(path).record.commits().values()
    (tries,) = commit.tries.values()
    assert [one["retry"] for one in tries] == list(range(min(3, ours - 1 + theirs) + 1))
    assert commit.counts == ({"ok": 2} if len(tries) == 4 else {"ok": 1, "failed": 1})
    assert upkeep.verify(load(path).record).findings == ()


def test_retry_beside_an_overwriting_run_is_added_to_its_results(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(shear={"grid": [0.01]})
    load(path).run()
    again = retry._again

    def overwritten(*arguments: Any) -> Any:
        computed = again(*arguments)
        load(path).run(overwrite=True)
        return computed

    monkeypatch.setattr(retry, "_again", overwritten)
    load(path).retry()
    (commit,) = load(path).record.commits().values()
    assert [one["retry"] for tries in commit.tries.values() for one in tries] == [0, 1]
    assert upkeep.verify(load(path).record).findings == ()


def test_reader_of_another_manifest_is_told_that_its_results_were_overwritten(
    write: Write, between: Callable[..., None]
) -> None:
    path = write()
    load(path).run()
    reader, other = load(path), write("other.yaml", realizations__base_seed=7)
    left = iter(range(1))
    between(
        ("read",),
        lambda name: name.endswith(".rows") and next(left, None) is not None and load(other).run(overwrite=True),
    )
    with pytest.raises(ResultsDiffer, match="overwritten with other realizations meanwhile"):
        reader.record.rows()

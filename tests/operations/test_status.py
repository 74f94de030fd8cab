"""Claims with a heartbeat, and what `status` makes of all that storage holds."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import Lanewise, Write, load
from lanewise.errors import StorageError
from lanewise.machine.progress import Silent
from lanewise.manifest import schema
from lanewise.operations import status
from lanewise.storage import claims, failures
from lanewise.storage.claims import CLAIMS, Claim
from lanewise.storage.store import Store


def _until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _claim(store: Store, chunk: int | None, *, beat_s: float, node: str = "node-7") -> None:
    content = {"chunk": chunk, "node": node, "pid": 4, "began": "", "beat_s": beat_s, "done": 3, "total": 12}
    store.put(f"{CLAIMS}/{node}-{chunk}.claim", json.dumps(content).encode())


def test_a_claim_beats_while_its_process_is_at_work_and_goes_with_it(write: Write, memory: str) -> None:
    campaign = load(write(url=memory))
    store = campaign.store
    with Claim(store, Silent(), beat_s=0.05, pause_s=0.01) as claim:
        claim.take(campaign.plan.chunks[1])
        claim.begin("chunk 1", 12)
        claim.step(5)
        _until(lambda: [(c.chunk, c.done, c.total) for c in claims.survey(store)] == [(1, 5, 12)])
        (name,) = store.names(CLAIMS)
        first = store.modified(f"{CLAIMS}/{name}")
        _until(lambda: store.modified(f"{CLAIMS}/{name}") > first)
        assert claims.survey(store)[0].alive
        claim.take(campaign.plan.chunks[0])
        _until(lambda: claims.survey(store)[0].chunk == 0)
    assert store.names(CLAIMS) == []


def test_a_quick_process_leaves_no_claim_and_a_broken_store_disturbs_nothing(
    write: Write, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write(url=memory))
    put, asked = Store.put, []

    def fail(self: Store, path: str, data: bytes) -> None:
        if path.startswith(CLAIMS):
            asked.append(path)
            raise StorageError("refused")
        put(self, path, data)

    monkeypatch.setattr(Store, "put", fail)
    assert campaign.run().all_ok
    with Claim(campaign.store, Silent(), beat_s=0.01, pause_s=0.0):
        _until(lambda: len(asked) > 2)


@pytest.mark.long
def test_status_tells_running_from_lost_from_failed_and_how_fast_it_goes(
    write: Write, memory: str, lanewise: Lanewise
) -> None:
    path = write(url=memory, realizations__count=4, batch__size=1)
    campaign = load(path)
    for index in (0, 1):
        campaign.run(index)
    store, chunks = campaign.store, campaign.plan.chunks
    _claim(store, 2, beat_s=1000.0)
    _claim(store, 3, beat_s=1e-9, node="node-2")
    _claim(store, 1, beat_s=1e-9, node="node-3")  # of a chunk that another process committed
    for node in ("node-1", "node-1", "node-2"):
        failures.record(store, chunks[4], node, RuntimeError(f"{len(node)} lanes fell over"))
    store.put(f"{CLAIMS}/torn.claim", b'{"chunk": 1')
    told = status.status(campaign.record, path)
    jsonschema.Draft7Validator(schema.load("status")).validate(json.loads(json.dumps(asdict(told))))
    assert [(c.chunk, c.node, c.done) for c in told.chunks.running] == [(2, "node-7", 3)]
    assert [(c.chunk, c.node) for c in told.chunks.lost] == [(3, "node-2")]
    assert told.chunks.failed == {4: "RuntimeError: 6 lanes fell over"}
    assert told.chunks.missing == (2, 3, 4, 5, 6, 7)
    cause = "RuntimeError: … lanes fell over"
    assert told.causes == (status.Cause("chunks", cause, 3, {"node-1": 2, "node-2": 1}),)
    each = sum(commit.provenance["seconds"] for commit in campaign.record.commits().values()) / 2
    assert told.rate.processes == 1
    assert told.rate.per_hour == pytest.approx(3600 / each)
    assert told.rate.seconds_left == pytest.approx(6 * each)
    assert told.next == f"lanewise status --watch {path}"
    text = status.text(told)
    for line in (
        "chunk 2 runs on node-7: 3 of 12",
        "chunk 3 is lost: node-2 (pid 4) has been silent for",
        "chunk 4 failed: RuntimeError: 6 lanes fell over",
        "3 × RuntimeError: … lanes fell over on node-1 (2), node-2 (1)",
        "at work: 1 process, ",
    ):
        assert line in text
    store.remove(f"{CLAIMS}/node-7-2.claim")
    assert status.status(campaign.record, path).next == f"lanewise run {path}"
    for index in (2, 5, 6, 7):
        campaign.run(index)
    told = status.status(campaign.record, path)
    assert (told.next, told.rate.seconds_left) == (f"lanewise retry {path}", None)
    assert lanewise("retry", path)[0] == 0
    told = status.status(load(path).record, path)
    assert (told.chunks.missing, told.chunks.lost, told.next) == ((), (), f"lanewise aggregate {path}")


def test_watching_ends_when_every_chunk_is_committed(
    write: Write, memory: str, lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(url=memory)
    monkeypatch.setattr(time, "sleep", lambda _: load(path).run())
    code, out, _ = lanewise("status", path, "--watch", "--json")
    assert (code, [json.loads(line)["chunks"]["committed"] for line in out.splitlines()]) == (0, [0, 2])


@pytest.mark.parametrize(("error", "n_removed"), [(None, 1), (StorageError("gave no answer"), 0)])
def test_a_store_that_gave_no_answer_is_not_asked_once_more(
    memory: str, monkeypatch: pytest.MonkeyPatch, error: StorageError | None, n_removed: int
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(Store, "remove", lambda _, path: removed.append(path))
    store = Store(memory)
    with contextlib.suppress(StorageError), Claim(store, Silent(), pause_s=0.0):
        while not store.names(CLAIMS):
            time.sleep(0.01)
        time.sleep(0.1)  # the beat that has written knows it, too
        if error is not None:
            raise error
    assert len(removed) == n_removed


@pytest.mark.long
@pytest.mark.parametrize("pattern", ["commits/00001.commit", *(f"chunks/00001/*.{s}" for s in ("nc", "rows", "view"))])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "missing"])
def test_status_and_aggregate_see_files_that_are_cut_or_missing(
    lanewise: Lanewise, write: Write, tmp_path: Path, pattern: str, cut: bool
) -> None:
    path = write()
    load(path).run()
    (file,) = (tmp_path / "results" / "_lanewise").glob(pattern)
    if cut:
        os.truncate(file, file.stat().st_size // 2)
    else:
        file.unlink()
    code, out, _ = lanewise("status", path)
    if pattern.endswith("commit") and not cut:
        # A chunk without a commit is not done; nothing says that it was.
        assert (code, "not committed: chunk 1" in out) == (0, True)
        return
    assert (code, "chunk 1 is damaged" in out, f"next: lanewise verify {path}" in out) == (74, True, True)
    code, _, err = lanewise("aggregate", path)
    assert (code, "chunk 1 is damaged and counts as missing" in err) == (74, True)
    assert file.name in (tmp_path / "results" / "report.html").read_text()

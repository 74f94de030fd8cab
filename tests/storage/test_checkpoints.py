"""A chunk that goes on from a checkpoint, with the cheap Gaussian problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gaussian
from conftest import Write, load
from lanewise.api import Campaign
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.machine import provenance
from lanewise.machine.progress import Silent
from lanewise.manifest.protocols import Saved
from lanewise.storage import checkpoints, commits
from lanewise.storage.checkpoints import CheckpointKeeper, Policy

ALWAYS, NEVER = Policy(long_s=0, interval_s=0, share=1e9), Policy(long_s=1e9)


class _Stop(Exception):
    """In the place of a kill."""


class _Count(Silent):
    """Counts rounds as they begin, and stops before one of them."""

    def __init__(self, stop: int | None = None) -> None:
        self.begun: list[int] = []
        self._stop = stop

    def step(self, done: int, note: str = "") -> None:
        if done == self._stop:
            raise _Stop
        self.begun.append(done)


def _campaign(write: Write, method: str) -> Campaign:
    inference = {"method": method, "nuts_config": {"warmup": 150, "samples": 400, "chains": 2}}
    return load(write(config__inference=inference, realizations__count=4, batch__size=8, batch__width=8))


def _engine(campaign: Campaign) -> Engine:
    return gaussian.engine(campaign.manifest, campaign.plan)


def _keeper(campaign: Campaign, policy: Policy) -> CheckpointKeeper:
    return CheckpointKeeper(campaign.store, campaign.plan.chunks[0], checkpoints.surroundings(), policy)


def _bits(results: list[Result]) -> list[object]:
    return [
        (r.run_id, r.status, {k: v.tobytes() for k, v in {**r.posterior, **r.stats}.items()}, r.laplace_std)
        for r in results
    ]


def test_a_chunk_goes_on_from_its_checkpoint_to_the_same_bits(write: Write) -> None:
    campaign = _campaign(write, "nuts")  # two blocks of eight chains, six rounds each
    engine, (chunk,) = _engine(campaign), campaign.plan.chunks
    whole = engine.run(chunk)
    for stop in (1, 3, 8, 11):  # one engine for all: compiling is what takes the time
        with pytest.raises(_Stop):
            engine.run(chunk, _Count(stop), _keeper(campaign, ALWAYS))
        keeper, count = _keeper(campaign, NEVER), _Count()
        assert keeper.load() == stop
        resumed = engine.run(chunk, count, keeper)
        assert _bits(resumed) == _bits(whole)
        assert len([step for step in count.begun if step not in {6, 12}]) <= 12 - stop
        keeper.clear()


def test_a_method_without_records_goes_on_too(write: Write) -> None:
    campaign = _campaign(write, "map")
    engine, (chunk,) = _engine(campaign), campaign.plan.chunks
    keeper = _keeper(campaign, ALWAYS)
    whole = engine.run(chunk, None, keeper)
    again = _keeper(campaign, NEVER)
    assert again.load() > 0
    assert _bits(engine.run(chunk, None, again)) == _bits(whole)


def test_a_chunk_that_is_quick_has_no_checkpoint_and_a_commit_removes_them(write: Write, tmp_path: Path) -> None:
    campaign = _campaign(write, "map")
    quick = _keeper(campaign, Policy())
    _engine(campaign).run(campaign.plan.chunks[0], None, quick)
    assert campaign.store.names(commits.CHECKPOINTS) == []
    quick.save()
    assert campaign.store.names(commits.CHECKPOINTS) == ["00000"]
    quick.clear()
    assert campaign.store.names(f"{commits.CHECKPOINTS}/00000") == []


def test_a_checkpoint_that_is_damaged_or_of_other_surroundings_is_not_believed(write: Write) -> None:
    campaign = _campaign(write, "map")
    keeper = _keeper(campaign, ALWAYS)
    _engine(campaign).run(campaign.plan.chunks[0], None, keeper)
    (name,) = campaign.store.names(f"{commits.CHECKPOINTS}/00000")
    path = f"{commits.CHECKPOINTS}/00000/{name}"
    assert CheckpointKeeper(campaign.store, campaign.plan.chunks[0], {"versions": "other"}).load() == 0
    data = bytearray(campaign.store.read(path))
    data[len(data) // 2] ^= 1
    for harmed in (bytes(data), bytes(data[:100]), b""):
        campaign.store.put(path, harmed)
        assert _keeper(campaign, NEVER).load() == 0


def test_another_processor_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """XLA compiles for the processor that it finds: a chunk that changed it midway has the bits of neither."""
    here = checkpoints.surroundings()
    monkeypatch.setattr(provenance, "processor", lambda: "another × 2")
    assert checkpoints.surroundings() != here


def test_other_code_begins_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A git commit says nothing of files that were edited since, and a wheel has none."""
    package = tmp_path / "lanewise"
    package.mkdir()
    (package / "engine.py").write_text("a = 1")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    provenance.source.cache_clear()
    before = checkpoints.surroundings()
    (package / "engine.py").write_text("a = 2")
    provenance.source.cache_clear()
    assert checkpoints.surroundings() != before
    provenance.source.cache_clear()


def test_no_changed_bit_of_a_checkpoint_is_believed() -> None:
    saved = Saved(3, (np.arange(5.0), np.ones(3)), {"a": np.zeros((2, 3)), "b": np.ones((2, 3), bool)})
    data = checkpoints._encode({0: saved}, "fingerprint")
    (block,) = (checkpoints._decode(data, "fingerprint") or {}).values()
    assert (block.rounds, [leaf.tolist() for leaf in block.state]) == (3, [[0, 1, 2, 3, 4], [1, 1, 1]])
    for at in range(len(data)):
        for bit in (1, 128):
            harmed = bytearray(data)
            harmed[at] ^= bit
            assert checkpoints._decode(bytes(harmed), "fingerprint") is None


@pytest.mark.parametrize(("done", "expected"), [(1, True), (50, False)])
def test_a_checkpoint_is_due_where_the_chunk_will_take_long(write: Write, done: int, expected: bool) -> None:
    campaign = _campaign(write, "map")
    # After the 0.2 s that this takes at the least, 1 of 100 rounds promises more than 10 s and 50 of 100 do not.
    keeper = _keeper(campaign, Policy(long_s=10, interval_s=0))
    keeper._began -= 0.2
    assert keeper.due(done, 100) is expected

"""Memory: what the plan predicts and refuses, and what a chunk does where the device has no room."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, cast

import jax
import numpy as np
import pytest

import gaussian
from conftest import Lanewise, Write, load
from gaussian import GaussianProblem
from lanewise.api import Campaign
from lanewise.engine import programs, widths
from lanewise.engine.engine import Engine
from lanewise.engine.lanes import SharedOut
from lanewise.engine.programs import Stage
from lanewise.engine.results import Result
from lanewise.errors import ChunkImpossible, ManifestError
from lanewise.machine import device
from lanewise.machine.progress import Silent
from lanewise.manifest import registry
from lanewise.manifest.manifest import Config
from lanewise.manifest.status import LaneStatus
from lanewise.operations import memory, tune
from lanewise.storage.checkpoints import CheckpointKeeper, Policy

MIB = 2**20
NUTS = {"method": "nuts", "nuts_config": {"warmup": 150, "samples": 400, "chains": 2}}
EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes."


@pytest.fixture(autouse=True)
def _own_limits(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class _OfImages(GaussianProblem):
    """The cheap problem, of two pixels of a galaxy's image."""

    def prepare(self, data: Any) -> Any:
        return {"y": np.ravel(data["image"])[:2], **data}


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the program is the same whatever it computes: one that is compiled in no time."""

    def of_family(kind: str, config: Config, sequential: bool) -> tuple[_OfImages, tuple[Stage, ...]]:
        problem = _OfImages()
        return problem, programs.stages(registry.lanes(kind).inference(config), problem, sequential=sequential)

    monkeypatch.setattr(programs, "of_family", of_family)


def _campaign(write: Write, width: int, n: int = 32, file: str = "m.yaml") -> Campaign:
    return load(write(file, config__inference=NUTS, realizations__count=n // 2, batch__size=n, batch__width=width))


def _engine(campaign: Campaign, room: int | None = None, calls: int = 0) -> Engine:
    """The engine; after some calls of its program there is room for so many lanes."""
    engine = gaussian.engine(campaign.manifest, campaign.plan)
    left = [calls]

    def crowded(function: SharedOut) -> SharedOut:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if room is not None and left[0] < 0 and jax.tree.leaves(arguments)[0].shape[0] > room:
                raise jax.errors.JaxRuntimeError(EXHAUSTED)
            return function(*arguments)

        return cast("SharedOut", call)  # no more is asked of it than to be called

    (stage,) = engine.stages
    narrow = replace(stage.program, init=crowded(stage.program.init), advance=crowded(stage.program.advance))
    engine.stages = (replace(stage, program=narrow),)
    return engine


def _bits(results: list[Result]) -> list[Any]:
    return [(r.run_id, {k: v.tobytes() for k, v in {**r.posterior, **r.stats}.items()}) for r in results]


class _Heard(Silent):
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def say(self, event: str, text: str, **fields: Any) -> None:
        self.said.append((event, text))


def test_out_of_memory_at_16_lanes_goes_on_with_8_and_later_runs_begin_there(write: Write) -> None:
    campaign, heard = _campaign(write, 16, n=12), _Heard()
    engine = _engine(campaign, room=8)
    results = engine.run(campaign.plan.chunks[0], heard)
    assert engine.made == {"width": {"planned": 16, "used": [8]}}
    assert heard.said == [
        ("memory", "chunk 0: no memory for 16 lanes; trying 8, recorded for this device"),
    ]
    # The same kind of device has the same room: no second discovery, and the bits of a run at that width.
    again, quiet = _engine(campaign, room=8), _Heard()
    assert _bits(again.run(campaign.plan.chunks[0], quiet)) == _bits(results)
    assert (quiet.said, again.made["width"]["used"]) == ([], [8])
    narrow = _campaign(write, 8, n=12)
    assert _bits(_engine(narrow).run(narrow.plan.chunks[0])) == _bits(results)
    widths.path(campaign.plan.settings).unlink()
    assert widths.find(campaign.plan.settings) is None


@pytest.mark.slow
def test_what_was_computed_before_the_memory_ran_out_stays_and_all_is_equal_in_distribution(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = device.prepare
    monkeypatch.setattr(device, "prepare", lambda *a: prepare(*a) and False)
    campaign = _campaign(write, 16)
    # The first block of sixteen takes seven calls; the next runs out in its third round.
    engine = _engine(campaign, room=8, calls=10)
    results = engine.run(campaign.plan.chunks[0])
    assert engine.made == {"width": {"planned": 16, "used": [16, 8]}}
    narrow = _campaign(write, 8)
    expected = _engine(narrow).run(narrow.plan.chunks[0])
    pulls = []
    for one, other in zip(results, expected, strict=True):
        assert one.status is other.status is LaneStatus.OK, one.reason
        for name in ("g1", "g2"):
            errors = [r.posterior[name].std() / np.sqrt(r.diagnostics.ess[name] or np.nan) for r in (one, other)]
            pulls.append((one.posterior[name].mean() - other.posterior[name].mean()) / np.hypot(*errors))
    # Same keys: the two are the same draws up to rounding, so the 64 pulls are far below one; 5σ would not be reached
    # by chance in 1e4 runs of independent draws.
    assert np.max(np.abs(pulls)) < 5


def test_a_single_lane_without_room_is_impossible_on_this_kind_of_device(write: Write) -> None:
    campaign = _campaign(write, 4, n=2)
    with pytest.raises(ChunkImpossible, match="chunk 0: a single lane does not fit into the device's memory") as caught:
        _engine(campaign, room=0).run(campaign.plan.chunks[0])
    assert caught.value.exit_code == 70


def test_what_was_halved_before_an_interruption_stays_halved_after_it(write: Write) -> None:
    class Stop(Exception):
        pass

    class Stopping(Silent):
        def step(self, done: int, note: str = "") -> None:
            if done == 8:
                raise Stop

    always, never = Policy(long_s=0, interval_s=0, share=1e9), Policy(long_s=1e9)
    campaign = _campaign(write, 16, n=12)
    chunk = campaign.plan.chunks[0]
    with pytest.raises(Stop):
        _engine(campaign, room=8).run(chunk, Stopping(), CheckpointKeeper(campaign.store, chunk, {}, always))
    # Another machine of this kind, whose cache knows nothing.
    widths.path(campaign.plan.settings).unlink()
    keeper, engine = CheckpointKeeper(campaign.store, chunk, {}, never), _engine(campaign)
    assert keeper.load() == 8
    resumed = engine.run(chunk, None, keeper)
    assert engine.made["width"]["used"] == [8]
    narrow = _campaign(write, 8, n=12)
    assert _bits(resumed) == _bits(_engine(narrow).run(narrow.plan.chunks[0]))


@pytest.mark.usefixtures("cheap")
def test_the_plan_tells_the_memory_of_the_compiled_program(lanewise: Lanewise, write: Write) -> None:
    path = write(batch__width=64)
    code, out, _ = lanewise("plan", path)
    assert code == 0
    assert re.search(
        r"^memory: 1\.0 GiB of the container's 16\.0 GiB; 64 lanes [0-9]+ MiB \(compiled for cpu\)$", out, re.M
    )
    code, out, _ = lanewise("plan", path, "--no-memory")
    assert (code, "memory:" in out) == (0, False)


@pytest.mark.slow
def test_a_width_that_the_device_cannot_hold_is_refused_with_one_that_fits(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write(batch__width=400))
    whole = memory.predict(campaign.manifest, campaign.plan)
    assert whole is not None
    # At least the images themselves, 24 × 24 in float64 for each lane.
    assert whole.device_bytes > 400 * 24 * 24 * 8
    limit = whole.device_bytes * 3 // 4
    monkeypatch.setattr(widths, "device_bytes", lambda: limit)
    with pytest.raises(
        ManifestError, match=r"batch.width: 400 lanes need .*, the device has .*; lower it to"
    ) as caught:
        memory.predict(campaign.manifest, campaign.plan)
    (width,) = map(int, re.findall(r"lower it to (\d+) or less", str(caught.value)))
    fits = load(write(batch__width=width))
    assert memory.predict(fits.manifest, fits.plan) is not None
    wider = load(write(batch__width=width * 11 // 10))
    with pytest.raises(ManifestError):
        memory.predict(wider.manifest, wider.plan)


@pytest.mark.usefixtures("cheap")
def test_draws_that_the_container_cannot_hold_are_refused_with_a_size_that_fits(write: Write) -> None:
    inference = {"method": "laplace", "laplace_config": {"samples": 40_000}}
    changes = {"config__inference": inference, "realizations__count": 2000, "resources": {"memory": "4Gi"}}
    campaign = load(write(batch__size=4000, **changes))
    with pytest.raises(
        ManifestError, match=r"batch.size: a chunk needs .*, resources.memory is 4Gi; lower it"
    ) as caught:
        memory.predict(campaign.manifest, campaign.plan)
    (size,) = map(int, re.findall(r"lower it to (\d+) or less", str(caught.value)))
    fits = load(write(batch__size=size, **changes))
    assert memory.predict(fits.manifest, fits.plan) is not None


@pytest.mark.usefixtures("cheap")
def test_where_the_device_is_absent_the_memory_is_an_estimate_that_says_so(write: Write) -> None:
    campaign = load(write(resources={"device": "gpu"}))
    found = memory.predict(campaign.manifest, campaign.plan)
    assert found is not None
    assert (found.estimate, found.device_limit_bytes) == (True, None)
    assert "an estimate, because this machine lacks the manifest's device" in found.text


@pytest.mark.usefixtures("cheap")
def test_tune_names_the_narrowest_width_that_is_about_the_fastest(
    lanewise: Lanewise, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_ENOUGH_S", 0.0)
    code, out, err = lanewise("tune", write(), "--widest", "2")
    assert (code, err.count("lanes: ")) == (0, 2)
    assert re.match(r"best: batch: \{width: [12]\}; 1 lane per realization", out)
    rates = {1: 10.0, 2: 19.0, 4: 30.0, 8: 31.0, 16: None}
    monkeypatch.setattr(tune, "_lanes_per_s", lambda engine, chunk, width: rates[width])
    found = tune.tune(load(write()).manifest, 1024, lambda trial: None)
    assert (found.best, [t.width for t in found.trials]) == (4, [1, 2, 4, 8, 16])

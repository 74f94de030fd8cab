"""Realizations of several members: each a lane, or several chains; combined by the rule of their family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import split_mean
from conftest import load, tree
from lanewise.api import Campaign
from lanewise.engine import blocks
from lanewise.engine.chunk_data import masked, padded
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.machine.progress import Silent
from lanewise.manifest.plan import Realization
from lanewise.manifest.problem import Observation
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks, status, upkeep
from lanewise.storage import checkpoints, commits
from lanewise.storage.checkpoints import CheckpointKeeper, Policy
from lanewise.storage.store import Store
from split_mean import SplitConfig

Observe = Callable[[Realization], Observation]
FORTY = [1 + at % 7 for at in range(40)]
SIZES: dict[int, dict[str, Any]] = {1: {"sizes": [12]}, 3: {"sizes": [2, 9, 5]}, 40: {"sizes": FORTY, "padded": 8}}
ALWAYS = Policy(long_s=0, interval_s=0, share=1e9)
NUTS = {"method": "nuts", "samples": 400, "chains": 2}


@pytest.fixture(autouse=True)
def _split() -> Iterator[None]:
    with split_mean.installed():
        yield


@pytest.fixture
def campaign(tmp_path: Path) -> Callable[..., Campaign]:
    """A campaign of the family, by its config and further keys of the manifest."""

    def make(config: dict[str, Any], url: str = "results", **keys: Any) -> Campaign:
        content: dict[str, Any] = {"apiVersion": "lanewise/v1", "kind": "split", "name": "split", "config": config}
        content |= {"realizations": {"count": 3}, "batch": {"size": 3, "width": 8}, **keys}
        content["output"] = {"url": str(tmp_path / url)}
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(str(path))

    return make


def _engine(campaign: Campaign, observe: Observe | None = None, **options: Any) -> Engine:
    if observe is None:
        return Engine(campaign.manifest, campaign.plan, **options)
    config = campaign.manifest.config
    assert isinstance(config, SplitConfig)
    problem, membership = split_mean.SplitProblem(config.sigma), split_mean.membership(config)
    return Engine(campaign.manifest, campaign.plan, observe=observe, problem=problem, membership=membership, **options)


def _run(campaign: Campaign, observe: Observe | None = None, **options: Any) -> list[Result]:
    engine = _engine(campaign, observe, **options)
    return [result for chunk in campaign.plan.chunks for result in engine.run(chunk)]


def _poisoned(campaign: Campaign, value: float, run_id: str, member: int) -> Observe:
    def observe(realization: Realization) -> Observation:
        seen = split_mean.observe(campaign.manifest.config, realization.planned)  # type: ignore[arg-type]
        if realization.run_id != run_id:
            return seen
        members, poisoned = list(seen.members), seen.members[member]
        assert poisoned is not None
        members[member] = {**poisoned, "y": np.full_like(poisoned["y"], value)}
        return replace(seen, members=members)

    return observe


def _bits(result: Result, member: int) -> dict[str, bytes]:
    assert result.members is not None
    return {name: array[member].tobytes() for name, array in result.members.record.items()}


@pytest.mark.parametrize(
    ("n_members", "method", "reduced"),
    [
        *[(n, {"method": "importance"}, True) for n in SIZES],
        (3, {"method": "importance"}, False),
        (40, NUTS, True),
        pytest.param(3, NUTS, False, marks=pytest.mark.slow),
    ],
)
def test_members_of_several_sizes_give_the_posterior_of_all_numbers(
    campaign: Callable[..., Campaign], n_members: int, method: dict[str, Any], reduced: bool
) -> None:
    found = campaign({**SIZES[n_members], "reduced": reduced, **method})
    config = found.manifest.config
    assert isinstance(config, SplitConfig)
    for realization, result in zip(found.plan.realizations, _run(found), strict=True):
        assert result.status is LaneStatus.OK, result.reason
        assert result.members is not None
        assert result.members.counts == {"ok": n_members}
        mean, width = split_mean.exact(config, realization.planned)
        draws = result.posterior["mean"]
        # A member's mean and width are off by 1/√ESS of its width, ESS ≥ 300 in all; members err independently, so
        # that the combined mean is off by that share of its own width, and by 1/√1000 for its draws: 5σ.
        assert abs(draws.mean() - mean) < 5 * width * (1 / 300 + 1 / split_mean.N_DRAWS) ** 0.5
        assert abs(draws.std() / width - 1) < 5 * (0.5 / 300 + 0.5 / split_mean.N_DRAWS) ** 0.5


def test_each_member_and_chain_has_its_own_key(campaign: Callable[..., Campaign]) -> None:
    found = campaign({"sizes": [3, 3, 3], **NUTS}, realizations={"count": 1})
    one, planned = {"y": np.array([0.1, 0.2, 0.3]), "share": np.array(1 / 3)}, found.plan.realizations[0].planned
    same = Observation([one] * 3, planned.truth, ragged=("y",), sizes=(3, 3, 3))
    (result,) = _run(found, lambda _: same)
    assert result.members is not None
    means = result.members.record["mean"]
    assert means.shape == (3, 2)
    assert len(set(means.ravel().tolist())) == 6


@pytest.mark.long
@pytest.mark.parametrize(
    ("value", "expected"), [(np.nan, LaneStatus.NON_FINITE), (1e200, LaneStatus.NON_FINITE)], ids=["NaN", "1e200"]
)
@pytest.mark.parametrize("sequential", [True, False], ids=["one by one", "vmapped"])
def test_a_poisoned_member_leaves_its_neighbours_bit_identical(
    campaign: Callable[..., Campaign], value: float, expected: LaneStatus, sequential: bool
) -> None:
    found = campaign({**SIZES[3]})
    ids = [one.run_id for one in found.plan.realizations]
    observe = _poisoned(found, value, ids[1], 2)
    clean, beside = (_run(found, each, side_by_side=not sequential) for each in (None, observe))
    for place, (one, other) in enumerate(zip(clean, beside, strict=True)):
        for member in range(3):
            if (place, member) != (1, 2):
                assert _bits(one, member) == _bits(other, member)
    assert beside[1].members is not None
    assert beside[1].members.status.tolist() == [LaneStatus.OK, LaneStatus.OK, expected]
    assert np.isnan(beside[1].members.record["mean"][2]).all()
    assert beside[1].status is LaneStatus.FAILED
    assert beside[1].reason.startswith("1 of 3 members are lost; member 2: ")
    assert [beside[0].status, beside[2].status] == [LaneStatus.OK] * 2


def test_the_family_says_what_a_lost_member_does(campaign: Callable[..., Campaign]) -> None:
    found = campaign({**SIZES[3], "lost": "drop"}, realizations={"count": 1})
    (realization,) = found.plan.realizations
    (result,) = _run(found, _poisoned(found, np.nan, realization.run_id, 1))
    assert result.status is LaneStatus.OK
    y = np.concatenate([split_mean.numbers(found.manifest.config, realization.planned)[at] for at in (0, 2)])  # type: ignore[arg-type]
    precision = 1 + len(y) / 0.5**2
    assert abs(result.posterior["mean"].mean() - y.sum() / 0.5**2 / precision) < 5 * (0.005 / precision) ** 0.5


def test_a_member_whose_data_cannot_be_made_fails_alone(campaign: Callable[..., Campaign]) -> None:
    found = campaign({"sizes": [4, 4], "lost": "drop"}, realizations={"count": 1})

    class Broken(list[Any]):
        def __getitem__(self, at: Any) -> Any:
            if at == 0:
                raise OSError("the shelf is empty")
            return super().__getitem__(at)

    def observe(realization: Realization) -> Observation:
        seen = split_mean.observe(found.manifest.config, realization.planned)  # type: ignore[arg-type]
        return replace(seen, members=Broken(seen.members))

    (result,) = _run(found, observe)
    assert result.status is LaneStatus.OK
    assert result.members is not None
    assert result.members.reasons == {0: "The data could not be made or read. OSError: the shelf is empty"}


def test_a_member_without_data_is_ok_and_leaves_no_record(campaign: Callable[..., Campaign]) -> None:
    found = campaign({"sizes": [4, 4], "lost": "drop"}, realizations={"count": 1})

    def observe(realization: Realization) -> Observation:
        seen = split_mean.observe(found.manifest.config, realization.planned)  # type: ignore[arg-type]
        return replace(seen, members=[None, seen.members[1]])

    (whole,), (result,) = _run(found), _run(found, observe)
    assert result.members is not None
    assert result.members.counts == {"ok": 2}
    assert all(np.isnan(array[0]).all() for array in result.members.record.values())
    assert _bits(result, 1) == _bits(whole, 1)
    engine = _engine(found, observe)
    assert engine.footprint(found.plan.chunks[0]) is not None


@pytest.mark.long
@pytest.mark.parametrize("reduced", [True, False], ids=["moments", "draws"])
def test_bits_of_members_depend_on_neither_batch_size_nor_neighbours(
    campaign: Callable[..., Campaign], reduced: bool
) -> None:
    config = {"sizes": [2, 3, 9, 2, 10, 1, 2, 2, 3, 2, 2], "reduced": reduced}
    whole = _run(campaign(config))
    cut = _run(campaign(config, batch={"size": 1, "width": 8}))
    for one, other in zip(whole, cut, strict=True):
        assert [_bits(one, at) for at in range(11)] == [_bits(other, at) for at in range(11)]
        assert one.posterior["mean"].tobytes() == other.posterior["mean"].tobytes()


class _Stop(Exception):
    """In the place of a kill."""


class _Until(Silent):
    """Stops before a round; counts the rounds that begin."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps, self._stop = 0, stop

    def step(self, done: int, note: str = "") -> None:
        if done == self._stop:
            raise _Stop
        self.steps += 1


def _keeper(campaign: Campaign, policy: Policy = ALWAYS) -> CheckpointKeeper:
    return CheckpointKeeper(campaign.store, campaign.plan.chunks[0], checkpoints.surroundings(), policy)


@pytest.mark.long
@pytest.mark.parametrize("reduced", [True, False], ids=["moments", "draws"])
def test_members_go_on_from_a_checkpoint_to_the_same_bits(campaign: Callable[..., Campaign], reduced: bool) -> None:
    found = campaign({"sizes": [2, 9, 2], "reduced": reduced, **NUTS})
    engine, (chunk,) = _engine(found), found.plan.chunks
    count = _Until()
    whole = engine.run(chunk, count)
    # Two chains of six small members and of three large ones in blocks of eight: three blocks of six rounds.
    for stop in (1, 4, 7, 13, 17):
        with pytest.raises(_Stop):
            engine.run(chunk, _Until(stop), _keeper(found))
        keeper, again = _keeper(found), _Until()
        assert keeper.load() == stop
        resumed = engine.run(chunk, again, keeper)
        assert again.steps < count.steps
        for one, other in zip(whole, resumed, strict=True):
            assert [_bits(one, at) for at in range(3)] == [_bits(other, at) for at in range(3)]
        keeper.clear()


def test_a_checkpoint_of_other_units_is_not_taken_up(campaign: Callable[..., Campaign]) -> None:
    """A file that could not be read before the kill, and can after it, shifts the lanes of its block."""
    found = campaign({"sizes": [4, 4, 4], "lost": "drop", **NUTS}, realizations={"count": 1})
    (chunk,), (realization,) = found.plan.chunks, found.plan.realizations
    whole = _run(found)
    with pytest.raises(_Stop):
        _engine(found, _poisoned(found, np.nan, realization.run_id, 0)).run(chunk, _Until(3), _keeper(found))
    keeper = _keeper(found)
    assert keeper.load() == 3
    (resumed,) = _engine(found).run(chunk, None, keeper)
    assert [_bits(resumed, at) for at in range(3)] == [_bits(whole[0], at) for at in range(3)]


def test_results_with_members_come_back_from_storage_as_they_were(campaign: Callable[..., Campaign]) -> None:
    found = campaign({**SIZES[3]})
    ids = [one.run_id for one in found.plan.realizations]
    results = _run(found, _poisoned(found, np.nan, ids[2], 0))
    outputs = commits.outputs_of(found.plan.settings)
    data = outputs.packed_nc(results)
    for one, other in zip(results, outputs.unpack(data), strict=True):
        assert one.members is not None
        assert other.members is not None
        assert one.members.status.tolist() == other.members.status.tolist()
        assert one.members.reasons == other.members.reasons
        assert [_bits(one, at) for at in range(3)] == [_bits(other, at) for at in range(3)]
        assert replace(one, members=None, posterior={}) == replace(other, members=None, posterior={})
    assert outputs.packed_nc(outputs.unpack(data)) == data


def _stored(campaign: Campaign) -> dict[str, Result]:
    found = campaign.record.commits().values()
    return {r.run_id: r for commit in found for r in commits.load_results(campaign.store, commit)}  # type: ignore[misc]


def test_a_retry_computes_only_the_members_that_are_not_ok(campaign: Callable[..., Campaign]) -> None:
    # About half of the members have fewer effective draws than this at first, and all in the second run.
    found = campaign({"sizes": [5] * 9}, convergence={"ess_min": 976})
    found.run()
    first = _stored(found)
    told = status.status(found.record, "m.yaml")
    assert told.realizations.members["not_converged"] > 3
    assert told.realizations.members["ok"] > 3
    assert told.next == "lanewise retry m.yaml"
    assert "members: " in status.text(told)
    done = found.retry()
    assert (done.n_tried, done.n_mended) == (3, 3)
    now = _stored(found)
    kept = n_new = 0
    for run_id, old in first.items():
        new = now[run_id]
        assert old.members is not None
        assert new.members is not None
        assert new.status is LaneStatus.OK
        assert new.members.counts == {"ok": 9}
        assert [one.status for one in new.tries] == ["not_converged", "ok"]
        for at, was in enumerate(old.members.status):
            same = _bits(old, at) == _bits(new, at)
            assert same == (was == LaneStatus.OK)
            kept, n_new = kept + same, n_new + (not same)
    assert kept == told.realizations.members["ok"]
    assert n_new == told.realizations.members["not_converged"]
    assert upkeep.verify(found.record).findings == ()


def test_a_lost_member_is_retried_where_the_family_goes_on_without_it(
    campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = campaign({**SIZES[3], "lost": "drop"}, realizations={"count": 1})
    (realization,) = found.plan.realizations
    bad = _poisoned(found, np.nan, realization.run_id, 1)
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "solver", lambda record, *_, **options: _engine(found, bad, **options))
        found.run()
    told = status.status(found.record, "m.yaml")
    assert told.realizations.counts == {"ok": 1}
    assert told.realizations.members == {"non_finite": 1, "ok": 2}
    assert told.next == "lanewise retry m.yaml"
    found.retry()
    (mended,) = _stored(found).values()
    assert mended.members is not None
    assert mended.members.counts == {"ok": 3}
    assert [_bits(mended, at) for at in (0, 2)] == [_bits(_run(found)[0], at) for at in (0, 2)]
    assert status.status(found.record, "m.yaml").next == "lanewise aggregate m.yaml"


class _Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_write_members_end_in_the_same_bits(
    campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, every: int
) -> None:
    config = {"sizes": [2, 9], "method": "nuts", "samples": 100}
    keys = {"realizations": {"count": 1}, "batch": {"size": 1, "width": 2}, "convergence": {"ess_min": 10}}
    whole = campaign(config, **keys)
    whole.run()
    bits = {name: [_bits(result, at) for at in range(2)] for name, result in _stored(whole).items()}
    left: list[int] = []

    def deadly(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise _Killed
            return write(*arguments)

        return call

    for name in ("put", "create", "remove"):
        monkeypatch.setattr(Store, name, deadly(getattr(Store, name)))
    for point in range(1, 100, every):
        left[:] = [point]
        found = campaign(config, f"killed {point}", **keys)
        found = replace(found, checkpoints=ALWAYS)
        try:
            found.run()
        except _Killed:
            left[:] = [-1]
            found.run()
        else:
            break
        assert tree(tmp_path / f"killed {point}") == tree(tmp_path / "results")
        assert {name: [_bits(r, at) for at in range(2)] for name, r in _stored(found).items()} == bits
    # Two blocks of three rounds, each with a checkpoint before it; manifest, probe, claim, data, commit, files.
    assert 12 < point < 100


@pytest.mark.long
def test_small_records_cost_their_own_bytes_and_no_draws_reach_the_host(
    campaign: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    n_members = 10_000
    crossed: list[int] = []
    to_host = blocks.to_host

    def counted(tree: Any) -> Any:
        import jax

        found = to_host(tree)
        crossed.append(sum(leaf.nbytes for leaf in jax.tree.leaves(found)))
        return found

    monkeypatch.setattr(blocks, "to_host", counted)
    keys = {"realizations": {"count": 1}, "batch": {"size": 1, "width": 500}}
    found = campaign({"sizes": [2], "repeat": n_members, "samples": 200}, **keys, convergence={"ess_min": 1})
    found.run()
    (commit,) = found.record.commits().values()
    (result,) = _stored(found).values()
    assert result.members is not None
    own = result.members.status.nbytes + sum(array.nbytes for array in result.members.record.values())
    assert own == n_members * (1 + 3 * 8)
    posterior = sum(array.nbytes for array in result.posterior.values())
    assert commit.data.size < 1.1 * own + posterior
    # What crosses is a lane's record, centre and status: 36 bytes, where 200 draws have 1600.
    assert sum(crossed) == n_members * (3 * 8 + 8 + 4)
    stored = sum(path.stat().st_size for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert stored < 1.1 * own + 5 * posterior


def test_padding_depends_on_the_member_alone_and_wastes_a_fifth_at_most() -> None:
    sizes = np.arange(1, 20_000)
    found = np.array([padded(int(size)) for size in sizes])
    assert (found >= sizes).all()
    assert ((found - sizes) / found).max() <= 0.2
    assert len(set(found.tolist())) < 60
    assert (np.diff(found) >= 0).all()


def test_padding_repeats_the_first_row_and_is_masked() -> None:
    data = {"y": np.array([[3.0, 4.0], [5.0, 6.0]]), "share": np.array(0.5)}
    found = masked(data, ("y",), 2, 4)
    assert found["y"].tolist() == [[3, 4], [5, 6], [3, 4], [3, 4]]
    assert found["mask"].tolist() == [True, True, False, False]
    assert found["share"] is data["share"]
    with pytest.raises(ValueError, match="a member has 0 rows, expected 1 to 4"):
        masked({"y": np.zeros(0)}, ("y",), 0, 4)
    with pytest.raises(ValueError, match="y has 2 rows, the member has 3"):
        masked(data, ("y",), 3, 4)

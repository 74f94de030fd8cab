"""Realizations again: only those asked for, with the ladder, the data's seed, and every attempt on record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gaussian
from conftest import Lanewise, Write, load, tree
from lanewise.api import Campaign
from lanewise.engine import engine
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.errors import ChunkImpossible
from lanewise.families.shear import aggregate, family
from lanewise.manifest import registry
from lanewise.manifest.family import climbed
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.manifest.plan import Realization
from lanewise.manifest.problem import Observation
from lanewise.methods.ladders import LADDERS
from lanewise.methods.settings import NutsSettings
from lanewise.operations import chunks, retry, status, upkeep
from lanewise.storage import commits
from lanewise.storage.record import Record

NUTS = {"method": "nuts", "nuts_config": {"warmup": 100, "samples": 100, "chains": 2}}
# The cheap problem's own, for the statistics.
PRIORS = {name: {"type": "Normal", "mean": 0.0, "sigma": gaussian.PRIOR} for name in ("g1", "g2")}


@pytest.fixture
def gaussians(monkeypatch: pytest.MonkeyPatch) -> list[Realization]:
    """Campaigns of the cheap problem, from the command line too; every realization that is looked at is noted."""
    looked: list[Realization] = []

    def observe(realization: Realization) -> Observation:
        looked.append(realization)
        return gaussian.observe(realization)

    def solver(record: Record, manifest: Manifest | None = None, *, retry: int = 0, before: object = None) -> Engine:
        return gaussian.engine(manifest or record.manifest, record.plan, observe, retry)

    monkeypatch.setattr(chunks, "solver", solver)
    return looked


def _bits(campaign: Campaign, run_id: str) -> Any:
    for commit in campaign.record.commits().values():
        for result in commits.load_results(campaign.store, commit):
            if result.run_id == run_id:
                assert isinstance(result, Result)
                return {name: draws.tobytes() for name, draws in result.posterior.items()}
    raise AssertionError(run_id)


@pytest.mark.long
def test_what_did_not_converge_climbs_the_ladder_and_nothing_else_is_computed(
    write: Write,
    tmp_path: Path,
    gaussians: list[Realization],
    lanewise: Lanewise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # From 200 draws an ESS of 150 comes now and then; from four times as many, always. A change of the warmup or of the
    # steps would be a program of its own: the first rung is the same program with other keys.
    longer_chains = LADDERS["nuts"][2]
    monkeypatch.setitem(LADDERS, "nuts", (Rung("nothing"), longer_chains))
    changes = {"realizations__count": 4, "batch__size": 4, "convergence": {"ess_min": 150}}
    path = write(config__inference=NUTS, config__gal__shear=PRIORS, **changes)
    campaign = load(path)
    counts = campaign.run().counts
    assert counts["not_converged"] >= 1
    assert counts["ok"] >= 1
    before, first = tree(tmp_path / "results"), campaign.record.commits()
    bad = {one.run_id for one in status.status(campaign.record, path).not_ok}
    assert status.status(campaign.record, path).next == f"lanewise retry {path}"
    gaussians.clear()
    code, out, _ = lanewise("retry", path, "--nonconverged")
    assert (code, f"{len(bad)} realizations tried again, {len(bad)} of them ok now" in out) == (0, True)
    assert {realization.run_id for realization in gaussians} == bad
    after = tree(tmp_path / "results")
    changed = {name.partition("/")[0] for name in after if after[name] != before[name]}
    assert changed == bad
    for run_id in bad:
        told = json.loads(after[f"{run_id}/convergence.json"])
        tries = told["tries"]
        assert [one["retry"] for one in tries] == list(range(len(tries)))
        assert [one["status"] for one in tries] == [*["not_converged"] * (len(tries) - 1), "ok"]
        assert [one["change"] for one in tries[1:]] == [r.change for r in LADDERS["nuts"]][: len(tries) - 1]
        assert after[f"{run_id}/truth.json"] == before[f"{run_id}/truth.json"]
    told = status.status(load(path).record, path)
    assert {one.run_id for one in told.retried} == bad
    assert told.next == f"lanewise aggregate {path}"
    assert upkeep.verify(load(path).record).findings == ()
    untouched = [index for index, commit in first.items() if bad.isdisjoint(commit.realizations)]
    assert {i: load(path).record.commits()[i] for i in untouched} == {i: first[i] for i in untouched}
    aggregate.aggregate(load(path).record)
    report = (tmp_path / "results" / "report.html").read_text()
    assert all(run_id in report for run_id in bad)
    assert "Tried again" in report
    summary = load(path).summary.set_index("run_id")
    assert (summary["retries"] > 0).to_dict() == {run_id: run_id in bad for run_id in summary.index}


def test_a_retry_draws_with_its_number_in_the_key_from_the_same_data(
    write: Write, gaussians: list[Realization], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LADDERS, "nuts", (Rung("nothing"),))
    path = write(config__inference=NUTS, realizations__count=1, convergence={"ess_min": 1e6})
    campaign = load(path)
    campaign.run()
    run_id = campaign.plan.realizations[0].run_id
    drawn = [_bits(campaign, run_id)]
    for _ in range(2):
        assert campaign.retry().n_mended == 0
        drawn.append(_bits(campaign, run_id))
    assert len({json.dumps({k: v.hex() for k, v in one.items()}) for one in drawn}) == 3
    (commit,) = campaign.record.commits().values()
    assert [one["retry"] for one in commit.tries[run_id]] == [0, 1, 2]
    # The same retries of a campaign elsewhere give the same draws.
    again = load(path, f"output.url={campaign.store.url}-again")
    again.run()
    again.retry()
    again.retry()
    assert _bits(again, run_id) == drawn[-1]


def test_what_failed_for_a_passing_reason_is_mended_as_it_would_have_been(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanewise: Lanewise
) -> None:
    whole = load(write("whole.yaml", url=str(tmp_path / "whole")))
    whole.run()
    observe = family.observe

    def flaky(config: Any, member: Any) -> Observation:
        if member.seed == 43:
            raise OSError("the disk of this node is gone")
        if member.seed == 44:
            return Observation.of({"image": observe(config, member).data["image"] * np.nan}, {})
        return observe(config, member)

    path = write()
    with monkeypatch.context() as patch:
        patch.setattr(registry, "lanes", lambda _: replace(family.LANES, observe=flaky))
        assert lanewise("run", path)[0] == 2
        told = status.status(load(path).record, path)
        assert [one.n for one in told.causes] == [1, 1]
        assert "OSError: the disk of this node is gone" in told.causes[0].cause
    assert lanewise("retry", path, "--nonconverged")[0] == 2
    assert load(path).record.commits()[0].tries == {}
    code, out, _ = lanewise("retry", path, "--failed")
    assert (code, "2 realizations tried again, 2 of them ok now" in out) == (0, True)
    # map draws nothing, so the retry has the very numbers of the run that nothing disturbed.
    mine, theirs = tree(tmp_path / "results"), tree(tmp_path / "whole")
    assert {name for name in theirs if mine[name] != theirs[name]} == {
        f"{r.run_id}/convergence.json" for r in whole.plan.realizations if r.planned.seed in (43, 44)
    }


def test_chunks_that_failed_or_were_lost_are_computed_to_the_bytes_of_a_first_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(write("whole.yaml", url=str(tmp_path / "whole")))
    whole.run()
    compute: Callable[..., Any] = Engine.run

    def broken(self: Engine, chunk: Any, *rest: Any) -> Any:
        if chunk.index == 1:
            raise RuntimeError("the device fell over")
        return compute(self, chunk, *rest)

    path = write()
    with monkeypatch.context() as patch:
        patch.setattr(engine.Engine, "run", broken)
        load(path).run(raise_on_failure=False)
    told = status.status(load(path).record, path)
    assert told.chunks.failed == {1: "RuntimeError: the device fell over"}
    assert told.next == f"lanewise retry {path}"
    assert retry.dead(load(path).record) == [1]
    outcome = load(path).retry()
    assert (outcome.n_tried, dict(outcome.counts), outcome.errors) == (0, {"ok": 4}, ())
    assert tree(tmp_path / "results") == tree(tmp_path / "whole")


def test_a_rung_changes_what_it_says() -> None:
    settings = NutsSettings(warmup=100, target_accept=0.99)
    longer, smaller, *_ = LADDERS["nuts"]
    assert climbed(settings, longer) == NutsSettings(warmup=400, target_accept=0.99)
    assert climbed(settings, smaller) == NutsSettings(warmup=400, target_accept=0.99)
    assert all(rung.method is None for rung in LADDERS["map"])


@pytest.mark.parametrize(
    ("limit", "verdict"), [pytest.param(0.05, "INVALID", marks=pytest.mark.slow), (0.2, "INCONCLUSIVE")]
)
def test_with_one_of_ten_chunks_dead_a_campaign_never_passes_and_does_after_a_retry(
    write: Write,
    tmp_path: Path,
    gaussians: list[Realization],
    monkeypatch: pytest.MonkeyPatch,
    limit: float,
    verdict: str,
) -> None:
    path = write(
        config__gal__shear=PRIORS,
        shear={"grid": [-0.1, 0.1]},
        realizations__count=10,
        # σ of m is about 0.6: only what is missing decides.
        acceptance={"max_abs_m": 9.0, "max_excluded_frac": limit},
    )
    compute: Callable[..., Any] = Engine.run

    def run(self: Engine, chunk: Any, *rest: Any) -> Any:
        if chunk.index == 3:
            raise ChunkImpossible("the device has no room for a single lane")
        return compute(self, chunk, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", run)
        assert load(path).run(raise_on_failure=False).errors[0].exit_code == 70  # type: ignore[attr-defined]
    results = aggregate.aggregate(load(path).record)
    assert results.verdict.verdict.value == verdict
    report = (tmp_path / "results" / "report.html").read_text()
    assert "Chunks that are missing" in report
    cells = [">3</td>", ">2</td>", ">(−0.1000, 0.0000)</td>", ">ChunkImpossible"]
    assert re.search("<td[^>]*".join(["", *map(re.escape, cells)]), report)
    assert load(path).retry().errors == ()
    assert aggregate.aggregate(load(path).record).verdict.verdict.value == "PASS"
    assert "Chunks that are missing" not in (tmp_path / "results" / "report.html").read_text()

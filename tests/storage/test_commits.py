"""Which commits a plan takes for its own: by the rule of their realizations, or by every identity."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from conftest import Write, load
from lanewise import api
from lanewise.errors import ResultsDiffer
from lanewise.storage import commits
from lanewise.storage.commits import Commit

OTHERS = {
    "seed": {"realizations": {"count": 2, "base_seed": 43}},
    "count in a grid": {"realizations": {"count": 3}},
    "truth": {"shear": {"grid": [0.01, 0.03]}},
    "config": {"config__psf__sigma": 0.5},
    "thresholds": {"convergence": {"rhat_max": 1.01}},
    "width": {"batch": {"size": 2, "width": 8}},
    "size": {"batch": {"size": 3, "width": 4}},
    "pairs": {"shear": {"grid": [0.01, 0.02], "paired": True}},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("ruled", [True, False], ids=["by its rule", "an old commit"])
def test_results_of_other_realizations_are_refused(write: Write, change: dict[str, Any], ruled: bool) -> None:
    campaign = load(write())
    _commit(campaign, 1, ruled=ruled)
    assert load(write()).record.commits()[1].rule == (campaign.plan.rule(1) if ruled else "")
    with pytest.raises(ResultsDiffer, match="holds other results"):
        load(write(**change)).record.commits()


def test_the_same_realizations_under_another_rule_are_accepted(write: Write) -> None:
    one = {"shear": {"grid": [0.01]}, "batch": {"size": 2, "width": 4}}
    small, large = (load(write(**one, realizations={"count": n})) for n in (4, 6))
    assert small.plan.rule(1) != large.plan.rule(1)
    _commit(small, 1)
    assert list(large.record.commits()) == [1]


def test_an_extension_keeps_the_rules_of_what_was_there(write: Write) -> None:
    before, after = (load(write(realizations={"count": 2, "extensions": added})).plan for added in ([3], [3, 1]))
    n = len(before.chunks)
    assert [before.rule(k) for k in range(n)] == [after.rule(k) for k in range(n)]
    assert len({after.rule(k) for k in range(len(after.chunks))}) == len(after.chunks)


def test_a_commit_of_listed_realizations_has_no_rule(write: Write) -> None:
    plan = load(write()).plan
    listed = replace(plan, stretches=tuple(list(part) for part in plan.stretches))
    assert listed == plan
    assert listed.rule(0) == ""


def _commit(campaign: api.Campaign, index: int, *, ruled: bool = True) -> None:
    """A commit as a run writes it; or as one of version 0.1 did, which had no rule."""
    chunk, plan = campaign.plan.chunks[index], campaign.plan
    nothing = commits.File("nothing", 0, "0" * 64)
    commit = Commit(
        chunk=index,
        attempt="20260101T000000-00000000",
        data=nothing,
        rows=nothing,
        view=None,
        realizations={one.run_id: one.identity for one in chunk.realizations},
        counts={"ok": plan.n_in(index)},
        settings=plan.settings,
        provenance={},
        rule=plan.rule(index),
    )
    data = commits.encode(commit)
    if not ruled:
        data = _without_rule(data)
    campaign.store.put(commits.path_of(chunk), data)


def _without_rule(data: bytes) -> bytes:
    content = json.loads(data)
    del content["rule"]
    text = json.dumps({**content, "sha256": "0" * 64}, indent=1) + "\n"
    return commits._sealed(*text.rsplit("0" * 64, 1))

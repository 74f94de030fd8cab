"""A plan computes its realizations from their index: they are those that loops over the manifest would list."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SCENE, Write, load
from lanewise.errors import ManifestError
from lanewise.families.shear import family as shear_family
from lanewise.families.shear import truth_draws
from lanewise.manifest import planning, registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Computed, Single

ELLIPTICAL = {
    **SCENE,
    "gal": {
        **SCENE["gal"],
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.1},
        "ellipticity": {part: {"type": "Normal", "mean": 0.05, "sigma": 0.1} for part in ("e1", "e2")},
    },
}
POINTS = [[0.01, 0.0], [0.02, -0.03], [-0.0, 0.05]]
CAMPAIGNS: dict[str, dict[str, Any]] = {
    "grid": {"shear": {"grid": [0.01, 0.02], "g2": 0.01}, "realizations": {"count": 5, "base_seed": 7}},
    "points": {"shear": {"points": POINTS}, "realizations": {"count": 4}},
    "paired": {"shear": {"grid": [0.02, 0.03], "paired": True}, "realizations": {"count": 3}},
    "ring": {"shear": {"grid": [0.02, 0.03], "ring": True}, "config": ELLIPTICAL, "realizations": {"count": 3}},
    "ring, drawn, paired": {
        "shear": {"points": POINTS, "ring": True, "paired": True},
        "config": {**ELLIPTICAL, "simulation": {"truths": "drawn"}},
        "realizations": {"count": 2, "extensions": [1, 3]},
    },
    "extensions": {"realizations": {"count": 3, "extensions": [1, 5, 2]}},
    "calibration": {
        "kind": "calibration",
        "shear": ...,
        "config": {**SCENE, "inference": {"method": "nuts"}},
        "realizations": {"count": 7, "extensions": [2]},
    },
}


def _listed(m: Manifest) -> Iterator[list[Single]]:
    """The realizations stretch by stretch, in loops; seeds count on from one stretch to the next."""
    seed, value = m.realizations.base_seed, m.content
    config = cast("Any", m.config)
    parameters = dict(config.simulated_galaxy.parameters)
    for count in (m.realizations.count, *m.realizations.extensions):
        found: list[Single] = []
        if m.kind == "calibration":
            for _ in range(count):
                truth = truth_draws.truth(parameters, seed)
                found.append(Single(shear_family.run_id(truth["g1"], truth["g2"], seed), seed, truth))
                seed += 1
            yield found
            continue
        shear = value["shear"]
        for g1, g2 in shear.get("points") or [(g, shear.get("g2", 0.0)) for g in shear["grid"]]:
            for _ in range(count):
                for ending in ("", "_r90") if shear.get("ring") else ("",):
                    for sign in (1, -1) if shear.get("paired") else (1,):
                        galaxy: dict[str, float] = {}
                        if config.simulation.truths == "drawn":
                            galaxy = truth_draws.truth({**parameters, "g1": g1 + 0.0, "g2": g2 + 0.0}, seed)
                        if ending:
                            shape = {**config.simulated_galaxy.centres, **galaxy}
                            galaxy |= {name: 0.0 - shape[name] for name in ("e1", "e2")}
                        a, b = sign * g1 + 0.0, sign * g2 + 0.0
                        truth = {**galaxy, "g1": a, "g2": b}
                        found.append(Single(f"g1_{a:+.4f}_g2_{b:+.4f}_s{seed}{ending}", seed, truth))
                seed += 1
        yield found


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("campaign", CAMPAIGNS.values(), ids=CAMPAIGNS)
def test_the_plan_is_the_list_of_its_realizations(write: Write, campaign: Mapping[str, Any], size: int) -> None:
    plan = load(write(**{"batch__size": size, **campaign})).plan
    stretches = list(_listed(load(write(**campaign)).manifest))
    expected = [one for part in stretches for one in part]
    chunks = [part[at : at + size] for part in stretches for at in range(0, len(part), size)]
    assert [one.planned for one in plan.realizations] == expected
    assert [list(one.planned.truth) for one in plan.realizations] == [list(one.truth) for one in expected]
    assert [one.identity for one in plan.realizations] == [one.identity(plan.settings) for one in expected]
    assert len(plan.realizations) == len(expected)
    assert [[one.planned for one in chunk.realizations] for chunk in plan.chunks] == chunks
    assert [chunk.index for chunk in plan.chunks] == list(range(len(chunks)))
    assert [plan.n_in(index) for index in range(len(chunks))] == list(map(len, chunks))
    before = [sum(map(len, chunks[:index])) for index in range(len(chunks) + 1)]
    assert [plan.n_before(index) for index in range(len(chunks) + 1)] == before
    assert [plan.begin(index) for index in range(len(chunks))] == before[:-1]
    assert plan.largest == max(map(len, chunks))
    assert len({one.run_id for one in plan.realizations}) == len(expected)
    for part in plan.stretches:
        seeds = [one.seed for one in part]
        assert seeds == sorted(seeds)
    assert pickle.loads(pickle.dumps(plan)) == plan


def _square(index: int) -> int:
    return index * index


@given(
    n=st.integers(0, 12),
    start=st.none() | st.integers(-15, 15),
    stop=st.none() | st.integers(-15, 15),
    step=st.none() | st.integers(-4, 4).filter(bool),
)
def test_a_computed_sequence_is_the_list_of_its_items(
    n: int, start: int | None, stop: int | None, step: int | None
) -> None:
    computed, listed = Computed(n, _square), [_square(index) for index in range(n)]
    assert computed == listed
    assert list(reversed(computed)) == listed[::-1]
    assert computed[start:stop:step] == listed[start:stop:step]
    assert computed[start:stop:step][1:] == listed[start:stop:step][1:]
    for index in range(-n, n):
        assert computed[index] == listed[index]
    for index in (n, -n - 1):
        with pytest.raises(IndexError):
            computed[index]


def test_listed_realizations_with_one_run_id_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load(write()).manifest
    twice = [Single("one", 1, {}), Single("one", 2, {})]
    listed = replace(shear_family.FAMILY, realizations=lambda _: twice)
    monkeypatch.setattr(registry, "family", lambda _: listed)
    with pytest.raises(ManifestError, match="2 realizations would share the directory one"):
        planning.build(manifest)

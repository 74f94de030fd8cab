"""`extend`: more realizations, and nothing before them changes."""

from __future__ import annotations

from pathlib import Path

import galsim
import pytest

from conftest import Write, load, tree
from lanewise.errors import ManifestError, ResultsDiffer
from lanewise.families.shear import aggregate
from lanewise.manifest import planning, yaml_text
from lanewise.operations import extend
from lanewise.storage.record import MANIFEST


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("a: 1\n", "a: 1\nrealizations: {extensions: [2]}\n"),
        ("realizations: {count: 2}  # few\nb: 1\n", "realizations: {count: 2, extensions: [2]}  # few\nb: 1\n"),
        ("realizations: {}\n", "realizations: {extensions: [2]}\n"),
        (
            "realizations:\n  count: 2  # few\n  base_seed: 7\n\n# next\nb: 1",
            "realizations:\n  count: 2  # few\n  base_seed: 7\n  extensions: [2]\n\n# next\nb: 1",
        ),
        (
            "realizations:\n  extensions: [3]  # once\n  count: 2\n",
            "realizations:\n  extensions: [3, 2]  # once\n  count: 2\n",
        ),
        ("realizations: {count: 1, extensions: [3, 4]}\n", "realizations: {count: 1, extensions: [3, 4, 2]}\n"),
    ],
)
def test_the_manifests_own_text_is_edited(text: str, edited: str) -> None:
    assert extend.extend(text, 2, "m.yaml") == edited


@pytest.mark.parametrize(
    "text",
    ["realizations:\n  extensions:\n  - 1\n", "{a: 1}\n", "x: &r {count: 2}\nrealizations: *r\n"],
    ids=["a list in lines", "all in one line", "an alias"],
)
def test_what_cannot_be_edited_safely_is_left_alone(text: str) -> None:
    with pytest.raises(ManifestError, match=r"write extensions: \[(1, )?2\] under realizations yourself"):
        extend.extend(text, 2, "m.yaml")


@pytest.mark.long
def test_six_become_twelve_and_the_first_six_are_untouched(write: Write, tmp_path: Path) -> None:
    path = write(shear={"grid": [0.01, 0.02, 0.05]}, batch__size=4)
    first = load(path)
    first.run()
    aggregate.aggregate(first.record)
    before, stamps = tree(tmp_path / "results"), _stamps(tmp_path / "results")
    after = extend.write(load(path).record, 2)
    campaign = load(path)
    assert campaign.plan == after
    assert campaign.plan.chunks[: len(first.plan.chunks)] == first.plan.chunks
    assert [r.planned.seed for r in after.realizations] == list(range(42, 54))
    outcome = campaign.run()
    assert (outcome.computed, outcome.reused) == (2, 2)
    results = aggregate.aggregate(campaign.record)
    assert results.g1 is not None
    assert results.g1.n == 12
    now = tree(tmp_path / "results")
    kept = [name for name in before if name.startswith("g1_")]
    assert {name: now[name] for name in kept} == {name: before[name] for name in kept}
    assert {name: _stamps(tmp_path / "results")[name] for name in kept} == {name: stamps[name] for name in kept}
    rows = before["summary.csv"].splitlines()
    assert now["summary.csv"].splitlines()[: len(rows)] == rows


def test_a_campaign_that_is_half_done_is_extended(write: Write) -> None:
    path = write()
    load(path).run(1)
    extend.write(load(path).record, 1)
    extend.write(load(path).record, 3)
    outcome = load(path).run()
    assert (outcome.computed, outcome.reused) == (5, 1)
    assert sum(outcome.counts.values()) == 4 + 2 + 6


def test_pairs_are_extended_as_pairs(write: Write) -> None:
    path = write(shear={"grid": [0.02], "paired": True}, realizations={"count": 1, "extensions": [1]})
    members = [r.planned for r in load(path).plan.realizations]
    assert [(m.truth["g1"], m.seed) for m in members] == [(0.02, 42), (-0.02, 42), (0.02, 43), (-0.02, 43)]


def test_a_container_with_the_manifest_of_before_does_not_take_the_extension_back(write: Write) -> None:
    path = write()
    old = load(path)
    old.run(0)
    extend.write(old.record, 1)
    load(path).run(2)
    old.run(1)
    kept = yaml_text.parse(old.store.read(MANIFEST).decode(), MANIFEST).value
    assert kept["realizations"]["extensions"] == [1]
    assert len(planning.build(load(str(old.store.url)).manifest).realizations) == 6


def test_results_of_another_campaign_are_not_extended(write: Write) -> None:
    load(write()).run(0)
    path = write(config__psf__sigma=0.5)
    text = Path(path).read_text()
    with pytest.raises(ResultsDiffer):
        extend.write(load(path).record, 2)
    assert Path(path).read_text() == text


@pytest.mark.parametrize(
    ("realizations", "count", "message"),
    [
        ({"count": 2, "base_seed": 2**31 - 10}, 4, "the last seed would be 2147483649, expected at most 2147483647"),
        ({"count": 2}, 5_000_000, "10000004 realizations; a campaign has at most 10000000"),
    ],
)
def test_an_extension_beyond_what_can_be_is_refused_and_not_written(
    write: Write, realizations: dict[str, int], count: int, message: str
) -> None:
    path = write(realizations=realizations)
    text = Path(path).read_text()
    with pytest.raises(ManifestError, match=rf"manifest.yaml:\d+: realizations.extensions\[0\]: {message}"):
        extend.write(load(path).record, count)
    assert Path(path).read_text() == text


def test_seeds_go_up_to_the_largest_of_32_bits(write: Write) -> None:
    settings = {"count": 2, "extensions": [2], "base_seed": 2**31 - 8}
    last = load(write(realizations=settings)).plan.realizations[-1].planned.seed
    assert last == 2**31 - 1
    # Why there is a bound: two seeds must never be one.
    assert galsim.BaseDeviate(2**32 + 5).raw() == galsim.BaseDeviate(5).raw()
    with pytest.raises(ManifestError, match="the last seed would be 2147483648"):
        load(write(realizations={**settings, "base_seed": 2**31 - 7}))


def _stamps(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}

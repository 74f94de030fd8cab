"""Ranges of chunks, and plans whose chunk size has changed: every realization is in exactly one chunk."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.manifest.plan import Plan, Single
from lanewise.manifest.ranges import Range, Union

SETTINGS = {"kind": "shear"}


def plan_of(lengths: list[int], size: int, kept: tuple[Range, ...] = (), first_new: int = 0) -> Plan:
    stretches = tuple([Single(f"{at}_{k}", k, {}) for k in range(n)] for at, n in enumerate(lengths))
    return Plan(stretches, size, 4, SETTINGS, kept, first_new)


def kept_of(plan: Plan, done: set[int]) -> tuple[Range, ...]:
    """Each committed chunk as a range of its own."""
    return tuple(Range(i, plan.begin(i), plan.n_in(i), plan.n_in(i)) for i in plan.indices if i in done)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    chosen=st.randoms(use_true_random=False),
)
def test_every_realization_is_in_one_chunk_however_often_the_size_changes(
    lengths: list[int], sizes: list[int], chosen: object
) -> None:
    plan = plan_of(lengths, sizes[0])
    for size in sizes[1:]:
        done = {index for index in plan.indices if chosen.random() < 0.5}  # type: ignore[attr-defined]
        before = {index: plan.chunks[index].run_ids for index in done}
        last = len(plan.chunks)
        plan = plan_of(lengths, size, kept_of(plan, done), last)
        assert plan.fault() is None
        assert {index: plan.chunks[index].run_ids for index in before} == before
        assert all(index in before or index >= last for index in plan.indices)
        listed = [run_id for index in plan.order(plan.indices) for run_id in plan.chunks[index].run_ids]
        assert listed == [one.run_id for one in plan.realizations]
        assert [chunk.index for chunk in plan.chunks] == list(range(len(plan.chunks)))
        held = [len(chunk.realizations) for chunk in plan.chunks]
        assert [plan.n_in(index) for index in range(len(held))] == held
        assert [plan.n_before(index) for index in range(len(held) + 1)] == [sum(held[:i]) for i in range(len(held) + 1)]
        assert all(held[index] <= size for index in plan.indices if index >= last)
        assert list(plan.indices) == [index for index, n in enumerate(held) if n]
        assert pickle.loads(pickle.dumps(plan)) == plan


def test_chunks_of_the_new_size_fill_the_gaps_and_begin_anew_with_each_stretch() -> None:
    old = plan_of([7, 4], 2)
    plan = plan_of([7, 4], 3, kept_of(old, {0, 2}), 6)
    assert [(index, plan.begin(index), plan.n_in(index)) for index in plan.indices] == [
        (0, 0, 2),
        (2, 4, 2),
        (6, 2, 2),
        (7, 6, 1),
        (8, 7, 3),
        (9, 10, 1),
    ]
    assert plan.order(plan.indices) == [0, 6, 2, 7, 8, 9]
    assert (plan.largest, plan.sample.index) == (3, 6)


@pytest.mark.parametrize(
    ("kept", "below"),
    [
        ((Range(0, 0, 4, 2), Range(2, 2, 2, 2)), 6),
        ((Range(0, 6, 2, 2),), 6),
        ((Range(0, 10, 4, 2),), 6),
        ((Range(0, 40, 4, 2),), 6),
        ((Range(0, 0, 4, 2),), 1),
        ((Range(0, 0, 4, 0),), 6),
        ((Range(3, 0, 2, 2), Range(0, 2, 2, 2)), 6),
    ],
    ids=["overlap", "over two stretches", "beyond the end", "far beyond", "above below", "no size", "descending"],
)
def test_ranges_that_are_not_of_these_realizations_are_a_fault(kept: tuple[Range, ...], below: int) -> None:
    assert plan_of([7, 4], 3, kept, below).fault() is not None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=5))
def test_a_union_is_the_list_of_its_integers(steps: list[tuple[int, int]]) -> None:
    ranges, at = [], 0
    for gap, n in steps:
        ranges.append(range(at + gap, at + gap + n))
        at += gap + n
    found, listed = Union(ranges), [number for one in ranges for number in one]
    assert list(found) == [found[place] for place in range(len(found))] == listed
    assert [number in found for number in range(-1, at + 2)] == [number in listed for number in range(-1, at + 2)]
    assert found[1:-1] == listed[1:-1]

"""The output of `plan`."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lanewise.manifest.plan import Plan, Single
from lanewise.operations import plan_summary


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    size=st.integers(1, 50),
    done=st.sets(st.integers(0, 200)),
)
def test_every_realization_is_in_one_chunk_and_every_chunk_in_one_range(
    lengths: list[int], size: int, done: set[int]
) -> None:
    ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
    parts = [
        [Single(f"s{seed}", seed, {}) for seed in range(end - n, end)] for n, end in zip(lengths, ends, strict=True)
    ]
    plan = Plan(tuple(parts), size, 1, {})
    assert [one.run_id for chunk in plan.chunks for one in chunk.realizations] == [f"s{k}" for k in range(ends[-1])]
    done &= set(range(len(plan.chunks)))
    found = list(plan_summary._ranges(plan, done))
    assert [(index, one.committed) for one in found for index in range(one.first, one.last + 1)] == [
        (index, index in done) for index in range(len(plan.chunks))
    ]
    assert [one.n_realizations for one in found] == [
        sum(len(plan.chunks[index].realizations) for index in range(one.first, one.last + 1)) for one in found
    ]
    assert all(a.committed != b.committed for a, b in pairwise(found))

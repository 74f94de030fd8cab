"""Indices as spans, and back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanewise.manifest import spans


@given(st.sets(st.integers(0, 60)))
def test_every_index_is_in_exactly_one_span_and_spans_do_not_touch(indices: set[int]) -> None:
    found = spans.spans(indices)
    assert [index for span in found for index in span] == sorted(indices)
    assert all(before.stop < after.start for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("indices", "text"),
    [
        ([3], "chunk 3"),
        ([7, 0, 1, 2], "chunk 0-2, 7"),
        (range(0, 26, 2), f"chunk {', '.join(map(str, range(0, 24, 2)))} …"),
    ],
)
def test_spans_are_shown_as_batch_systems_write_them(indices: list[int], text: str) -> None:
    assert spans.shown(indices) == text

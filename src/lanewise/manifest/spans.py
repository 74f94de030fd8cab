"""Indices of chunks as spans of consecutive ones, as people and batch systems write them."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 12


def spans(indices: Iterable[int]) -> list[range]:
    """Spans of consecutive indices, ascending; every index is in exactly one."""
    found: list[range] = []
    for index in sorted(set(indices)):
        if found and found[-1].stop == index:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def written(span: range) -> str:
    """A span as batch systems take it: `4-7`, or `9` for one index."""
    return f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0])


def shown(indices: Iterable[int]) -> str:
    """The chunks for a message, e.g. `chunk 0-3, 7`; of many spans the first ones."""
    found = spans(indices)
    return f"chunk {', '.join(map(written, found[:_SHOWN]))}{' …' if len(found) > _SHOWN else ''}"

"""Chunks in ranges, so that neither their indices nor their realizations are listed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import overload


@dataclass(frozen=True)
class Range:
    """Neighbouring chunks over neighbouring realizations.

    Attributes:
        chunk: index of the first chunk.
        first: index of the first realization.
        n: realizations.
        size: realizations per chunk; the last chunk may have fewer.
    """

    chunk: int
    first: int
    n: int
    size: int

    @property
    def chunks(self) -> range:
        """Indices of the chunks."""
        return range(self.chunk, self.chunk - (-self.n // self.size))

    def places(self, index: int) -> range:
        """Indices of the realizations of a chunk."""
        begin = (index - self.chunk) * self.size
        return range(self.first + begin, self.first + min(begin + self.size, self.n))


class Union(Sequence[int]):
    """The integers of ascending disjoint ranges."""

    def __init__(self, ranges: Iterable[range]) -> None:
        self._ranges = [one for one in ranges if one]
        self._starts = [one.start for one in self._ranges]
        self._ends = list(accumulate(map(len, self._ranges)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._ranges)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int):
            return False
        at = bisect_right(self._starts, value) - 1
        return at >= 0 and value in self._ranges[at]

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        at = bisect_right(self._ends, places)
        return self._ranges[at][places - self._ends[at]]

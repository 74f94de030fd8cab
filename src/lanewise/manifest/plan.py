"""The plan: the realizations of a campaign and their chunks, computed from the index and not listed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property, partial
from itertools import accumulate, pairwise
from typing import Any, Protocol, Self, TypeVar, overload

from lanewise.manifest import identity
from lanewise.manifest.manifest import Config
from lanewise.manifest.ranges import Range, Union

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Computed(Sequence[T]):
    """A sequence whose items are computed from their index each time, so that it takes no memory.

    Attributes:
        n: its length.
        of: the item at an index from 0 to n − 1. It must be picklable, because plans go to worker processes.
        rule: what all items are computed from, JSON-ready; None for a sequence without a rule of its own.
    """

    n: int
    of: Callable[[int], T] = field(repr=False)
    rule: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Computed[T]: ...
    def __getitem__(self, index: int | slice) -> T | Computed[T]:
        # A range knows the rules of negative indices and slices, and when to raise IndexError.
        if isinstance(index, slice):
            places = range(self.n)[index]
            return Computed(len(places), partial(_through, self.of, places))
        return self.of(range(self.n)[index])

    def __iter__(self) -> Iterator[T]:
        return map(self.of, range(self.n))

    def __eq__(self, other: object) -> bool:
        """Whether the items are equal; this computes all of them."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


def _through(of: Callable[[int], T], places: range, at: int) -> T:
    return of(places[at])


class Planned(Protocol):
    """A planned realization of a family."""

    @property
    def run_id(self) -> str:
        """Name of its directory, unique in the campaign."""

    @property
    def seed(self) -> int:
        """Seed of its data, or of the search for its estimate."""

    @property
    def name(self) -> str:
        """Name for people; often the run id."""

    @property
    def truth(self) -> Mapping[str, float]:
        """True parameters that are known before the data are made; empty if there are none."""

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of everything that determines its numbers; `shared` are the plan's `settings`."""

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """A copy with a changed config and the same identity, for a retry; unchanged if it has no config of its own."""


class Pinned(Protocol):
    """Data of a realization that are read rather than simulated."""

    @property
    def content(self) -> Any:
        """What fixes them, JSON-ready; not where they lie."""
        ...


@dataclass(frozen=True)
class Single:
    """A realization that is told from others by its truth, its seed and, where they are read, its data.

    Attributes:
        truth: the parameters that the campaign sets, in the order of the output; of data that are read, what is known
            to be true of them, which may be nothing.
        sources: data that are read, by role; empty where they are simulated from truth and seed.
    """

    run_id: str
    seed: int
    truth: Mapping[str, float]
    sources: Mapping[str, Pinned] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The run id."""
        return self.run_id

    def identity(self, shared: Mapping[str, Any]) -> str:
        """SHA-256 of settings, truth, seed and the content of the sources."""
        content = {"settings": shared, "truth": dict(self.truth), "seed": self.seed}
        if self.sources:
            content["data"] = {role: one.content for role, one in self.sources.items()}
        return identity.of(content)

    def changed(self, change: Callable[[Config], Config]) -> Self:
        """Unchanged: it has no config of its own."""
        return self


@dataclass(frozen=True)
class Realization:
    """One inference problem of the plan.

    Attributes:
        shared: the plan's settings.
    """

    planned: Planned
    shared: Mapping[str, Any] = field(repr=False)

    @property
    def run_id(self) -> str:
        """Name of its directory."""
        return self.planned.run_id

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything that determines its numbers."""
        return self.planned.identity(self.shared)


@dataclass(frozen=True)
class Chunk:
    """The realizations that one container computes.

    Attributes:
        planned: its realizations, perhaps not computed yet.
    """

    index: int
    planned: Sequence[Realization]

    @property
    def name(self) -> str:
        """The index in file names, five digits."""
        return f"{self.index:05d}"

    @cached_property
    def realizations(self) -> tuple[Realization, ...]:
        """Its realizations; computed once and kept with the chunk."""
        return tuple(self.planned)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Names of its realizations' directories."""
        return tuple(realization.run_id for realization in self.realizations)


@dataclass(frozen=True)
class Plan:
    """All realizations of a campaign and their division into chunks.

    `chunks` and `realizations` are computed item by item: `len`, one chunk or one realization cost the same in every
    campaign. Only a loop over all of them costs what the campaign costs.

    After a change of the chunk size, the chunks that were committed keep their indices. The other indices of that time
    are void: their chunks have no realizations. Those of the new chunks follow.

    Attributes:
        stretches: the realizations of the first request, then of each extension. Each begins a new chunk.
        size: realizations per chunk; the last chunk of a range may have fewer.
        width: lanes in flight on the device.
        settings: settings that all realizations share, including the family's name (`kind`).
        kept: committed chunks of other sizes, ascending.
        first_new: index of the first chunk of the others.
    """

    stretches: tuple[Sequence[Planned], ...]
    size: int
    width: int
    settings: Mapping[str, Any]
    kept: tuple[Range, ...] = ()
    first_new: int = 0

    @property
    def chunks(self) -> Computed[Chunk]:
        """Every chunk by its index, also void ones."""
        last = self.ranges[-1].chunks.stop if self.ranges else 0
        return Computed(max(self.first_new, last), self._chunk)

    @cached_property
    def indices(self) -> Union:
        """Indices of the chunks that have realizations."""
        return Union(one.chunks for one in self.ranges)

    @property
    def realizations(self) -> Computed[Realization]:
        """Every realization, in order."""
        return Computed(self._firsts[-1], self._realization)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """The chunks as ranges, ascending by their indices."""
        found, chunk = list(self.kept), self.first_new
        kept = sorted((one.first, one.first + one.n) for one in self.kept)
        for begin, end in pairwise(self._firsts):
            inside = [span for span in kept if begin <= span[0] < end]
            for first, after in zip([begin, *(b for _, b in inside)], [*(a for a, _ in inside), end], strict=True):
                if first < after:
                    found.append(Range(chunk, first, after - first, self.size))
                    chunk = found[-1].chunks.stop
        return tuple(found)

    def fault(self) -> str | None:
        """What is wrong with the kept chunks; None if they are ranges of these realizations."""
        if any(not one.n or not one.size for one in self.kept):
            return "a range has no realizations, or chunks of none; restore what was there"
        end = 0
        for one in sorted(self.kept, key=lambda kept: kept.first):
            if (
                one.first < end
                or one.first + one.n > self._firsts[min(self._stretch(one.first) + 1, len(self.stretches))]
            ):
                return f"range {list(astuple(one))} is not of realizations of this manifest; restore what was there"
            end = one.first + one.n
        numbers = [bound for one in self.kept for bound in (one.chunks.start, one.chunks.stop)]
        if numbers != sorted(numbers) or max(numbers, default=0) > self.first_new:
            return "the chunks of the ranges overlap, descend or are not below `below`; restore what was there"
        return None

    @property
    def largest(self) -> int:
        """Realizations of the largest chunk of the present size."""
        return max(min(one.size, one.n) for one in self._present)

    @property
    def sample(self) -> Chunk:
        """The first chunk of the present size."""
        return self.chunks[self._present[0].chunk]

    def stretch_of(self, one: Range) -> tuple[Sequence[Planned], int]:
        """The stretch of a range, and the place of its first realization there."""
        at = self._stretch(one.first)
        return self.stretches[at], one.first - self._firsts[at]

    def order(self, indices: Iterable[int]) -> list[int]:
        """Indices of chunks in the order of their realizations."""
        return sorted(indices, key=self.begin)

    def begin(self, index: int) -> int:
        """Index of the first realization of a chunk that is not void."""
        return self._range(index).places(index).start

    def n_before(self, index: int) -> int:
        """Realizations of the chunks with smaller indices."""
        at = bisect_right(self._numbers, index) - 1
        if at < 0:
            return 0
        one = self.ranges[at]
        return self._totals[at] + min((index - one.chunk) * one.size, one.n)

    def n_in(self, index: int) -> int:
        """Realizations of a chunk; 0 if it is void."""
        return self.n_before(index + 1) - self.n_before(index)

    def rule(self, index: int) -> str:
        """SHA-256 of what determines all identities of a chunk; empty if its realizations are listed.

        Equal rules give equal realizations. Equal realizations may have different rules, e.g. those of the first chunk
        of one shear with a small and with a large count.
        """
        places = self._range(index).places(index)
        stretch = self._stretch(places.start)
        rule = self._rules[stretch]
        first = places.start - self._firsts[stretch]
        return rule and identity.of({"stretch": rule, "first": first, "n": len(places)})

    @property
    def _present(self) -> tuple[Range, ...]:
        """The ranges of chunks of the present size; the kept ones if there are no others."""
        return self.ranges[len(self.kept) :] or self.kept

    def _range(self, index: int) -> Range:
        return self.ranges[bisect_right(self._numbers, index) - 1]

    def _stretch(self, realization: int) -> int:
        return bisect_right(self._firsts, realization) - 1

    def _chunk(self, index: int) -> Chunk:
        if index not in self.indices:
            return Chunk(index, ())
        places = self._range(index).places(index)
        return Chunk(index, Computed(len(places), partial(_through, self._realization, places)))

    def _realization(self, index: int) -> Realization:
        stretch = self._stretch(index)
        return Realization(self.stretches[stretch][index - self._firsts[stretch]], self.settings)

    @cached_property
    def _numbers(self) -> tuple[int, ...]:
        """Index of the first chunk of each range."""
        return tuple(one.chunk for one in self.ranges)

    @cached_property
    def _totals(self) -> tuple[int, ...]:
        """Realizations of the ranges before each range."""
        return tuple(accumulate((one.n for one in self.ranges), initial=0))

    @cached_property
    def _firsts(self) -> tuple[int, ...]:
        """Index of the first realization of each stretch; at the end, the number of realizations."""
        return tuple(accumulate(map(len, self.stretches), initial=0))

    @cached_property
    def _rules(self) -> tuple[str, ...]:
        """SHA-256 of the rule of each stretch, so that a chunk's rule does not hash the settings again."""
        return tuple(
            identity.of({"settings": self.settings, "rule": one.rule})
            if isinstance(one, Computed) and one.rule is not None
            else ""
            for one in self.stretches
        )

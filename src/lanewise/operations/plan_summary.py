"""Output of `plan`: a summary for programs, and as text for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lanewise.errors import UsageError
from lanewise.manifest import registry
from lanewise.manifest.plan import Computed, Plan, Realization
from lanewise.manifest.protocols import Forecast, Needs
from lanewise.operations import aggregate, cost
from lanewise.operations.cost import Cost
from lanewise.statistics.numbers import number
from lanewise.storage.record import Record

if TYPE_CHECKING:
    from lanewise.operations.disk import Disk
    from lanewise.operations.memory import Memory

_SHOWN = 12
# The designs of a forecast, for people.
_WAYS = {
    "plain": "each by itself",
    "pairs": "±g pairs (shear.paired)",
    "rings": "rings (shear.ring)",
    "pairs in rings": "±g pairs in rings (shear.paired, shear.ring)",
}


@dataclass(frozen=True)
class PlannedRealization:
    """A realization of a chunk; `name` is its name for people."""

    run_id: str
    name: str
    seed: int
    identity: str


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk with its realizations, and whether it is committed; see schemas/plan-chunk.schema.json."""

    index: int
    committed: bool
    realizations: tuple[PlannedRealization, ...]


@dataclass(frozen=True)
class Stretch:
    """Realizations of the first request or of an extension, in chunks of one size.

    Attributes:
        first, first_chunk: index of its first realization and chunk.
        size: realizations per chunk; the last one may have fewer.
        rule: what the realizations of the request or extension are computed from; None if they are listed, e.g. from
            files.
        offset: place of its first realization in the request or extension; above 0 only after `lanewise rechunk`.
    """

    first: int
    n_realizations: int
    first_chunk: int
    n_chunks: int
    size: int
    rule: Mapping[str, Any] | None
    offset: int


@dataclass(frozen=True)
class ChunkRange:
    """Neighbouring chunks, `first` to `last`, that are all committed or all open."""

    first: int
    last: int
    n_realizations: int
    committed: bool


@dataclass(frozen=True)
class PlanSummary:
    """A plan, its needs and its progress; see schemas/plan.schema.json.

    Attributes:
        width: lanes in flight; None for a family that does not run as lanes.
        memory, disk: None if they were not requested or cannot be predicted.
        solver: needs of the first chunk of a family that does not run as lanes; None as above.
        cost: computing time and price; None before a chunk is committed.
    """

    name: str
    output: str
    method: str
    width: int | None
    n_realizations: int
    n_chunks: int
    stretches: tuple[Stretch, ...]
    memory: Memory | None
    disk: Disk | None
    solver: Needs | None
    chunks: tuple[ChunkRange, ...]
    cost: Cost | None

    @property
    def n_open(self) -> int:
        """Number of realizations in chunks that are not committed."""
        return sum(one.n_realizations for one in self.chunks if not one.committed)


def summarise(record: Record, *, needs: bool = False, price_per_hour: float | None = None) -> PlanSummary:
    """The rule of the plan, and which chunks are committed. It lists no realization.

    Args:
        needs: compile the program, to predict the memory of a chunk and the disk space of all results.
        price_per_hour: of one container, in any currency.

    Raises:
        ManifestError: the memory or the disk space is too small.
    """
    done = record.commits()
    needed, space, solver = _needs(record, frozenset(done)) if needs else (None, None, None)
    chunks, n_total = tuple(_ranges(record.plan, frozenset(done))), len(record.plan.realizations)
    n_open = sum(one.n_realizations for one in chunks if not one.committed)
    return PlanSummary(
        name=record.manifest.name,
        output=record.manifest.output.url,
        method=record.manifest.config.method,
        width=record.plan.width if registry.family(record.manifest.kind).lanes else None,
        n_realizations=n_total,
        n_chunks=len(record.plan.indices),
        stretches=tuple(_stretches(record.plan)),
        memory=needed,
        disk=space,
        solver=solver,
        chunks=chunks,
        cost=cost.cost(cost.rate(done.values()), n_open, n_total, price_per_hour),
    )


def _needs(record: Record, done: frozenset[int]) -> tuple[Memory | None, Disk | None, Needs | None]:
    # Only a prediction imports JAX, which takes more time and memory than the rest of the plan.
    from lanewise.operations import disk, memory

    needed = memory.predict(record.manifest, record.plan)
    space = disk.predict(record, needed.record_bytes, done) if needed else None
    return needed, space, memory.of_solver(record.manifest, record.plan)


def _stretches(plan: Plan) -> Iterator[Stretch]:
    for one in plan.ranges:
        planned, offset = plan.stretch_of(one)
        rule = planned.rule if isinstance(planned, Computed) else None
        yield Stretch(one.first, one.n, one.chunk, len(one.chunks), one.size, rule, offset)


def _ranges(plan: Plan, done: Collection[int]) -> Iterator[ChunkRange]:
    """Ranges of equal state; `done` are the committed chunks."""
    bounds = Counter(bound for one in plan.ranges for bound in (one.chunks.start, one.chunks.stop))
    begins = {index for index in done if index - 1 not in done}
    ends = {index + 1 for index in done if index + 1 not in done}
    # Two ranges that touch share a bound, where the state need not change.
    for first, after in pairwise(sorted({one for one, n in bounds.items() if n == 1} | begins | ends)):
        # Void chunks have no realizations.
        if n := plan.n_before(after) - plan.n_before(first):
            yield ChunkRange(first, after - 1, n, committed=first in done)


def text(found: PlanSummary, plan: Plan) -> str:
    """The plan as text: all chunks of a small plan, the first and last of a large one."""
    n_done = sum(one.last - one.first + 1 for one in found.chunks if one.committed)
    lines = [
        f"{found.name}: {found.n_realizations} realizations in {found.n_chunks} chunks, "
        f"method {found.method}" + (f", {found.width} lanes in flight" if found.width else ""),
        f"output: {found.output} ({n_done} of {found.n_chunks} chunks committed)",
        *([found.memory.text] if found.memory else []),
        *([found.disk.text] if found.disk else []),
        *([_solver(found.solver)] if found.solver else []),
        *([cost.text(found.cost, found.n_open)] if found.cost else []),
        "",
    ]
    middle = found.n_chunks > _SHOWN
    every = plan.indices
    for index in [*every[: _SHOWN // 2], *every[-_SHOWN // 2 :]] if middle else every:
        committed = any(one.committed and one.first <= index <= one.last for one in found.chunks)
        lines.append(f"  chunk {index:>5}  {_state(committed)}  {_ids(plan.chunks[index].planned)}")
        if middle and index == _SHOWN // 2 - 1:
            lines.append("      …")
    return "\n".join(lines)


def _solver(needs: Needs) -> str:
    from lanewise.operations.memory import size_text

    time = cost.duration(needs.seconds)
    if needs.seconds_most is not None:
        time += f" to {cost.duration(needs.seconds_most)}"
    return f"first chunk: about {size_text(needs.host_bytes)} and {time}; {needs.what}"


def _ids(realizations: Sequence[Realization]) -> str:
    """The run ids of a small chunk, the first and last of a large one."""
    few = len(realizations) <= 4
    shown = [one.planned for one in (realizations if few else (realizations[0], realizations[-1]))]
    ids = [one.run_id if one.name == one.run_id else f"{one.run_id} {one.name}" for one in shown]
    return "  ".join(ids) if few else f"{ids[0]} … {ids[-1]}  ({len(realizations)})"


def chunk(record: Record, index: int) -> PlannedChunk:
    """One chunk with its realizations.

    Raises:
        UsageError: the plan has no such chunk.
    """
    n_chunks = len(record.plan.chunks)
    if index not in record.plan.indices:
        void = ", which has no realizations since the chunk size changed" if 0 <= index < n_chunks else ""
        raise UsageError(f"--chunk: expected 0 to {n_chunks - 1}, got {index}{void}")
    found = (
        PlannedRealization(run_id=r.run_id, name=r.planned.name, seed=r.planned.seed, identity=r.identity)
        for r in record.plan.chunks[index].realizations
    )
    return PlannedChunk(index, bool(record.commits([index])), tuple(found))


def chunk_text(found: PlannedChunk) -> str:
    """A chunk as text: a line per realization with run id, name if it has another one, seed and identity."""
    n = len(found.realizations)
    lines = [f"chunk {found.index}: {n} realization{'s' if n != 1 else ''}, {_state(found.committed)}"]
    for one in found.realizations:
        name = "" if one.name == one.run_id else f"  {one.name}"
        lines.append(f"  {one.run_id}{name}  seed {one.seed}  {one.identity}")
    return "\n".join(lines)


def _state(committed: bool) -> str:
    return "done" if committed else "open"


def forecast(record: Record, target: float) -> tuple[Forecast, ...]:
    """The number of realizations that the target error needs, predicted from the committed ones.

    Args:
        target: standard error of m.

    Raises:
        UsageError: the target is not a positive number, or the family has no m.
    """
    if not 0 < target < float("inf"):
        raise UsageError(f"--target-sigma-m: expected a number > 0, got {target:g}")
    kind = record.manifest.kind
    family = registry.family(kind)
    if family.forecast is None:
        raise UsageError(f"--target-sigma-m: kind {kind} has no m")
    found, rate = family.forecast(record, target), cost.rate(record.commits().values())
    if rate is None:
        return tuple(found)
    timed = (tuple(replace(way, seconds=rate.seconds * way.n_needed) for way in one.designs) for one in found)
    return tuple(
        replace(one, designs=designs, seconds=rate.seconds * one.n_needed)
        for one, designs in zip(found, timed, strict=True)
    )


def forecast_text(found: Sequence[Forecast], manifest: str) -> str:
    """A line per component, and the next command.

    Args:
        manifest: path or URL of the manifest, as the user wrote it.
    """
    lines = []
    for one in found:
        pilot = f"σ_m of {one.component} is {one.sigma_m:.2g} from {one.n} realizations"
        if one.count:
            of = [f"{number(one.galaxies, '.2g')} images of galaxies"] if one.galaxies > one.n_needed else []
            of += [] if one.seconds is None else [f"{cost.duration(one.seconds)} in one container"]
            costs = f" ({', '.join(of)})" if of else ""
            more = f"about {one.n_needed} in total{costs} bring it to {one.target:g}"
        else:
            more = f"it is already {one.target:g} or less"
        lines.append(f"{pilot}; {more}")
        for way in one.designs:
            time = "" if way.seconds is None else f", {cost.duration(way.seconds)} in one container"
            lines.append(f"  {_WAYS[way.name]}: {way.n_needed} realizations{time}")
    most = max(one.count for one in found)
    return "\n".join([*lines, f"next: {aggregate.extend_command(manifest, most)}"] if most else lines)

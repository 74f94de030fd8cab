"""What `plan` prints: a summary for programs, and the same as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest import registry
from lanewise.manifest.protocols import Forecast
from lanewise.operations import aggregate, disk, memory
from lanewise.operations.disk import Disk
from lanewise.operations.memory import Memory
from lanewise.storage.record import Record

_SHOWN = 12


@dataclass(frozen=True)
class PlannedRealization:
    """A realization of a chunk; `name` is what a reader calls it."""

    run_id: str
    name: str
    seed: int
    identity: str


@dataclass(frozen=True)
class PlannedChunk:
    """A chunk, and whether it is committed."""

    index: int
    committed: bool
    realizations: tuple[PlannedRealization, ...]


@dataclass(frozen=True)
class PlanSummary:
    """A plan with what it needs and what is done; see schemas/plan.schema.json.

    Attributes:
        width: lanes in flight; None for a family that does not run as lanes.
        memory, disk: None where they were not asked for, or cannot be told.
    """

    name: str
    output: str
    method: str
    width: int | None
    n_realizations: int
    memory: Memory | None
    disk: Disk | None
    chunks: tuple[PlannedChunk, ...]

    @property
    def content(self) -> dict[str, Any]:
        """For programs, JSON-ready."""
        return asdict(self)


def summarise(record: Record, *, needs: bool = False) -> PlanSummary:
    """Chunks with their realizations, and which are committed.

    Args:
        needs: compile the program, to tell the memory that a chunk needs and the room for all results.

    Raises:
        ManifestError: the memory or the room is not there.
    """
    done = record.commits()
    needed = memory.predict(record.manifest, record.plan) if needs else None
    return PlanSummary(
        name=record.manifest.name,
        output=record.manifest.output.url,
        method=record.manifest.config.method,
        width=record.plan.settings.get("width"),
        n_realizations=len(record.plan.realizations),
        memory=needed,
        disk=disk.predict(record, needed.record_bytes, frozenset(done)) if needed else None,
        chunks=tuple(
            PlannedChunk(
                chunk.index,
                chunk.index in done,
                tuple(
                    PlannedRealization(r.run_id, r.planned.name, r.planned.seed, r.identity) for r in chunk.realizations
                ),
            )
            for chunk in record.plan.chunks
        ),
    )


def text(plan: PlanSummary) -> str:
    """The plan for a reader: all of a small one, both ends of a large one."""
    chunks = plan.chunks
    done = sum(chunk.committed for chunk in chunks)
    lines = [
        f"{plan.name}: {plan.n_realizations} realizations in {len(chunks)} chunks, "
        f"method {plan.method}" + (f", {plan.width} lanes in flight" if plan.width else ""),
        f"output: {plan.output} ({done} of {len(chunks)} chunks committed)",
        *([plan.memory.text] if plan.memory else []),
        *([plan.disk.text] if plan.disk else []),
        "",
    ]
    middle = len(chunks) > _SHOWN
    for chunk in [*chunks[: _SHOWN // 2], *chunks[-_SHOWN // 2 :]] if middle else chunks:
        ids = [one.run_id if one.name == one.run_id else f"{one.run_id} {one.name}" for one in chunk.realizations]
        shown = "  ".join(ids) if len(ids) <= 4 else f"{ids[0]} … {ids[-1]}  ({len(ids)})"
        lines.append(f"  chunk {chunk.index:>5}  {'done' if chunk.committed else 'open'}  {shown}")
        if middle and chunk.index == _SHOWN // 2 - 1:
            lines.append("      …")
    return "\n".join(lines)


def forecast(record: Record, target: float) -> tuple[Forecast, ...]:
    """The realizations that an error of the result needs, from what is committed.

    Raises:
        UsageError: the target is not a positive number, or the family has nothing to tell.
    """
    if not 0 < target < float("inf"):
        raise UsageError(f"--target-sigma-m: expected a number > 0, got {target:g}")
    kind = record.manifest.kind
    family = registry.family(kind)
    if family.forecast is None:
        raise UsageError(f"--target-sigma-m: kind {kind} has no m")
    return tuple(family.forecast(record, target))


def forecast_text(found: Sequence[Forecast], manifest: str) -> str:
    """What a reader needs: a line per component, and the command.

    Args:
        manifest: as the reader calls it.
    """
    lines = []
    for one in found:
        pilot = f"σ_m of {one.component} is {one.sigma_m:.2g} from {one.n} realizations"
        if one.count:
            more = f"about {one.n_needed} in all bring it to {one.target:g}"
        else:
            more = f"that is {one.target:g} or less already"
        lines.append(f"{pilot}; {more}")
    most = max(one.count for one in found)
    return "\n".join([*lines, f"next: {aggregate.extend_command(manifest, most)}"] if most else lines)

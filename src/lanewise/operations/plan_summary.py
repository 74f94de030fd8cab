"""Output of `plan`: a summary for programs, and as text for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """A realization of a chunk; `name` is its name for people."""

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
    """A plan, its needs and its progress; see schemas/plan.schema.json.

    Attributes:
        width: lanes in flight; None for a family that does not run as lanes.
        memory, disk: None if they were not requested or cannot be predicted.
    """

    name: str
    output: str
    method: str
    width: int | None
    n_realizations: int
    memory: Memory | None
    disk: Disk | None
    chunks: tuple[PlannedChunk, ...]


def summarise(record: Record, *, needs: bool = False) -> PlanSummary:
    """Chunks with their realizations, and which are committed.

    Args:
        needs: compile the program, to predict the memory of a chunk and the disk space of all results.

    Raises:
        ManifestError: the memory or the disk space is too small.
    """
    done = record.commits()
    needed = memory.predict(record.manifest, record.plan) if needs else None
    return PlanSummary(
        name=record.manifest.name,
        output=record.manifest.output.url,
        method=record.manifest.config.method,
        width=record.plan.width if registry.family(record.manifest.kind).lanes else None,
        n_realizations=len(record.plan.realizations),
        memory=needed,
        disk=disk.predict(record, needed.record_bytes, frozenset(done)) if needed else None,
        chunks=tuple(
            PlannedChunk(
                chunk.index,
                committed=chunk.index in done,
                realizations=tuple(
                    PlannedRealization(run_id=r.run_id, name=r.planned.name, seed=r.planned.seed, identity=r.identity)
                    for r in chunk.realizations
                ),
            )
            for chunk in record.plan.chunks
        ),
    )


def text(plan: PlanSummary) -> str:
    """The plan as text: all chunks of a small plan, the first and last of a large one."""
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
    return tuple(family.forecast(record, target))


def forecast_text(found: Sequence[Forecast], manifest: str) -> str:
    """A line per component, and the next command.

    Args:
        manifest: path or URL of the manifest, as the user wrote it.
    """
    lines = []
    for one in found:
        pilot = f"σ_m of {one.component} is {one.sigma_m:.2g} from {one.n} realizations"
        if one.count:
            more = f"about {one.n_needed} in total bring it to {one.target:g}"
        else:
            more = f"it is already {one.target:g} or less"
        lines.append(f"{pilot}; {more}")
    most = max(one.count for one in found)
    return "\n".join([*lines, f"next: {aggregate.extend_command(manifest, most)}"] if most else lines)

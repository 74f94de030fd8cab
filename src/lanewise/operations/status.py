"""`status`: progress and problems of a campaign, from storage alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lanewise.errors import Damaged
from lanewise.manifest import spans
from lanewise.manifest.status import LaneStatus, causes, listed, without_numbers
from lanewise.operations import cost
from lanewise.operations.retry import mendable
from lanewise.storage import claims, commits, failures
from lanewise.storage.claims import Claimed
from lanewise.storage.commits import Commit
from lanewise.storage.failures import Failure
from lanewise.storage.record import Record

_SHOWN = 12


@dataclass(frozen=True)
class Process:
    """A process that computes or computed a chunk; `age_s` is the age of its last heartbeat [s]."""

    chunk: int | None
    node: str
    pid: int
    began: str
    done: int
    total: int
    age_s: float

    @classmethod
    def of(cls, claim: Claimed) -> Process:
        """The process that wrote a claim."""
        return cls(**{one.name: getattr(claim, one.name) for one in fields(cls)})


@dataclass(frozen=True)
class ChunkStates:
    """Chunks by state.

    Attributes:
        missing: index of each chunk that is not committed.
        running: processes that compute a chunk.
        lost: dead processes of chunks that no other process computes.
        failed, damaged: index → error.
    """

    total: int
    committed: int
    missing: tuple[int, ...]
    running: tuple[Process, ...]
    lost: tuple[Process, ...]
    failed: Mapping[int, str]
    damaged: Mapping[int, str]


@dataclass(frozen=True)
class RealizationCounts:
    """Number of planned realizations, and of the committed ones and their members by status.

    Attributes:
        members: empty if each realization has one member.
    """

    total: int
    counts: Mapping[str, int]
    members: Mapping[str, int]


@dataclass(frozen=True)
class Rate:
    """Running processes, realizations per hour and the time left [s]; None if unknown."""

    processes: int
    per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class NotOk:
    """A committed realization that is not ok; `retries` is the number of retries so far."""

    run_id: str
    status: str
    reason: str
    retries: int
    node: str


@dataclass(frozen=True)
class RetriedRealization:
    """A retried realization with every attempt."""

    run_id: str
    tries: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Cause:
    """Failures of `chunks` or `realizations` whose texts differ only in numbers; `nodes`: node → number of failures."""

    of: str
    cause: str
    n: int
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class Narrower:
    """A chunk that was computed with fewer lanes in flight than planned, because memory was short."""

    chunk: int
    planned: int
    used: Sequence[int]


@dataclass(frozen=True)
class Status:
    """State of a campaign in storage, and the next command; see schemas/status.schema.json."""

    name: str
    output: str
    chunks: ChunkStates
    realizations: RealizationCounts
    rate: Rate
    not_ok: tuple[NotOk, ...]
    retried: tuple[RetriedRealization, ...]
    causes: tuple[Cause, ...]
    narrower: tuple[Narrower, ...]
    next: str


def status(record: Record, source: str) -> Status:
    """The status of a campaign.

    Args:
        source: the manifest and its overrides, as on the command line.
    """
    planned = record.plan.indices
    done, damaged = record.sound()
    not_ok, broken = _not_ok(record, done)
    damaged |= broken
    claimed = [c for c in claims.survey(record.store) if c.chunk is None or c.chunk in planned]
    alive = [claim for claim in claimed if claim.alive]
    at_work = {claim.chunk for claim in alive}
    lost = claims.lost(claimed, done)
    failed = [one for one in failures.survey(record.store) if one.chunk in planned and one.chunk not in done]
    missing = tuple(index for index in planned if index not in done and index not in damaged)
    counts = sum((Counter(commit.counts) for commit in done.values()), Counter[str]())
    members = sum((Counter(commit.members) for commit in done.values()), Counter[str]())
    n_left = sum(map(record.plan.n_in, missing))
    dead = {one.chunk for one in failed} | {claim.chunk for claim in lost}
    words = {status.word for status in mendable(record.manifest)}
    may_mend = any(one.status in words and not one.retries for one in not_ok) or any(
        not words.isdisjoint(commit.members) and not commit.tries for commit in done.values()
    )
    command = _next(damaged=bool(damaged), missing={*missing}, at_work=at_work, dead=dead, may_mend=may_mend)
    return Status(
        name=record.manifest.name,
        output=record.manifest.output.url,
        chunks=ChunkStates(
            total=len(planned),
            committed=len(done),
            missing=missing,
            running=tuple(Process.of(claim) for claim in alive if claim.chunk in missing),
            lost=tuple(map(Process.of, lost)),
            failed={one.chunk: f"{one.cause}: {one.message}" for one in failed if one.chunk not in at_work},
            damaged={index: str(error) for index, error in damaged.items()},
        ),
        realizations=RealizationCounts(
            len(record.plan.realizations), dict(sorted(counts.items())), dict(sorted(members.items()))
        ),
        rate=_rate(done.values(), len(alive), n_left),
        not_ok=tuple(not_ok),
        retried=tuple(
            RetriedRealization(run_id, tries) for commit in done.values() for run_id, tries in commit.tries.items()
        ),
        causes=_causes(failed, not_ok),
        narrower=tuple(narrow for _, commit in sorted(done.items()) if (narrow := _narrower(commit)) is not None),
        next=f"lanewise {command} {source}",
    )


def text(found: Status) -> str:
    """The status as text."""
    chunks, rate = found.chunks, found.rate
    counts = listed(found.realizations.counts) or "none yet"
    lines = [
        f"{found.name}: {chunks.committed} of {chunks.total} chunks committed in {found.output}",
        f"realizations: {counts}, of {found.realizations.total}",
    ]
    if found.realizations.members:
        lines.append(f"members: {listed(found.realizations.members)}")
    if rate.processes:
        at = f"{rate.per_hour:.3g} realizations an hour" if rate.per_hour else "no rate yet"
        left = f", about {cost.duration(rate.seconds_left)} left" if rate.seconds_left is not None else ""
        lines.append(f"at work: {rate.processes} process{'es' if rate.processes > 1 else ''}, {at}{left}")
    if chunks.missing:
        lines.append(f"not committed: {spans.shown(chunks.missing)}")
    lines += _some(
        f"chunk {one.chunk} runs on {one.node}: " + (f"{one.done} of {one.total}" if one.total else "begins")
        for one in chunks.running
    )
    lines += _some(
        f"chunk {one.chunk} is lost: {one.node} (pid {one.pid}) has been silent for {cost.duration(one.age_s)}"
        for one in chunks.lost
    )
    lines += _some(f"chunk {index} is damaged: {text}" for index, text in chunks.damaged.items())
    lines += _some(f"chunk {index} failed: {text}" for index, text in chunks.failed.items())
    lines += _some(
        f"chunk {one.chunk}: {', then '.join(map(str, one.used))} lanes in flight in place of {one.planned}, "
        "because memory was short"
        for one in found.narrower
    )
    lines += causes(
        (
            (one.run_id, one.status, one.reason + (f" (retried {one.retries} ×)" if one.retries else ""))
            for one in found.not_ok
        ),
        _SHOWN,
    )
    if found.retried:
        ok = sum(one.tries[-1]["status"] == LaneStatus.OK.word for one in found.retried)
        lines.append(f"retried: {len(found.retried)} realizations, {ok} of them ok now")
    lines += _some(
        f"{one.n} × {one.cause} on " + ", ".join(f"{node} ({n})" for node, n in one.nodes.items())
        for one in found.causes
        if one.of == "chunks" or len(one.nodes) > 1
    )
    lines.append(f"next: {found.next}")
    return "\n".join(lines)


def _not_ok(record: Record, done: Mapping[int, Commit]) -> tuple[list[NotOk], dict[int, Damaged]]:
    """Committed realizations that are not ok, and chunks whose rows cannot be read."""
    found: list[NotOk] = []
    damaged: dict[int, Damaged] = {}
    for index, commit in sorted(done.items()):
        if set(commit.counts) == {LaneStatus.OK.word}:
            continue
        try:
            rows = commits.load_rows(record.store, commit)
        except Damaged as error:
            damaged[index] = error
            continue
        node = commit.provenance.get("machine", {}).get("host", "unknown")
        for row in rows:
            if row["status"] != LaneStatus.OK.word:
                retries = max(0, len(commit.tries.get(row["run_id"], ())) - 1)
                told = {name: row[name] for name in ("run_id", "status", "reason")}
                found.append(NotOk(**told, retries=retries, node=node))
    return found, damaged


def _rate(done: Iterable[Commit], n_alive: int, n_left: int) -> Rate:
    """The rate from the times of committed chunks and the number of running processes."""
    each = cost.rate(done)
    per_s = n_alive / each.seconds if each and n_alive else None
    return Rate(n_alive, per_s * 3600 if per_s else None, n_left / per_s if per_s else None)


def _causes(failed: Sequence[Failure], not_ok: Sequence[NotOk]) -> tuple[Cause, ...]:
    """Failures grouped by their text without numbers, the most frequent first."""
    nodes: dict[tuple[str, str], Counter[str]] = {}
    for failure in failed:
        cause = f"{failure.cause}: {without_numbers(failure.message)}"
        nodes.setdefault(("chunks", cause), Counter())[failure.node] += 1
    for one in not_ok:
        nodes.setdefault(("realizations", without_numbers(one.reason)), Counter())[one.node] += 1
    found = [Cause(of, cause, sum(where.values()), dict(where.most_common())) for (of, cause), where in nodes.items()]
    return tuple(sorted(found, key=lambda one: -one.n))


def _narrower(commit: Commit) -> Narrower | None:
    # Only families of lanes record a width.
    width = commit.provenance.get("width")
    if width is None or min(width["used"], default=width["planned"]) >= width["planned"]:
        return None
    return Narrower(commit.chunk, planned=width["planned"], used=width["used"])


def _next(*, damaged: bool, missing: set[int], at_work: set[int | None], dead: set[int | None], may_mend: bool) -> str:
    """The command that continues the campaign."""
    if damaged:
        return "verify"
    if missing and at_work:
        return "status --watch"
    if missing - dead:
        return "run"
    return "retry" if missing or may_mend else "aggregate"


def _some(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    more = [f"… and {len(every) - _SHOWN} more"] if len(every) > _SHOWN else []
    return [*every[:_SHOWN], *more]

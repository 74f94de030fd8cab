"""`status`: how far a campaign has come and what is wrong with it, from storage alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

from lanewise.errors import Damaged
from lanewise.manifest.status import LaneStatus
from lanewise.operations.retry import mendable
from lanewise.storage import claims, commits, failures
from lanewise.storage.claims import Claimed
from lanewise.storage.commits import Commit
from lanewise.storage.failures import Failure
from lanewise.storage.record import Record

_SHOWN = 12
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?%?")


@dataclass(frozen=True)
class Process:
    """A process that is, or was, at a chunk; `age_s` is the time since its last sign of life [seconds]."""

    chunk: int | None
    node: str
    pid: int
    began: str
    done: int
    total: int
    age_s: float

    @classmethod
    def of(cls, claim: Claimed) -> Process:
        """The process that made a claim."""
        return cls(claim.chunk, claim.node, claim.pid, claim.began, claim.done, claim.total, claim.age_s)


@dataclass(frozen=True)
class ChunkStates:
    """ChunkStates by state.

    Attributes:
        missing: indices of those that are not committed.
        running: processes at work.
        lost: processes that are gone, of chunks that no other process is at.
        failed, damaged: index → why.
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
    """RealizationCounts in all, and of the committed ones: status → number."""

    total: int
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Rate:
    """Processes at work; realizations an hour and the time left [seconds], None where nothing tells them."""

    processes: int
    per_hour: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class NotOk:
    """A committed realization that is not ok; `retries` is how often it was tried again."""

    run_id: str
    status: str
    reason: str
    retries: int
    node: str


@dataclass(frozen=True)
class RetriedRealization:
    """A realization that was tried again, with every attempt."""

    run_id: str
    tries: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Cause:
    """Failures of `chunks` or `realizations` that differ in numbers alone; `nodes`: where → how many."""

    of: str
    cause: str
    n: int
    nodes: Mapping[str, int]


@dataclass(frozen=True)
class Narrower:
    """A chunk that was computed with fewer lanes in flight than planned, for want of memory."""

    chunk: int
    planned: int
    used: Sequence[int]


@dataclass(frozen=True)
class Status:
    """What storage says of a campaign, and the command that takes it further; see schemas/status.schema.json."""

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

    @property
    def content(self) -> dict[str, Any]:
        """For programs, JSON-ready."""
        return asdict(self)


def status(record: Record, source: str) -> Status:
    """The status of a campaign.

    Args:
        source: the manifest and its overrides, as the command line has them.
    """
    planned = record.plan.chunks
    done, damaged = record.survey()
    not_ok, broken = _not_ok(record, done)
    damaged |= broken
    claimed = [c for c in claims.survey(record.store) if c.chunk is None or c.chunk < len(planned)]
    alive = [claim for claim in claimed if claim.alive]
    at_work = {claim.chunk for claim in alive}
    lost = claims.lost(claimed, done)
    failed = [one for one in failures.survey(record.store) if one.chunk not in done]
    missing = tuple(chunk.index for chunk in planned if chunk.index not in {*done, *damaged})
    counts: Counter[str] = Counter()
    for commit in done.values():
        counts.update(commit.counts)
    n_left = sum(len(planned[index].realizations) for index in missing)
    dead = {one.chunk for one in failed} | {claim.chunk for claim in lost}
    words = {status.word for status in mendable(record.manifest)}
    may_mend = any(one.status in words and not one.retries for one in not_ok)
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
        realizations=RealizationCounts(len(record.plan.realizations), dict(sorted(counts.items()))),
        rate=_rate(done.values(), len(alive), n_left),
        not_ok=tuple(not_ok),
        retried=tuple(
            RetriedRealization(run_id, list(tries))
            for commit in done.values()
            for run_id, tries in commit.tries.items()
        ),
        causes=_causes(failed, not_ok),
        narrower=tuple(narrow for _, commit in sorted(done.items()) if (narrow := _narrower(commit)) is not None),
        next=f"lanewise {_next(bool(damaged), missing, at_work, dead, may_mend)} {source}",
    )


def text(found: Status) -> str:
    """The status for a reader."""
    chunks, rate = found.chunks, found.rate
    counts = ", ".join(f"{n} {_spoken(word)}" for word, n in found.realizations.counts.items()) or "none yet"
    lines = [
        f"{found.name}: {chunks.committed} of {chunks.total} chunks committed in {found.output}",
        f"realizations: {counts}, of {found.realizations.total}",
    ]
    if rate.processes:
        at = f"{rate.per_hour:.3g} realizations an hour" if rate.per_hour else "no rate yet"
        left = f", about {_duration(rate.seconds_left)} left" if rate.seconds_left is not None else ""
        lines.append(f"at work: {rate.processes} process{'es' if rate.processes > 1 else ''}, {at}{left}")
    if chunks.missing:
        shown = ", ".join(map(str, chunks.missing[:_SHOWN])) + (" …" if len(chunks.missing) > _SHOWN else "")
        lines.append(f"not committed: chunk {shown}")
    lines += _some(f"chunk {one.chunk} runs on {one.node}: {_steps(one)}" for one in chunks.running)
    lines += _some(
        f"chunk {one.chunk} is lost: {one.node} (pid {one.pid}) has been silent for {_duration(one.age_s)}"
        for one in chunks.lost
    )
    lines += _some(f"chunk {index} is damaged: {text}" for index, text in chunks.damaged.items())
    lines += _some(f"chunk {index} failed: {text}" for index, text in chunks.failed.items())
    lines += _some(
        f"chunk {one.chunk}: {', then '.join(map(str, one.used))} lanes in flight in place of {one.planned}, "
        "for want of memory"
        for one in found.narrower
    )
    lines += _some(
        f"{one.run_id}: {_spoken(one.status)}: {one.reason}" + (f" (retried {one.retries} ×)" * bool(one.retries))
        for one in found.not_ok
    )
    if found.retried:
        ok = sum(one.tries[-1]["status"] == LaneStatus.OK.word for one in found.retried)
        lines.append(f"retried: {len(found.retried)} realizations, {ok} of them ok now")
    lines += _some(
        f"{one.n} × {one.cause} on " + ", ".join(f"{node} ({n})" for node, n in one.nodes.items())
        for one in found.causes
    )
    lines.append(f"next: {found.next}")
    return "\n".join(lines)


def _not_ok(record: Record, done: Mapping[int, Commit]) -> tuple[list[NotOk], dict[int, Damaged]]:
    """Committed realizations that are not ok, and chunks whose rows cannot be read."""
    found: list[NotOk] = []
    damaged: dict[int, Damaged] = {}
    for index in (index for index in sorted(done) if set(done[index].counts) != {LaneStatus.OK.word}):
        commit = done[index]
        try:
            rows = commits.load_rows(record.store, commit)
        except Damaged as error:
            damaged[index] = error
            continue
        node = commit.provenance.get("machine", {}).get("host", "unknown")
        for row in rows:
            if row["status"] != LaneStatus.OK.word:
                retries = max(0, len(commit.tries.get(row["run_id"], ())) - 1)
                found.append(NotOk(row["run_id"], row["status"], row["reason"], retries, node))
    return found, damaged


def _rate(done: Iterable[Commit], n_alive: int, n_left: int) -> Rate:
    """From what committed chunks took, and the processes that are at work; without any there is no rate."""
    spent = [(commit.provenance.get("seconds"), sum(commit.counts.values())) for commit in done]
    timed = [(seconds, n) for seconds, n in spent if seconds]
    each = sum(seconds for seconds, _ in timed) / sum(n for _, n in timed) if timed else None
    per_s = n_alive / each if each and n_alive else None
    return Rate(n_alive, per_s * 3600 if per_s else None, n_left / per_s if per_s else None)


def _causes(failed: Sequence[Failure], not_ok: Sequence[NotOk]) -> tuple[Cause, ...]:
    """Failures that are alike but for their numbers, with the nodes they happened on; the most frequent first."""
    nodes: dict[tuple[str, str], Counter[str]] = {}
    for failure in failed:
        cause = f"{failure.cause}: {_NUMBER.sub('…', failure.message)}"
        nodes.setdefault(("chunks", cause), Counter())[failure.node] += 1
    for one in not_ok:
        nodes.setdefault(("realizations", _NUMBER.sub("…", one.reason)), Counter())[one.node] += 1
    found = [Cause(of, cause, sum(where.values()), dict(where.most_common())) for (of, cause), where in nodes.items()]
    return tuple(sorted(found, key=lambda one: -one.n))


def _narrower(commit: Commit) -> Narrower | None:
    width = commit.provenance.get("width") or {"planned": 0, "used": ()}
    if not any(used < width["planned"] for used in width["used"]):
        return None
    return Narrower(commit.chunk, width["planned"], width["used"])


def _next(
    damaged: bool,
    missing: Sequence[int],
    at_work: AbstractSet[int | None],
    dead: AbstractSet[int | None],
    may_mend: bool,
) -> str:
    if damaged:
        return "verify"
    if missing and at_work:
        return "status --watch"
    if set(missing) - dead:
        return "run"
    return "retry" if missing or may_mend else "aggregate"


def _steps(process: Process) -> str:
    return f"{process.done} of {process.total}" if process.total else "begins"


def _some(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    more = [f"… and {len(every) - _SHOWN} more"] if len(every) > _SHOWN else []
    return [*every[:_SHOWN], *more]


def _spoken(word: str) -> str:
    return word.replace("_", " ")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

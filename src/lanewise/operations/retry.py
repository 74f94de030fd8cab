"""`retry`: compute realizations again that failed or did not converge; the others stay as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from lanewise.machine import interrupts
from lanewise.machine.progress import Reporter
from lanewise.manifest import registry
from lanewise.manifest.family import Ladder
from lanewise.manifest.manifest import Config, Manifest, Rung
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult, Try
from lanewise.manifest.status import LaneStatus
from lanewise.operations import attempts, chunks, mend
from lanewise.operations.attempts import ComputedChunk
from lanewise.storage import claims, commits, failures
from lanewise.storage.checkpoints import Policy
from lanewise.storage.claims import Claim
from lanewise.storage.commits import Commit
from lanewise.storage.committing import Replacement
from lanewise.storage.record import Record

FAILED = frozenset({LaneStatus.FAILED, LaneStatus.NON_FINITE})
NOT_CONVERGED = frozenset({LaneStatus.NOT_CONVERGED})


@dataclass(frozen=True)
class Retried:
    """The result of `retry`.

    Attributes:
        n_tried, n_mended: number of retried realizations, and of those that are ok now.
        counts: status → number of committed realizations.
        errors: one per chunk that could not be committed.
    """

    n_tried: int
    n_mended: int
    counts: Mapping[str, int]
    errors: tuple[Exception, ...]


def retry(record: Record, statuses: frozenset[LaneStatus], policy: Policy, progress: Reporter) -> Retried:
    """Retry realizations with these statuses, chunk by chunk; chunks that failed or were lost are computed first.

    Realizations that were not ok and whose data have changed since are computed first, whatever their status, see
    `mend`; they count as retried, and are not retried again. A realization that failed or was not finite is computed
    once more without changes. A realization that did not converge climbs the ladder of its method until it converges
    or the ladder ends. Of a realization with several members, those with these statuses are computed again, and the
    others are kept. The data keep their seed, the keys of the draws contain the number of the retry, and every attempt
    is recorded. A chunk's commit is replaced in one step.

    Raises:
        ResultsDiffer: the committed results are not of this manifest.
        StorageError: results cannot be read or written.
        MachineError: this machine lacks the device that the manifest requires.
    """
    errors: list[Exception] = []
    counts: Counter[str] = Counter()
    statuses &= mendable(record.manifest)
    words = {status.word for status in statuses}
    with claims.held(record.store, progress) as claim:
        anew = mend.mend(record, policy, claim)
        n_tried, n_mended = len(anew), sum(status is LaneStatus.OK for status in anew.values())
        if lost := [record.plan.chunks[index] for index in dead(record)]:
            solver = chunks.solver(record)
            errors += chunks.compute(record, solver, lost, policy, overwrite=False, progress=claim).errors
        for index, commit in sorted(record.commits().items()):
            now = commit
            if not words.isdisjoint({*commit.counts, *commit.members}):
                interrupts.stop_here()
                with interrupts.deferred():
                    tried, mended, now = _chunk(
                        record, record.plan.chunks[index], commit, statuses, anew.keys(), policy, claim
                    )
                n_tried, n_mended = n_tried + tried, n_mended + mended
                text = f"chunk {index}: {tried} retried, {mended} of them ok now"
                progress.say("retried", text, chunk=index, tried=tried, mended=mended)
            counts.update(now.counts)
    return Retried(n_tried, n_mended, counts, tuple(errors))


def ladder_of(manifest: Manifest) -> Ladder:
    """The rungs of the campaign's method, one per retry; further retries use the last one."""
    return registry.family(manifest.kind).ladders.get(manifest.config.method, ())


def mendable(manifest: Manifest) -> frozenset[LaneStatus]:
    """Statuses that a retry may change: NOT_CONVERGED only if the method has a ladder."""
    return FAILED | NOT_CONVERGED if ladder_of(manifest) else FAILED


def dead(record: Record) -> list[int]:
    """Index of each chunk without a commit that failed or whose process has died."""
    store, done = record.store, record.commits()
    claimed = claims.survey(store)
    found = {claim.chunk for claim in claims.lost(claimed, done)}
    found |= {failure.chunk for failure in failures.survey(store)} - {claim.chunk for claim in claimed if claim.alive}
    planned = record.plan.indices
    return sorted(index for index in found if index is not None and index in planned and index not in done)


def _chunk(
    record: Record,
    chunk: Chunk,
    commit: Commit,
    statuses: frozenset[LaneStatus],
    leave: Collection[str],
    policy: Policy,
    claim: Claim,
) -> tuple[int, int, Commit]:
    """Retry one chunk's realizations; returns how many were retried, how many are ok now, and the valid commit.

    Args:
        leave: run ids that are not retried.
    """
    commit, results = commits.current_results(record.store, commit)
    wanted = [
        at for at, one in enumerate(results) if not statuses.isdisjoint(_statuses(one)) and one.run_id not in leave
    ]
    rungs = ladder_of(record.manifest)
    made: list[_Made] = []
    open_ = wanted
    for climbed in range(max(1, len(rungs)) if wanted else 0):
        # Only realizations without convergence climb on; a failure would repeat.
        open_ = open_ if climbed == 0 else [at for at in open_ if LaneStatus.NOT_CONVERGED in _statuses(results[at])]
        for (number, at_rung), group in _groups(results, open_, len(rungs)).items():
            rung = None if at_rung is None else rungs[at_rung]
            before = {results[at].run_id: results[at] for at in group}
            computed = _again(record, chunk, group, before, number, rung, policy, claim)
            made += [_Made(at, new, number, rung, computed) for at, new in zip(group, computed.results, strict=True)]
            results = _noted(results, made)
    mended = sum(_statuses(results[at]) == {LaneStatus.OK} for at in wanted)
    while made:
        last = made[-1].of
        whole = ComputedChunk(results, {**commit.provenance, "retried": last.made}, last.keeper)
        how = Replacement(of=commit.attempt, changed={results[one.at].run_id for one in made})
        commit = attempts.settle(record, chunk, whole, how)
        if how.done:
            break
        # Another process has replaced the commit: add what it does not have.
        commit, theirs = commits.current_results(record.store, commit)
        results = _noted(theirs, made)
        made = [one for one in made if results[one.at] is not theirs[one.at]]
    return len(wanted), mended, commit


@dataclass(frozen=True)
class _Made:
    """A new result of the realization at a place of the chunk, by retry `number`."""

    at: int
    new: AnyResult
    number: int
    rung: Rung | None
    of: ComputedChunk


def _noted(results: Sequence[AnyResult], made: Sequence[_Made]) -> list[AnyResult]:
    """The results with those of retries that they do not have yet; the same retry gives the same bits everywhere."""
    found = list(results)
    for one in made:
        if one.number not in {old.retry for old in found[one.at].tries}:
            found[one.at] = _note(found[one.at], one.new, one.number, one.rung)
    return found


def _groups(
    results: Sequence[AnyResult], open_: Sequence[int], n_rungs: int
) -> dict[tuple[int, int | None], list[int]]:
    """Places of realizations by the number of their next retry and of its rung; None: no rung."""
    found: dict[tuple[int, int | None], list[int]] = {}
    for at in open_:
        number = 1 + max((one.retry for one in results[at].tries), default=0)
        climbs = LaneStatus.NOT_CONVERGED in _statuses(results[at]) and n_rungs > 0
        found.setdefault((number, min(number, n_rungs) - 1 if climbs else None), []).append(at)
    return found


def _statuses(result: AnyResult) -> set[LaneStatus]:
    """Status of a realization, and of its members."""
    return {result.status, *(LaneStatus[word.upper()] for word in result.member_counts)}


def _again(
    record: Record,
    chunk: Chunk,
    group: Sequence[int],
    before: Mapping[str, AnyResult],
    number: int,
    rung: Rung | None,
    policy: Policy,
    claim: Claim,
) -> ComputedChunk:
    """Compute the realizations at the places `group` of the chunk again.

    Args:
        before: their results, by run id.
        number: number of the retry.
        rung: change of the config; None: no change.
    """

    def climb(config: Config) -> Config:
        return config.climbed(rung) if rung else config

    manifest = replace(record.manifest, config=climb(record.manifest.config))
    again = (chunk.realizations[at] for at in group)
    part = Chunk(chunk.index, tuple(replace(one, planned=one.planned.changed(climb)) for one in again))
    how = rung.change if rung else "as before"
    ids = f"{len(group)} realization{'s' if len(group) > 1 else ''}"
    claim.say("retry", f"chunk {part.index}: retry {number} of {ids}, {how}", chunk=part.index, retry=number)
    solver = chunks.solver(record, manifest, retry=number, before=before)
    return attempts.compute(record, solver, part, claim, policy, retry=number)


def _note(old: AnyResult, new: AnyResult, number: int, rung: Rung | None) -> AnyResult:
    """The new result, or the old one if the new status is worse; with all attempts."""
    earlier = old.tries or (Try.of(old, retry=0, change=""),)
    latest = Try.of(new, retry=number, change=rung.change if rung else "")
    tries = sorted((*earlier, latest), key=lambda one: one.retry)
    return (new if new.status.severity <= old.status.severity else old).with_tries(tuple(tries))

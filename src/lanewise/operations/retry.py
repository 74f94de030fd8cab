"""`retry`: realizations that did not come out right, again; everything else stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lanewise.engine.lanes import LaneStatus
from lanewise.engine.results import Try
from lanewise.machine import interrupts
from lanewise.manifest.plan import Chunk
from lanewise.operations import attempts, ladder
from lanewise.operations.attempts import Computed
from lanewise.operations.ladder import Rung
from lanewise.storage import claims, commits, failures

if TYPE_CHECKING:
    from lanewise.api import Campaign
    from lanewise.engine.results import AnyResult
    from lanewise.machine.progress import Reporter
    from lanewise.storage.claims import Claim
    from lanewise.storage.commits import Commit

FAILED = frozenset({LaneStatus.FAILED, LaneStatus.NON_FINITE})
NOT_CONVERGED = frozenset({LaneStatus.NOT_CONVERGED})


@dataclass(frozen=True)
class Retried:
    """What `retry` did.

    Attributes:
        n_tried, n_mended: realizations that were tried again, and those of them that are ok now.
        counts: status → number of realizations, of all that are committed.
        errors: chunks that could not be committed.
    """

    n_tried: int
    n_mended: int
    counts: Mapping[str, int]
    errors: tuple[Exception, ...]


def retry(campaign: Campaign, statuses: frozenset[LaneStatus], progress: Reporter) -> Retried:
    """Try realizations of these statuses again, chunk by chunk; chunks that failed or were lost are computed first.

    One that failed, or whose numbers were not finite, is computed once more as it stands. One that did not converge
    climbs the ladder of its method until it does, or there is no further rung. Data keep their seed, draws have the
    number of the retry in their key, and every attempt is recorded. A chunk's commit is replaced in one step.

    Raises:
        ResultsDiffer: what is committed is not of this manifest.
        StorageError: results cannot be read or written.
        MachineError: this machine lacks the device that the manifest requires.
    """
    errors: list[Exception] = []
    counts: Counter[str] = Counter()
    n_tried = n_mended = 0
    statuses &= ladder.mendable(campaign.manifest.config.method)
    words = {status.word for status in statuses}
    with claims.held(campaign.store, progress) as claim:
        for index in dead(campaign):
            errors += campaign.run(index, progress=claim).errors
        for index, commit in sorted(campaign.commits().items()):
            now = commit
            if not words.isdisjoint(commit.counts):
                interrupts.stop_here()
                with interrupts.deferred():
                    tried, mended, now = _chunk(campaign, campaign.plan.chunks[index], commit, statuses, claim)
                n_tried, n_mended = n_tried + tried, n_mended + mended
                text = f"chunk {index}: {tried} tried again, {mended} of them ok now"
                progress.say("retried", text, chunk=index, tried=tried, mended=mended)
            counts.update(now.counts)
    return Retried(n_tried, n_mended, counts, tuple(errors))


def dead(campaign: Campaign) -> list[int]:
    """Chunks that are not committed, and failed or lost the process that computed them."""
    store, done = campaign.store, campaign.commits()
    claimed = claims.survey(store)
    found = {claim.chunk for claim in claims.lost(claimed, done)}
    found |= {failure.chunk for failure in failures.survey(store)} - {claim.chunk for claim in claimed if claim.alive}
    return sorted(chunk.index for chunk in campaign.plan.chunks if chunk.index in found and chunk.index not in done)


def _chunk(
    campaign: Campaign, chunk: Chunk, commit: Commit, statuses: frozenset[LaneStatus], claim: Claim
) -> tuple[int, int, Commit]:
    """One chunk's realizations; how many were tried, how many are ok now, and the commit that counts."""
    results = list(commits.load_results(campaign.store, commit))
    wanted = [at for at, result in enumerate(results) if result.status in statuses]
    rungs = ladder.of(campaign.manifest.config.method)
    computed = None
    open_ = wanted
    for climbed in range(max(1, len(rungs))):
        # What does not converge climbs on; what fails would only fail again.
        open_ = open_ if climbed == 0 else [at for at in open_ if results[at].status is LaneStatus.NOT_CONVERGED]
        for (number, at_rung), group in _groups(results, open_, len(rungs)).items():
            rung = None if at_rung is None else rungs[at_rung]
            computed = _again(campaign, chunk, group, number, rung, claim)
            for at, new in zip(group, computed.results, strict=True):
                results[at] = _note(results[at], new, number, rung)
    assert computed is not None
    mended = sum(results[at].status is LaneStatus.OK for at in wanted)
    whole = Computed(results, {**commit.provenance, "retried": computed.made}, computed.keeper)
    changed = {results[at].run_id for at in wanted}
    return (
        len(wanted),
        mended,
        attempts.settle(campaign, chunk, whole, replace=True, changed=changed),
    )


def _groups(
    results: Sequence[AnyResult],
    open_: Sequence[int],
    n_rungs: int,
) -> dict[tuple[int, int | None], list[int]]:
    """Realizations by the number of their retry and the number of the rung that is its turn, None for none."""
    found: dict[tuple[int, int | None], list[int]] = {}
    for at in open_:
        number = max(1, len(results[at].tries))
        climbs = results[at].status is LaneStatus.NOT_CONVERGED and n_rungs > 0
        found.setdefault((number, min(number, n_rungs) - 1 if climbs else None), []).append(at)
    return found


def _again(
    campaign: Campaign, chunk: Chunk, group: Sequence[int], number: int, rung: Rung | None, claim: Claim
) -> Computed:
    def climb(config: Any) -> Any:
        return ladder.climb(config, rung) if rung else config

    manifest = replace(campaign.manifest, config=climb(campaign.manifest.config))
    again = (chunk.realizations[at] for at in group)
    part = Chunk(chunk.index, tuple(replace(one, member=one.member.changed(climb)) for one in again))
    how = rung.change if rung else "as before"
    ids = f"{len(group)} realization{'s' if len(group) > 1 else ''}"
    claim.say("retry", f"chunk {part.index}: retry {number} of {ids}, {how}", chunk=part.index, retry=number)
    solver = campaign.solver(manifest, retry=number)
    return attempts.compute(campaign, solver, part, claim, retry=number)


def _note(old: Any, new: Any, number: int, rung: Rung | None) -> Any:
    """The result that stands, the new one unless it is worse, with all attempts."""
    earlier = old.tries or (Try.of(old, 0, ""),)
    latest = Try.of(new, number, rung.change if rung else "")
    return replace(new if new.status <= old.status else old, tries=(*earlier, latest))

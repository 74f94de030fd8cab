"""Realizations that were not ok and whose data have been mended since: they are computed anew, and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lanewise.errors import ResultsDiffer
from lanewise.machine import interrupts
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Solver
from lanewise.manifest.status import LaneStatus, listed
from lanewise.operations import attempts, chunks
from lanewise.operations.attempts import ComputedChunk
from lanewise.storage import commits
from lanewise.storage.checkpoints import Policy
from lanewise.storage.claims import Claim
from lanewise.storage.commits import Commit
from lanewise.storage.committing import Replacement
from lanewise.storage.record import Record


def mend(record: Record, policy: Policy, claim: Claim) -> Mapping[str, LaneStatus]:
    """Compute realizations whose data have changed, as a first run does; their earlier attempts are forgotten.

    Returns:
        Their run ids, and their status now.

    Raises:
        ResultsDiffer: the data of a realization have changed that was ok, or more than data differs; nothing is
            computed then.
        StorageError: results cannot be read or written.
    """
    planned = record.plan.chunks
    found, _ = commits.survey(record.store, record.plan.indices)
    stale: dict[int, tuple[Commit, frozenset[str]]] = {}
    for index, commit in sorted(found.items()):
        if changed := commits.with_other_data(record.plan, planned[index], commit):
            _, results = commits.current_results(record.store, commit)
            if good := sorted(one.run_id for one in results if one.run_id in changed and one.status is LaneStatus.OK):
                text = f"the data of {', '.join(good[:5])} have changed, whose results in chunk {index} are ok"
                remedy = f"restore them, or `lanewise run --overwrite --batch-index {index}` computes the chunk again"
                raise ResultsDiffer(f"{record.store.url}: {text}; {remedy}")
            stale[index] = commit, changed
        else:
            commits.check(record.store, record.plan, planned[index], commit)
    done: dict[str, LaneStatus] = {}
    solver = chunks.solver(record) if stale else None
    for index, (commit, changed) in stale.items():
        assert solver is not None
        interrupts.stop_here()
        with interrupts.deferred():
            done |= _chunk(record, solver, planned[index], commit, changed, policy, claim)
    return done


def _chunk(
    record: Record,
    solver: Solver,
    chunk: Chunk,
    commit: Commit,
    changed: frozenset[str],
    policy: Policy,
    claim: Claim,
) -> dict[str, LaneStatus]:
    part = Chunk(chunk.index, tuple(one for one in chunk.realizations if one.run_id in changed))
    n = f"{len(changed)} realization{'s' if len(changed) > 1 else ''}"
    claim.say("retry", f"chunk {chunk.index}: {n} with changed data, anew", chunk=chunk.index, retry=0)
    computed = attempts.compute(record, solver, part, claim, policy)
    new = {one.run_id: one for one in computed.results}
    commit, old = commits.current_results(record.store, commit)
    whole = [new.get(one.run_id, one) for one in old]
    made = {**commit.provenance, "retried": computed.made}
    # If another process has mended it meanwhile, its commit is valid: equal data give equal bits.
    attempts.settle(
        record, chunk, ComputedChunk(whole, made, computed.keeper), Replacement(of=commit.attempt, changed=changed)
    )
    counts = listed(Counter(one.status.word for one in new.values()))
    claim.say("retried", f"chunk {chunk.index}: {n} anew: {counts}", chunk=chunk.index, tried=len(new))
    return {name: one.status for name, one in new.items()}

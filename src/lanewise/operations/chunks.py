"""The chunks of a run in this process: reuse the committed ones, compute the others one after the other."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lanewise.errors import Damaged, StorageError
from lanewise.machine import interrupts
from lanewise.machine.progress import Reporter
from lanewise.manifest import registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult, Solver
from lanewise.manifest.status import LaneStatus, listed
from lanewise.operations import attempts
from lanewise.storage import claims, commits, failures
from lanewise.storage.checkpoints import Policy
from lanewise.storage.claims import Claim
from lanewise.storage.commits import Commit
from lanewise.storage.committing import Replacement
from lanewise.storage.record import Record


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        computed, reused: number of chunks.
        counts: status → number of realizations of those chunks.
        errors: one per chunk that could not be committed.
        missing: indices of chunks that were asked for and are not committed, by storage at the end of a run.
    """

    computed: int = 0
    reused: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    errors: tuple[Exception, ...] = ()
    missing: tuple[int, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        """The sum of two results."""
        return Outcome(
            self.computed + other.computed,
            self.reused + other.reused,
            self.counts + other.counts,
            self.errors + other.errors,
            self.missing + other.missing,
        )

    @property
    def all_ok(self) -> bool:
        """Whether everything that was asked for is committed, and every realization is ok."""
        return not self.errors and not self.missing and set(self.counts) <= {LaneStatus.OK.word}


def solver(
    record: Record,
    manifest: Manifest | None = None,
    *,
    retry: int = 0,
    before: Mapping[str, AnyResult] | None = None,
) -> Solver:
    """The solver of a campaign: the family's own, or the engine.

    Args:
        manifest: for a retry, the manifest with a changed config.
        retry: number of the retry.
        before: for a retry, earlier results by run id; the engine keeps their members that are OK.

    Raises:
        MachineError: this machine lacks the device that the manifest requires.
    """
    manifest = manifest or record.manifest
    family = registry.family(manifest.kind)
    if family.solver is not None:
        return family.solver(manifest)
    from lanewise.engine.engine import Engine
    from lanewise.engine.results import Result

    earlier = {name: result for name, result in (before or {}).items() if isinstance(result, Result)}
    return Engine(manifest, record.plan, retry=retry, before=earlier)


def committed(record: Record, indices: Collection[int], *, overwrite: bool) -> dict[int, Commit]:
    """The commits that will be reused, by chunk index; empty with `overwrite`.

    Raises:
        ResultsDiffer: a commit has another identity.
        Damaged: a commit cannot be read, or one of its files is missing or has another size.
    """
    found = {} if overwrite else record.commits(indices)
    for index, fault in commits.faults(record.store, found).items():
        raise Damaged(f"{fault}; {commits.remedy(index)}")
    return found


def compute(
    record: Record, by: Solver, chunks: Sequence[Chunk], policy: Policy, *, overwrite: bool, progress: Reporter
) -> Outcome:
    """Compute chunks; one that has been committed meanwhile is reused.

    Args:
        by: the campaign's solver.
        policy: when to write checkpoints.

    Raises:
        StorageError: results cannot be read or written.
    """
    outcome = Outcome()
    with claims.held(record.store, progress) as claim:
        for chunk in chunks:
            interrupts.stop_here()
            try:
                # Another process may have committed this chunk meanwhile.
                commit = None if overwrite else record.commits([chunk.index]).get(chunk.index)
                if commit is not None:
                    outcome += reuse(record, {chunk.index: commit}, progress)
                    continue
                commit = _one(record, by, chunk, policy, claim, overwrite)
                outcome += Outcome(computed=1, counts=Counter(commit.counts))
            except StorageError:
                raise  # the other chunks could not be committed either
            except Exception as error:  # here a chunk's failure becomes a record, and the other chunks continue
                outcome += Outcome(errors=(error,))
                progress.say("failed", f"chunk {chunk.index}: {type(error).__name__}: {error}", chunk=chunk.index)
                with contextlib.suppress(StorageError):
                    failures.record(record.store, chunk, claims.node(), error)
    return outcome


def reuse(record: Record, found: Mapping[int, Commit], progress: Reporter) -> Outcome:
    """Count committed chunks, and write their directories again if files are missing."""
    outcome = Outcome()
    for index, commit in sorted(found.items()):
        interrupts.stop_here()
        attempts.publish(record, record.plan.chunks[index], commit)
        progress.say("reused", f"chunk {index}: already committed", chunk=index)
        outcome += Outcome(reused=1, counts=Counter(commit.counts))
    return outcome


def _one(record: Record, by: Solver, chunk: Chunk, policy: Policy, claim: Claim, overwrite: bool) -> Commit:
    with interrupts.deferred():
        computed = attempts.compute(record, by, chunk, claim, policy, anew=overwrite)
        commit = attempts.settle(record, chunk, computed, Replacement() if overwrite else None)
    seconds, total = computed.made["seconds"], len(chunk.realizations)
    n = f"{total} realization{'s' if total != 1 else ''}"
    members = f"; members: {listed(commit.members)}" if commit.members else ""
    claim.say(
        "committed",
        f"chunk {chunk.index}: {n} ({listed(commit.counts)}{members}) in {seconds:.1f} s",
        chunk=chunk.index,
        seconds=seconds,
        counts=dict(commit.counts),
    )
    return commit

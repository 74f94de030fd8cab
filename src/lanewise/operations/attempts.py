"""An attempt at a chunk: compute it, write it, commit it, publish it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanewise.machine import provenance
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult, Solver
from lanewise.storage import checkpoints, commits, committing, directories
from lanewise.storage.checkpoints import CheckpointKeeper, Policy
from lanewise.storage.claims import Claim
from lanewise.storage.commits import Commit
from lanewise.storage.committing import Replacement
from lanewise.storage.record import Record
from lanewise.storage.store import stamp


@dataclass(frozen=True)
class ComputedChunk:
    """Results of a chunk, or of some of its realizations.

    Attributes:
        made: how they were made, the commit's `provenance`.
        keeper: the checkpoints that the commit makes superfluous.
    """

    results: Sequence[AnyResult]
    made: Mapping[str, Any]
    keeper: CheckpointKeeper


def compute(
    record: Record, solver: Solver, chunk: Chunk, claim: Claim, policy: Policy, *, anew: bool = False, retry: int = 0
) -> ComputedChunk:
    """Compute a chunk; continue from its checkpoint, if there is one.

    Args:
        policy: when to write checkpoints.
        anew: remove the chunk's checkpoints first.
        retry: number of the retry; each retry has its own checkpoint.
    """
    began = time.time()
    if anew:
        record.store.remove(f"{commits.CHECKPOINTS}/{chunk.name}")
    around = {**checkpoints.surroundings(), **({"retry": retry} if retry else {})}
    keeper = CheckpointKeeper(record.store, chunk, around, policy)
    claim.take(chunk)
    if resumed := keeper.load():
        claim.say("resumed", f"chunk {chunk.index}: continues after {resumed} rounds", chunk=chunk.index)
    results = solver.run(chunk, claim, keeper)
    made = {
        "versions": provenance.versions(),
        "source": provenance.source(),
        "machine": provenance.machine(),
        "flags": provenance.flags(),
        "inputs": provenance.inputs(record.manifest.content, record.manifest.config.content),
        **solver.made,
        "rounds_resumed": resumed,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 3),
    }
    return ComputedChunk(results, made, keeper)


def settle(record: Record, chunk: Chunk, computed: ComputedChunk, replace: Replacement | None = None) -> Commit:
    """Write and commit the results, publish the valid commit, and remove what was replaced.

    Args:
        replace: replace the existing commit.

    Returns:
        The valid commit: this attempt's, or that of an attempt that was faster or has replaced `replace.of`.
    """
    store, attempt = record.store, stamp()
    view = None
    with contextlib.ExitStack() as published:
        if record.manifest.output.layout == "directories":
            view = list(directories.files_of(record.plan.settings, computed.results))
            published.enter_context(directories.changing(store, chunk, attempt))
        commit = committing.write(
            store, record.plan, chunk, computed.results, computed.made, attempt=attempt, view=view, replace=replace
        )
        if view is not None:
            # Without conditional writes, an attempt with a lower id may be committed meanwhile.
            commit = directories.settle(store, chunk, commit, view if commit.attempt == attempt else None)
    computed.keeper.clear()
    if replace is not None and replace.done:
        committing.discard(store, chunk, replace.replaced, keep=lambda: record.run_ids)
        store.remove(f"{commits.CHECKPOINTS}/{chunk.name}")
    return commit


def publish(record: Record, chunk: Chunk, commit: Commit) -> None:
    """Write the directories of a committed chunk if the manifest's layout has them and they are not complete."""
    if record.manifest.output.layout == "directories":
        directories.publish(record.store, chunk, commit)

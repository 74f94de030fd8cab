"""An attempt at a chunk: computed, written, committed, published."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanewise.machine import provenance
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult, Solver
from lanewise.storage import checkpoints, commits, directories
from lanewise.storage.checkpoints import CheckpointKeeper, Policy
from lanewise.storage.claims import Claim
from lanewise.storage.commits import Commit
from lanewise.storage.record import Record


@dataclass(frozen=True)
class Computed:
    """Results of a chunk, or of some of its realizations, and how they were made."""

    results: Sequence[AnyResult]
    made: Mapping[str, Any]
    keeper: CheckpointKeeper


def compute(
    record: Record,
    solver: Solver,
    chunk: Chunk,
    claim: Claim,
    policy: Policy,
    *,
    anew: bool = False,
    retry: int = 0,
) -> Computed:
    """Compute a chunk, going on from its checkpoint if there is one.

    Args:
        policy: when the chunk has checkpoints.
        anew: remove what checkpoints there are.
        retry: number of the retry; each has a checkpoint of its own.
    """
    began = time.time()
    if anew:
        record.store.remove(f"{commits.CHECKPOINTS}/{chunk.name}")
    around = {**checkpoints.surroundings(), **({"retry": retry} if retry else {})}
    keeper = CheckpointKeeper(record.store, chunk, around, policy)
    claim.take(chunk)
    if resumed := keeper.load():
        claim.say("resumed", f"chunk {chunk.index}: goes on after {resumed} rounds", chunk=chunk.index)
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
    return Computed(results, made, keeper)


def settle(
    record: Record,
    chunk: Chunk,
    computed: Computed,
    *,
    replace: bool = False,
    changed: Collection[str] | None = None,
) -> Commit:
    """Write results, commit them, publish what counts, and remove what they take the place of.

    Args:
        replace: take the place of the commit that is there.
        changed: with `replace`, run ids whose results differ from those that are there; None: all.

    Returns:
        The commit that counts: this attempt's, or that of another attempt which was first.
    """
    store = record.store
    old = commits.previous(store, chunk) if replace else None
    attempt = commits.new_attempt()
    results = computed.results
    published = record.manifest.output.layout == "directories"
    view = list(directories.files_of(record.plan.settings, results)) if published else None
    commit = commits.write(
        store,
        record.plan,
        chunk,
        results,
        computed.made,
        attempt=attempt,
        view=view,
        replace=replace,
        changed=changed,
    )
    commit = _publish_own(record, chunk, commit, view if commit.attempt == attempt else None)
    computed.keeper.clear()
    if replace:
        commits.discard(store, chunk, old, keep=record.run_ids)
        store.remove(f"{commits.CHECKPOINTS}/{chunk.name}")
    return commit


def publish(record: Record, chunk: Chunk, commit: Commit, view: Iterable[tuple[str, bytes]] | None = None) -> None:
    """Write the directories of a committed chunk, if the campaign has them."""
    if record.manifest.output.layout == "directories":
        directories.publish(record.store, chunk, commit, view)


def _publish_own(record: Record, chunk: Chunk, commit: Commit, view: Iterable[tuple[str, bytes]] | None) -> Commit:
    """Publish what counts after we committed; returns it.

    Args:
        view: our files if ours is the commit that counts; None if another attempt was first.
    """
    while True:
        publish(record, chunk, commit, view)
        # Without conditional writes an attempt with a lower id may have come since.
        now = commits.read(record.store, chunk)
        if now is None or now.attempt == commit.attempt:
            return commit
        commit, view = now, directories.files_of(now.settings, commits.load_results(record.store, now))

"""How a chunk's commit comes to be, is replaced in one step, and is removed; see `commits` for what it means."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lanewise.errors import StorageError
from lanewise.manifest.plan import Chunk, Plan
from lanewise.manifest.protocols import AnyResult
from lanewise.storage import commits
from lanewise.storage.commits import Commit, File
from lanewise.storage.store import Store, stamp

# Pauses after which a written object must be seen [s].
_PAUSES_S = (0.2, 1.0, 3.0, 0.0)


@dataclass
class Replacement:
    """How a commit replaces another one.

    Attributes:
        of: attempt of the only commit that may be replaced; None: whichever is valid.
        changed: run ids whose results differ from the existing ones; None: all.
        done: set by `write`: whether it was replaced; False if `of` is not the valid one any more.
        replaced: set by `write`: the commit that was replaced; None if there was none, or it was damaged.
    """

    of: str | None = None
    changed: Collection[str] | None = None
    done: bool = False
    replaced: Commit | None = None


def write(
    store: Store,
    plan: Plan,
    chunk: Chunk,
    results: Sequence[AnyResult],
    provenance: Mapping[str, Any],
    *,
    attempt: str | None = None,
    view: Sequence[tuple[str, bytes]] | None = None,
    replace: Replacement | None = None,
) -> Commit:
    """Write a chunk's data, then its commit.

    Args:
        attempt: name of the attempt; default: a new one.
        view: path and content of the files in the realizations' directories, if they will be published.
        replace: replace the existing commit. It is valid until the new one is written; the directories of changed
            realizations are removed just before that.

    Returns:
        The valid commit: this attempt's, or that of an attempt that was faster or has replaced `replace.of`.

    Raises:
        ResultsDiffer: another attempt was faster, and its realizations differ from the plan's.
        StorageError: the results cannot be written.
    """
    attempt = attempt or stamp()
    outputs = commits.outputs_of(plan.settings)
    base = f"{commits.CHUNKS}/{chunk.name}/{attempt}"
    rows = json.dumps([outputs.summary_row(result) for result in results], allow_nan=False).encode()
    listing = None if view is None else json.dumps([asdict(commits.file_of(*one)) for one in view]).encode()
    commit = Commit(
        chunk=chunk.index,
        attempt=attempt,
        data=_put(store, f"{base}.nc", outputs.packed_nc(results)),
        rows=_put(store, f"{base}.rows", rows),
        view=None if listing is None else _put(store, f"{base}.view", listing),
        realizations={r.run_id: r.identity for r in chunk.realizations},
        counts=dict(Counter(result.status.word for result in results)),
        settings=plan.settings,
        provenance=provenance,
        tries={result.run_id: [asdict(one) for one in result.tries] for result in results if result.tries},
        members=dict(sum((Counter(result.member_counts) for result in results), Counter[str]())),
        rule=plan.rule(chunk.index),
    )
    if replace is not None:
        store.map(store.remove, chunk.run_ids if replace.changed is None else sorted(replace.changed))
        _replace(store, chunk, commit, replace)
    else:
        _create(store, chunk, commit)
    # The store's answer is not enough: a conditional write can lose to its own earlier try, whose answer was lost.
    winner = commits.read(store, chunk)
    if winner is None:
        raise StorageError(
            f"{store.where(commits.path_of(chunk))}: was written, but does not exist; look for who removes it"
        )
    if winner.attempt != attempt:
        commits.check(store, plan, chunk, winner)
    return winner


def _create(store: Store, chunk: Chunk, commit: Commit) -> None:
    content = commits.encode(commit)
    # Also with conditional writes: a node whose client lacks them may have committed first.
    if commits.read(store, chunk) is None:
        if store.conditional:
            store.create(commits.path_of(chunk), content)
        else:
            store.put(commits.path_of(chunk, commit.attempt), content)


def _replace(store: Store, chunk: Chunk, commit: Commit, how: Replacement) -> None:
    """Replace the valid commit in one step, so that no commit that was written meanwhile gets lost unseen."""
    path, content = commits.path_of(chunk), commits.encode(commit)
    while True:
        there = commits.raw(store, path)
        if there == content:  # our own first try, whose answer was lost
            how.done = True
            return
        how.replaced = commits.previous(store, chunk)
        if how.of is not None and (how.replaced is None or how.replaced.attempt != how.of):
            return
        # This path has precedence over those of attempts, with or without conditional writes.
        if there is not None:
            how.done = store.swap(path, content, there)
        elif store.conditional:
            how.done = store.create(path, content)
        else:
            store.put(path, content)
            how.done = True
        if how.done:
            return


def discard(store: Store, chunk: Chunk, old: Commit | None, keep: Callable[[], Container[str]]) -> None:
    """Remove the files and directories of a replaced commit.

    Args:
        keep: returns the run ids whose directories stay, because they belong to other commits now. It is called only
            if the commit has other run ids than the chunk: to list those of a large campaign takes long.
    """
    store.remove(f"{commits.COMMITS}/{chunk.name}")
    if old is not None:
        files = [file.path for file in (old.data, old.rows, old.view) if file is not None]
        others = old.realizations.keys() - set(chunk.run_ids)
        kept = keep() if others else ()
        store.map(store.remove, [*files, *sorted(run_id for run_id in others if run_id not in kept)])


def withdraw(store: Store, chunk: Chunk, keep: Callable[[], Container[str]]) -> None:
    """Remove a chunk: its commits, then its data and its directories, except those that `keep` returns."""
    old = commits.previous(store, chunk)
    store.remove(commits.path_of(chunk))
    discard(store, chunk, old, keep)
    for folder in (commits.CHUNKS, commits.CHECKPOINTS):
        store.remove(f"{folder}/{chunk.name}")


def _put(store: Store, path: str, data: bytes) -> File:
    store.put(path, data)
    if (size := _size(store, path)) != len(data):
        raise StorageError(f"{store.where(path)}: {len(data)} bytes were written, {size} are there")
    return commits.file_of(path, data)


def _size(store: Store, path: str) -> int:
    """Size of an object that was just written; a store that shows it late is given some time [bytes]."""
    for pause_s in _PAUSES_S:
        with contextlib.suppress(FileNotFoundError):
            return store.size(path)
        time.sleep(pause_s)
    raise StorageError(f"{store.where(path)}: was written, but is not there; look for who removes it")

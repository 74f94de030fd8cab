"""Commits: what makes a chunk done.

Each attempt writes its data under its own name. Last, it creates one small commit that names the attempt. A chunk
without a commit is not done. Readers follow commits, never listings of data.

If the store has conditional writes, a chunk has one commit, `commits/<chunk>.commit`. Otherwise, each attempt writes
its own commit, `commits/<chunk>/<attempt>.commit`, and that of the lowest attempt is valid. If both forms exist,
`commits/<chunk>.commit` is valid.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lanewise.errors import Damaged, ResultsDiffer, StorageError
from lanewise.manifest import identity, registry
from lanewise.manifest.plan import Chunk, Plan
from lanewise.manifest.protocols import AnyResult, Outputs
from lanewise.storage.store import HOME, Store, stamp

COMMITS, CHUNKS, CHECKPOINTS = f"{HOME}/commits", f"{HOME}/chunks", f"{HOME}/checkpoints"
_SUFFIX = ".commit"
_BLANK = "0" * 64


@dataclass(frozen=True)
class File:
    """One file of an attempt; `path` is relative to the output URL."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """The record that makes a chunk done.

    Attributes:
        data, rows: the packed results, and their rows of the summary.
        view: list of the files in the realizations' directories; None if the layout has no directories.
        realizations: run id → identity, in the chunk's order.
        counts: status → number of realizations.
        settings: settings that all realizations share, to name the difference when a commit is refused.
        provenance: versions, device, times; the statistics never read it.
        tries: run id → every attempt, including the first run; only for retried realizations.
        members: status → number of members, of realizations with several.
        rule: `Plan.rule` of the chunk; empty if its realizations were listed, or in commits of older versions.
    """

    chunk: int
    attempt: str
    data: File
    rows: File
    view: File | None
    realizations: Mapping[str, str]
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    tries: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    members: Mapping[str, int] = field(default_factory=dict)
    rule: str = ""


def path_of(chunk: Chunk, attempt: str | None = None) -> str:
    """Path of a chunk's commit; with an attempt: its path in a store without conditional writes."""
    return f"{COMMITS}/{chunk.name}{_SUFFIX}" if attempt is None else f"{COMMITS}/{chunk.name}/{attempt}{_SUFFIX}"


def read(store: Store, chunk: Chunk) -> Commit | None:
    """The chunk's valid commit; None if the chunk is not done.

    Raises:
        Damaged: the commit cannot be read.
    """
    if (commit := _parse(store, path_of(chunk))) is not None:
        return commit
    found = attempts(store, chunk)
    return _parse(store, path_of(chunk, found[0])) if found else None


def survey(store: Store, wanted: Collection[int]) -> tuple[dict[int, Commit], dict[int, Damaged]]:
    """The valid commits of these chunks, and why others cannot be read, by chunk index."""
    # For several chunks, one listing replaces a failed read per chunk without a commit.
    there = sorted(index for index in indices(store) if index in wanted) if len(wanted) > 1 else list(wanted)

    def one(index: int) -> Commit | Damaged | None:
        try:
            return read(store, Chunk(index, ()))
        except Damaged as error:
            return error

    found = dict(zip(there, store.map(one, there), strict=True))
    return (
        {index: commit for index, commit in found.items() if isinstance(commit, Commit)},
        {index: error for index, error in found.items() if isinstance(error, Damaged)},
    )


def indices(store: Store) -> set[int]:
    """Index of every chunk that has a commit, including chunks outside the plan."""
    names = (name.removesuffix(_SUFFIX) for name in store.names(COMMITS))
    return {int(name) for name in names if name.isdecimal()}


def begun(store: Store) -> set[int]:
    """Index of every chunk that has a commit or data of an attempt."""
    return indices(store) | {int(name) for name in store.names(CHUNKS) if name.isdecimal()}


def attempts(store: Store, chunk: Chunk) -> list[str]:
    """The attempts with commits under their own names, lowest first."""
    return [n.removesuffix(_SUFFIX) for n in store.names(f"{COMMITS}/{chunk.name}") if n.endswith(_SUFFIX)]


def _parse(store: Store, path: str) -> Commit | None:
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    try:
        content = json.loads(data)
        digest = content.pop("sha256")
        files = {name: File(**content[name]) if content[name] else None for name in ("data", "rows", "view")}
        commit = Commit(**{**content, **files})
        sealed = _sealed(*data.decode().rsplit(digest, 1)) == data
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{store.where(path)}: not a commit of this version of lanewise ({error})") from None
    if not sealed:
        raise Damaged(f"{store.where(path)}: does not have its own SHA-256; it was changed")
    return commit


def _encode(commit: Commit) -> bytes:
    text = json.dumps({**asdict(commit), "sha256": _BLANK}, indent=1, allow_nan=False) + "\n"
    return _sealed(*text.rsplit(_BLANK, 1))


def _sealed(head: str, tail: str) -> bytes:
    """A commit's bytes: head, SHA-256, tail. The SHA-256 is that of the same bytes with zeros in its place."""
    return f"{head}{hashlib.sha256(f'{head}{_BLANK}{tail}'.encode()).hexdigest()}{tail}".encode()


def faults(store: Store, found: Mapping[int, Commit]) -> dict[int, Damaged]:
    """Commits with a file that is missing or has another size, by chunk index, from one listing.

    `verify` also checks the content.
    """
    alone = next(iter(found)) if len(found) == 1 else None
    sizes = store.sizes_below(CHUNKS if alone is None else f"{CHUNKS}/{Chunk(alone, ()).name}") if found else {}
    damaged: dict[int, Damaged] = {}
    for index, commit in found.items():
        for file in (commit.data, commit.rows, commit.view):
            # If the chunk was overwritten since its commit was read, it is not damaged.
            if file and sizes.get(file.path) != file.size and previous(store, Chunk(index, ())) == commit:
                damaged[index] = _wrong_size(store, file, sizes.get(file.path))
                break
    return damaged


def _wrong_size(store: Store, file: File, size: int | None) -> Damaged:
    there = "is named by a commit and missing" if size is None else f"has {size} bytes, its commit says {file.size}"
    return Damaged(f"{store.where(file.path)}: {there}")


def remedy(index: int) -> str:
    """The remedy for a damaged chunk, for messages."""
    return f"`lanewise run --overwrite --batch-index {index}` computes it again"


def check(store: Store, plan: Plan, chunk: Chunk, commit: Commit) -> None:
    """Check that a commit has the plan's realizations.

    Raises:
        ResultsDiffer: the identities differ; the text says which settings.
    """
    # Equal rules give equal realizations: nothing has to be computed. Different rules say nothing.
    if commit.rule and commit.rule == plan.rule(chunk.index):
        return
    expected = {r.run_id: r.identity for r in chunk.realizations}
    if dict(commit.realizations) == expected:
        return
    reasons = list(identity.differences(commit.settings, plan.settings)) or [
        f"chunk {chunk.index} holds other realizations; batch.size differs, or the truths and seeds, or the inputs "
        "and the sweep (to add realizations: lanewise extend)"
    ]
    shown = "; ".join(reasons[:5])
    raise ResultsDiffer(f"{store.url}: holds other results: {shown}; choose another output.url or --overwrite")


def write(
    store: Store,
    plan: Plan,
    chunk: Chunk,
    results: Sequence[AnyResult],
    provenance: Mapping[str, Any],
    *,
    attempt: str | None = None,
    view: Sequence[tuple[str, bytes]] | None = None,
    replace: bool = False,
    changed: Collection[str] | None = None,
) -> Commit:
    """Write a chunk's data, then its commit.

    Args:
        attempt: name of the attempt; default: a new one.
        view: path and content of the files in the realizations' directories, if they will be published.
        replace: replace the existing commit. It is valid until the new one is written; the directories of changed
            realizations are removed just before that.
        changed: with `replace`, run ids whose results differ from the existing ones; None: all.

    Returns:
        The valid commit: this attempt's, or that of an attempt that was faster.

    Raises:
        ResultsDiffer: another attempt was faster, and its realizations differ from the plan's.
        StorageError: the results cannot be written.
    """
    attempt = attempt or stamp()
    outputs = outputs_of(plan.settings)
    base = f"{CHUNKS}/{chunk.name}/{attempt}"
    rows = json.dumps([outputs.summary_row(result) for result in results], allow_nan=False).encode()
    listing = None if view is None else json.dumps([asdict(_file(*one)) for one in view]).encode()
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
    if replace:
        # Otherwise a process that is killed between commit and publication would leave the old attempt's files, which
        # may have the sizes of the new ones.
        store.map(store.remove, chunk.run_ids if changed is None else sorted(changed))
    _settle(store, chunk, commit, replace)
    # The store's answer is not enough: a conditional write can lose to its own earlier try, whose answer was lost.
    winner = read(store, chunk)
    if winner is None:
        raise StorageError(f"{store.where(path_of(chunk))}: was written, but does not exist; look for who removes it")
    if winner.attempt != attempt:
        check(store, plan, chunk, winner)
    return winner


def _settle(store: Store, chunk: Chunk, commit: Commit, replace: bool) -> None:
    content = _encode(commit)
    if replace:
        # This path has precedence over those of attempts, with or without conditional writes.
        store.put(path_of(chunk), content)
    elif read(store, chunk) is None:
        # Also with conditional writes: a node whose client lacks them may have committed first.
        if store.conditional:
            store.create(path_of(chunk), content)
        else:
            store.put(path_of(chunk, commit.attempt), content)


def outputs_of(settings: Mapping[str, Any]) -> Outputs[Any]:
    """The `Outputs` of the family that the settings of a plan or commit name."""
    return registry.family(settings["kind"]).outputs()


def load_results(store: Store, commit: Commit) -> Sequence[AnyResult]:
    """The results of a commit.

    Raises:
        Damaged: their file is missing or was changed.
    """
    return outputs_of(commit.settings).unpack(checked(store, commit.data))


def load_rows(store: Store, commit: Commit) -> list[dict[str, Any]]:
    """The summary rows of a commit.

    Raises:
        Damaged: their file is missing or was changed.
    """
    rows: list[dict[str, Any]] = json.loads(checked(store, commit.rows))
    return rows


def load_view(store: Store, commit: Commit) -> list[File]:
    """The files in the directories of a commit's realizations; empty if the layout has none."""
    return [File(**one) for one in json.loads(checked(store, commit.view))] if commit.view else []


def previous(store: Store, chunk: Chunk) -> Commit | None:
    """The chunk's valid commit; None if there is none or it is damaged."""
    with contextlib.suppress(Damaged):
        return read(store, chunk)
    return None


def discard(store: Store, chunk: Chunk, old: Commit | None, keep: Callable[[], Container[str]]) -> None:
    """Remove the files and directories of a replaced commit.

    Args:
        keep: returns the run ids whose directories stay, because they belong to other commits now. It is called only
            if the commit has other run ids than the chunk: to list those of a large campaign takes long.
    """
    store.remove(f"{COMMITS}/{chunk.name}")
    if old is not None:
        files = [file.path for file in (old.data, old.rows, old.view) if file is not None]
        others = old.realizations.keys() - set(chunk.run_ids)
        kept = keep() if others else ()
        store.map(store.remove, [*files, *sorted(run_id for run_id in others if run_id not in kept)])


def withdraw(store: Store, chunk: Chunk, keep: Callable[[], Container[str]]) -> None:
    """Remove a chunk: its commits, then its data and its directories, except those that `keep` returns."""
    old = previous(store, chunk)
    store.remove(path_of(chunk))
    discard(store, chunk, old, keep)
    for folder in (CHUNKS, CHECKPOINTS):
        store.remove(f"{folder}/{chunk.name}")


def checked(store: Store, file: File) -> bytes:
    """Content of a file that a commit names.

    Raises:
        Damaged: the file is missing or was changed.
    """
    try:
        data = store.read(file.path)
    except FileNotFoundError:
        raise _wrong_size(store, file, None) from None
    if len(data) != file.size:
        raise _wrong_size(store, file, len(data))
    if _file(file.path, data) != file:
        raise Damaged(f"{store.where(file.path)}: does not have the SHA-256 of its commit; it was changed")
    return data


def _file(path: str, data: bytes) -> File:
    return File(path, len(data), hashlib.sha256(data).hexdigest())


def _put(store: Store, path: str, data: bytes) -> File:
    store.put(path, data)
    if (size := store.size(path)) != len(data):
        raise StorageError(f"{store.where(path)}: {len(data)} bytes were written, {size} are there")
    return _file(path, data)

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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from lanewise.errors import Damaged, ResultsDiffer
from lanewise.manifest import identity, registry
from lanewise.manifest.plan import Chunk, Plan
from lanewise.manifest.protocols import AnyResult, Outputs
from lanewise.storage.store import HOME, Store

T = TypeVar("T")
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
    if (found := attempts(store, chunk)) and (commit := _parse(store, path_of(chunk, found[0]))) is not None:
        return commit
    # Between our two looks, a process may have replaced the commits of attempts by this one.
    return _parse(store, path_of(chunk))


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


def raw(store: Store, path: str) -> bytes | None:
    """Content of an object; None if it does not exist."""
    try:
        return store.read(path)
    except FileNotFoundError:
        return None


def _parse(store: Store, path: str) -> Commit | None:
    data = raw(store, path)
    if data is None:
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


def encode(commit: Commit) -> bytes:
    """A commit's bytes, with their own SHA-256."""
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
    if changed := sorted(with_other_data(plan, chunk, commit)):
        names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        reasons = [
            f"the data of {names} have changed since chunk {chunk.index} was computed; if they were not ok, "
            "`lanewise retry` computes them again, and only them"
        ]
    else:
        reasons = list(identity.differences(commit.settings, plan.settings)) or [
            f"chunk {chunk.index} holds other realizations; batch.size differs (to change it: lanewise rechunk), or "
            "the truths and seeds, or the inputs and the sweep (to add realizations: lanewise extend)"
        ]
    shown = "; ".join(reasons[:5])
    raise ResultsDiffer(f"{store.url}: holds other results: {shown}; choose another output.url or --overwrite")


def with_other_data(plan: Plan, chunk: Chunk, commit: Commit) -> frozenset[str]:
    """Run ids of a chunk's realizations whose data have changed since its commit; empty if more than data differs."""
    expected = {r.run_id: r.identity for r in chunk.realizations}
    same = list(commit.realizations) == list(expected) and not any(identity.differences(commit.settings, plan.settings))
    return frozenset(one for one in expected if commit.realizations[one] != expected[one]) if same else frozenset()


def outputs_of(settings: Mapping[str, Any]) -> Outputs[Any]:
    """The `Outputs` of the family that the settings of a plan or commit name."""
    return registry.family(settings["kind"]).outputs()


def following(store: Store, commit: Commit, use: Callable[[Commit], T]) -> tuple[Commit, T]:
    """What `use` makes of a commit, or of the one that has replaced it since it was read; and that commit.

    A process that replaces a commit removes its files, which is no damage.

    Raises:
        Damaged: a file of the valid commit is missing or was changed.
        ResultsDiffer: the commit was replaced by one of other realizations.
    """
    while True:
        try:
            return commit, use(commit)
        except Damaged:
            now = previous(store, Chunk(commit.chunk, ()))
            if now is None or now.attempt == commit.attempt:
                raise
            if dict(now.realizations) != dict(commit.realizations):
                text = f"chunk {commit.chunk} was overwritten with other realizations meanwhile; run the command again"
                raise ResultsDiffer(f"{store.url}: {text}") from None
            commit = now


def current_results(store: Store, commit: Commit) -> tuple[Commit, list[AnyResult]]:
    """The results of a commit, or of the one that has replaced it since, and that commit; see `following`."""
    return following(store, commit, lambda one: list(results_of(store, one)))


def load_results(store: Store, commit: Commit) -> Sequence[AnyResult]:
    """The results of a commit, or of the one that has replaced it since."""
    return current_results(store, commit)[1]


def results_of(store: Store, commit: Commit) -> Sequence[AnyResult]:
    """The results of this very commit.

    Raises:
        Damaged: their file is missing or was changed.
    """
    return outputs_of(commit.settings).unpack(checked(store, commit.data))


def load_rows(store: Store, commit: Commit) -> list[dict[str, Any]]:
    """The summary rows of a commit, or of the one that has replaced it since; see `following`."""
    rows: list[dict[str, Any]] = following(store, commit, lambda one: json.loads(checked(store, one.rows)))[1]
    return rows


def view_of(store: Store, commit: Commit) -> list[File]:
    """The files in the directories of this very commit's realizations; empty if the layout has none.

    Raises:
        Damaged: their list is missing or was changed.
    """
    return [File(**one) for one in json.loads(checked(store, commit.view))] if commit.view else []


def previous(store: Store, chunk: Chunk) -> Commit | None:
    """The chunk's valid commit; None if there is none or it is damaged."""
    with contextlib.suppress(Damaged):
        return read(store, chunk)
    return None


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
    if file_of(file.path, data) != file:
        raise Damaged(f"{store.where(file.path)}: does not have the SHA-256 of its commit; it was changed")
    return data


def file_of(path: str, data: bytes) -> File:
    """What a commit says of a file with these bytes."""
    return File(path, len(data), hashlib.sha256(data).hexdigest())

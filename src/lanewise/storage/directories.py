"""The directories of the realizations: a copy of the committed data that can be rebuilt from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult
from lanewise.storage import commits
from lanewise.storage.commits import Commit, File
from lanewise.storage.store import Store, stamp

# Suffix of the mark of directories that are not complete.
_MARK = ".incomplete"
# The writer of an older mark was killed: to write a chunk's directories takes seconds [s].
_STALE_S = 3600.0


def files_of(settings: Mapping[str, Any], results: Iterable[AnyResult]) -> Iterable[tuple[str, bytes]]:
    """Path and content of every file in the realizations' directories."""
    outputs = commits.outputs_of(settings)
    for result in results:
        for name, data in outputs.files(result).items():
            yield f"{result.run_id}/{name}", data


@contextlib.contextmanager
def changing(store: Store, chunk: Chunk, attempt: str) -> Iterator[None]:
    """Mark a chunk's directories as incomplete: while the block runs, and after it if it is cut off.

    A reader does not take incomplete directories for damaged ones, and the next run writes them again.

    Args:
        attempt: names the mark; one that no other process uses.
    """
    path = _mark(chunk, attempt)
    store.put(path, b"incomplete")
    yield
    _unmark(store, path)


def marked(store: Store, chunk: Chunk) -> bool:
    """Whether a process changes the chunk's directories, or was killed while it did."""
    return bool(_marks(store, chunk))


def publish(store: Store, chunk: Chunk, commit: Commit) -> None:
    """Write the directories of a committed chunk from its data, unless they are complete."""
    commit, view = commits.following(store, commit, lambda one: commits.view_of(store, one))
    marks = _marks(store, chunk)
    incomplete = bool(marks)
    if view and not incomplete and _is_complete(store, chunk, view):
        return
    with changing(store, chunk, stamp()):
        commit = settle(store, chunk, commit, anew=incomplete)
    if not incomplete:
        return
    # The mark of the process that made this commit and was killed before its directories were complete, and the marks
    # of others that were killed. A young one may be of a process that writes.
    _unmark(store, _mark(chunk, commit.attempt))
    stale_before = store.now() - _STALE_S
    for path in marks:
        if store.modified(path) < stale_before:
            _unmark(store, path)


def settle(
    store: Store,
    chunk: Chunk,
    commit: Commit,
    files: Iterable[tuple[str, bytes]] | None = None,
    *,
    anew: bool = False,
) -> Commit:
    """Write a chunk's directories until they are those of the valid commit; call it within `changing`.

    Args:
        files: path and content; None: made from the committed data.
        anew: remove the directories first.

    Returns:
        The valid commit: the given one, or one that has replaced it meanwhile.
    """
    while True:
        if files is None:
            commit, results = commits.following(store, commit, lambda one: commits.results_of(store, one))
            files = files_of(commit.settings, results)
        if anew:
            store.map(store.remove, commit.realizations)
        write(store, files)
        now = commits.read(store, chunk)
        if now is None or now.attempt == commit.attempt:
            return commit
        commit, files, anew = now, None, True


def write(store: Store, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files of realizations: directories in parallel, the files of one directory in order."""
    directories: dict[str, list[tuple[str, bytes]]] = {}
    for path, data in files:
        directories.setdefault(path.rpartition("/")[0], []).append((path, data))

    def put(directory: list[tuple[str, bytes]]) -> None:
        for path, data in directory:
            store.put(path, data)

    store.map(put, directories.values(), writing=True)


def _marks(store: Store, chunk: Chunk) -> list[str]:
    """Paths of a chunk's marks."""
    folder = f"{commits.CHUNKS}/{chunk.name}"
    return [f"{folder}/{name}" for name, size in store.sizes(folder).items() if size and name.endswith(_MARK)]


def _mark(chunk: Chunk, attempt: str) -> str:
    return f"{commits.CHUNKS}/{chunk.name}/{attempt}{_MARK}"


def _unmark(store: Store, path: str) -> None:
    if store.keeps:
        store.put(path, b"")
    else:
        store.remove(path)


def _is_complete(store: Store, chunk: Chunk, view: Iterable[File]) -> bool:
    """Whether every file of the directories exists with the right size."""
    found = zip(chunk.run_ids, store.map(store.sizes, chunk.run_ids), strict=True)
    sizes = {f"{run_id}/{name}": size for run_id, files in found for name, size in files.items()}
    return all(sizes.get(file.path) == file.size for file in view)

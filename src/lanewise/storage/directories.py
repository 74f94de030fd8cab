"""The directories of the realizations: a copy of the committed data that can be rebuilt from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import AnyResult
from lanewise.storage import commits
from lanewise.storage.commits import Commit, File
from lanewise.storage.store import Store


def files_of(settings: Mapping[str, Any], results: Iterable[AnyResult]) -> Iterable[tuple[str, bytes]]:
    """Path and content of every file in the realizations' directories."""
    outputs = commits.outputs_of(settings)
    for result in results:
        for name, data in outputs.files(result).items():
            yield f"{result.run_id}/{name}", data


def publish(store: Store, chunk: Chunk, commit: Commit, files: Iterable[tuple[str, bytes]] | None = None) -> None:
    """Write the run-id directories of a committed chunk.

    Args:
        files: path and content, all of which are written. None: make them from the committed data, but only if a
            file is missing or has the wrong size.
    """
    if files is None:
        view = commits.load_view(store, commit)
        # After two attempts without conditional writes, a file of the right size may come from the other attempt.
        contested = len(commits.attempts(store, chunk)) > 1
        if view and not contested and _is_complete(store, chunk, view):
            return
        files = files_of(commit.settings, commits.load_results(store, commit))
    write(store, files)


def write(store: Store, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files of realizations: directories in parallel, the files of one directory in order."""
    directories: dict[str, list[tuple[str, bytes]]] = {}
    for path, data in files:
        directories.setdefault(path.rpartition("/")[0], []).append((path, data))

    def put(directory: list[tuple[str, bytes]]) -> None:
        for path, data in directory:
            store.put(path, data)

    store.map(put, directories.values())


def _is_complete(store: Store, chunk: Chunk, view: Iterable[File]) -> bool:
    """Whether every file of the directories exists with the right size."""
    found = zip(chunk.run_ids, store.map(store.sizes, chunk.run_ids), strict=True)
    sizes = {f"{run_id}/{name}": size for run_id, files in found for name, size in files.items()}
    return all(sizes.get(file.path) == file.size for file in view)

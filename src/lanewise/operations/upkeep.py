"""Upkeep of a campaign in storage: what is damaged or foreign, what is left over, and directories of packed chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lanewise.errors import Damaged, ResultsDiffer, StorageError
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.plan import Chunk
from lanewise.storage import commits, directories
from lanewise.storage.claims import CLAIMS
from lanewise.storage.commits import Commit, File
from lanewise.storage.record import Record
from lanewise.storage.store import PROBES, Store, is_stamp

# Chunks that are read between two words of progress.
_AT_ONCE = 64


@dataclass(frozen=True)
class Damage:
    """Something that is not as the commits say.

    Attributes:
        foreign: it belongs to another campaign; else it is damaged.
    """

    text: str
    foreign: bool = False


@dataclass(frozen=True)
class Verification:
    """What `verify` saw: chunks that have a commit, files that were read, and what is wrong."""

    n_chunks: int
    n_files: int
    findings: tuple[Damage, ...]


def verify(record: Record, progress: Reporter | None = None) -> Verification:
    """Read every file that a commit names and compare size and SHA-256; look for commits of other campaigns."""
    progress, store, chunks = progress or Silent(), record.store, record.plan.chunks
    foreign = [
        Damage(f"{store.where(commits.COMMITS)}: chunk {index} is not in the plan of this manifest", foreign=True)
        for index in sorted(commits.indices(store) - {chunk.index for chunk in chunks})
    ]
    progress.begin("chunks", len(chunks))
    seen: list[Verification] = []
    for at in range(0, len(chunks), _AT_ONCE):
        seen += store.map(lambda chunk: _verify_chunk(record, chunk), chunks[at : at + _AT_ONCE])
        progress.step(len(seen))
    findings = [*foreign, *(finding for one in seen for finding in one.findings)]
    return Verification(sum(one.n_chunks for one in seen), sum(one.n_files for one in seen), tuple(findings))


def _verify_chunk(record: Record, chunk: Chunk) -> Verification:
    store = record.store
    try:
        commit = commits.read(store, chunk)
        if commit is None:
            return Verification(0, 0, ())
        commits.check(store, record.plan, chunk, commit)
    except ResultsDiffer as error:
        return Verification(0, 0, (Damage(f"chunk {chunk.index}: {error}", foreign=True),))
    except Damaged as error:
        return Verification(0, 0, (Damage(f"{error}; {commits.remedy(chunk.index)}"),))
    found = list(_damage(store, commit))
    n_files = 2 + (1 + len(commits.load_view(store, commit)) if commit.view and not found else 0)
    return Verification(1, n_files, tuple(Damage(text) for text in found or _view_damage(store, chunk, commit)))


def export(record: Record, store: Store) -> int:
    """Write the directories of every committed realization; returns how many."""
    n = 0
    for commit in record.commits().values():
        results = commits.load_results(record.store, commit)
        directories.write(store, directories.files_of(commit.settings, results))
        n += len(results)
    return n


def clean(record: Record, older_than_s: float, *, dry_run: bool = False) -> list[str]:
    """Remove what attempts left behind that do not count; returns the paths.

    An attempt under way looks like an orphan until it commits: only what is older is taken, by the store's clock. What
    is of chunks outside the plan is left alone.
    """
    store = record.store
    born_before = store.now() - older_than_s

    def old(paths: Sequence[str]) -> list[str]:
        return [path for path, at in zip(paths, store.map(store.modified, paths), strict=True) if at < born_before]

    found = record.commits()
    taken = old([path for chunk in record.plan.chunks for path in _orphans(store, chunk, found.get(chunk.index))])
    taken += old([f"{PROBES}/{name}" for name in store.names(PROBES)])
    # A claim that is alive is younger than an hour: it beats.
    taken += old([f"{CLAIMS}/{name}" for name in store.names(CLAIMS)])
    taken += old(store.leftovers())
    taken += [f"{commits.CHECKPOINTS}/{name}" for name in _finished_checkpoints(record, found)]
    # Asked again: an attempt that was slow may have committed since.
    counts = {commit.attempt for commit in record.commits().values()}
    taken = [path for path in taken if _attempt(path) not in counts]
    for path in () if dry_run else taken:
        store.remove(path)
    return taken


def _damage(store: Store, commit: Commit) -> Iterator[str]:
    """What is wrong with the files of an attempt."""
    for file in (commit.data, commit.rows, commit.view):
        try:
            if file is not None:
                commits.checked(store, file)
        except StorageError as error:
            yield f"{error}; {commits.remedy(commit.chunk)}"


def _view_damage(store: Store, chunk: Chunk, commit: Commit) -> Iterator[str]:
    """What is wrong with the published directories."""
    bad = [(file, text) for file in commits.load_view(store, commit) if (text := _view_fault(store, file))]
    if not bad:
        return
    # Another version of HDF5 may write the same content in other bytes: what the committed data give now is right too.
    rebuilt = dict(directories.files_of(commit.settings, commits.load_results(store, commit)))
    for file, text in bad:
        if not _is(store, file.path, rebuilt.get(file.path)):
            yield f"{text}; remove it, and `lanewise run --batch-index {chunk.index}` writes it again"


def _view_fault(store: Store, file: File) -> str | None:
    try:
        commits.checked(store, file)
    except StorageError as error:
        return str(error)
    return None


def _is(store: Store, path: str, data: bytes | None) -> bool:
    try:
        return store.read(path) == data
    except FileNotFoundError:
        return False


def _orphans(store: Store, chunk: Chunk, commit: Commit | None) -> Iterator[str]:
    """Commits and data of a chunk's attempts that do not count; commits first."""
    counts = commit.attempt if commit else None
    for attempt in commits.attempts(store, chunk):
        if attempt != counts:
            yield commits.path_of(chunk, attempt)
    for name in store.names(f"{commits.CHUNKS}/{chunk.name}"):
        if is_stamp(_attempt(name)) and _attempt(name) != counts:
            yield f"{commits.CHUNKS}/{chunk.name}/{name}"


def _finished_checkpoints(record: Record, found: Iterable[int]) -> list[str]:
    done = {record.plan.chunks[index].name for index in found}
    return [name for name in record.store.names(commits.CHECKPOINTS) if name in done]


def _attempt(path: str) -> str:
    """The attempt that a file or a commit is named after."""
    return path.rpartition("/")[2].partition(".")[0]

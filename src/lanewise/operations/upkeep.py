"""Upkeep of a campaign in storage: verify its files, unpack its chunks, remove leftovers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lanewise.errors import Damaged, ResultsDiffer, StorageError
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.plan import Chunk
from lanewise.storage import commits, directories
from lanewise.storage.claims import CLAIMS
from lanewise.storage.commits import Commit, File
from lanewise.storage.record import Record
from lanewise.storage.store import PROBES, Store, is_stamp, stamp
from lanewise.storage.waits import WAITS

# Chunks that are read between two progress reports.
_AT_ONCE = 64
# Pauses before `verify` looks again at a chunk that seems damaged [s].
_PAUSES_S = (0.2, 0.5, 1.0)


@dataclass(frozen=True)
class Damage:
    """A file that differs from its commit, or a commit of another campaign.

    Attributes:
        foreign: whether it belongs to another campaign.
    """

    text: str
    foreign: bool = False


@dataclass(frozen=True)
class Verification:
    """Result of `verify`.

    Attributes:
        n_chunks, n_files: number of chunks with a commit, and of files that were read.
        findings: the problems.
        incomplete: index of each chunk whose directories a process is writing, or was stopped while it wrote them.
    """

    n_chunks: int = 0
    n_files: int = 0
    findings: tuple[Damage, ...] = ()
    incomplete: tuple[int, ...] = ()

    def __add__(self, other: Verification) -> Verification:
        """The sum of two parts."""
        return Verification(
            self.n_chunks + other.n_chunks,
            self.n_files + other.n_files,
            self.findings + other.findings,
            self.incomplete + other.incomplete,
        )


def verify(record: Record, progress: Reporter | None = None) -> Verification:
    """Compare size and SHA-256 of every committed file with its commit, and find commits of other campaigns.

    A chunk that was committed by the manifest of before a `lanewise rechunk`, and after it, is a leftover for `clean`.
    Processes may write at the same time: what they replace or have not published yet is no finding.
    """
    progress, store, chunks = progress or Silent(), record.store, record.plan.chunks
    there = sorted(commits.indices(store))
    planned = [index for index in there if index in record.plan.indices]
    foreign = tuple(
        Damage(f"{store.where(commits.COMMITS)}: chunk {index} is not in the plan of this manifest", foreign=True)
        for index in there
        if index >= len(chunks)
    )
    progress.begin("chunks", len(planned))
    found = Verification(findings=foreign)
    for at in range(0, len(planned), _AT_ONCE):
        some = planned[at : at + _AT_ONCE]
        found = sum(store.map(lambda index: _verify_chunk(record, chunks[index]), some), found)
        progress.step(at + len(some))
    return found


def _verify_chunk(record: Record, chunk: Chunk) -> Verification:
    """Look again at what seems damaged: damage stays, the traces of a process that is writing do not."""
    for pause_s in _PAUSES_S:
        found = _look(record, chunk)
        if not found.findings and not found.incomplete:
            return found
        time.sleep(pause_s)
    return _look(record, chunk)


def _look(record: Record, chunk: Chunk) -> Verification:
    store = record.store
    while True:
        try:
            commit = commits.read(store, chunk)
            if commit is None:
                return Verification()
            commits.check(store, record.plan, chunk, commit)
        except ResultsDiffer as error:
            return Verification(findings=(Damage(f"chunk {chunk.index}: {error}", foreign=True),))
        except Damaged as error:
            return Verification(findings=(Damage(f"{error}; {commits.remedy(chunk.index)}"),))
        files = [file for file in (commit.data, commit.rows, commit.view) if file is not None]
        wrong = [f"{fault}; {commits.remedy(chunk.index)}" for _, fault in _faults(store, files)]
        view: list[File] = []
        incomplete = False
        if not wrong:
            with contextlib.suppress(Damaged):  # replaced since: seen below
                view = commits.view_of(store, commit)
                wrong = list(_view_damage(store, commit, view))
                incomplete = bool(wrong) and directories.marked(store, chunk)
        # What another process has replaced since the commit was read is not damaged.
        if commits.previous(store, chunk) == commit:
            findings = () if incomplete else tuple(map(Damage, wrong))
            return Verification(1, len(files) + len(view), findings, (chunk.index,) if incomplete else ())


def export(record: Record, store: Store | None = None) -> int:
    """Write the directories of every committed realization; returns their number.

    Args:
        store: where to; default: beside the results.
    """
    n = 0
    for index, commit in record.commits().items():
        if store is None:
            chunk = record.plan.chunks[index]
            with directories.changing(record.store, chunk, stamp()):
                directories.settle(record.store, chunk, commit)
        else:
            results = commits.load_results(record.store, commit)
            directories.write(store, directories.files_of(commit.settings, results))
        n += len(commit.realizations)
    return n


def clean(record: Record, older_than_s: float, *, dry_run: bool = False) -> list[str]:
    """Remove the leftovers of attempts that are not valid; returns the paths.

    A running attempt looks like a leftover until it commits. Therefore only old files are removed. Chunks outside the
    plan are not touched.

    Args:
        older_than_s: smallest age of the files, by the store's clock [s].
        dry_run: only list the paths.
    """
    store = record.store
    born_before = store.now() - older_than_s

    def old(paths: Sequence[str]) -> list[str]:
        return [path for path, at in zip(paths, store.map(store.modified, paths), strict=True) if at < born_before]

    found, chunks = record.commits(), record.plan.chunks
    there = sorted(index for index in commits.begun(store) if index < len(chunks))
    taken = old([path for index in there for path in _orphans(store, chunks[index], found.get(index))])
    taken += old([f"{PROBES}/{name}" for name in store.names(PROBES) if is_stamp(name)])
    # A living process rewrites its claim every few seconds, so that it is never old.
    taken += old([f"{CLAIMS}/{name}" for name in store.names(CLAIMS)])
    taken += old([f"{WAITS}/{name}" for name in store.names(WAITS)])
    taken += old(store.leftovers())
    open_ = {chunks[index].name for index in record.plan.indices if index not in found}
    ours = [name for name in store.names(commits.CHECKPOINTS) if name.isdecimal() and int(name) < len(chunks)]
    taken += [f"{commits.CHECKPOINTS}/{name}" for name in ours if name not in open_]
    # A slow attempt may have committed since the first look.
    valid = {commit.attempt for commit in record.commits().values()}
    taken = [path for path in taken if _attempt(path) not in valid]
    for path in () if dry_run else taken:
        store.remove(path)
    return taken


def _faults(store: Store, files: Iterable[File]) -> Iterator[tuple[File, StorageError]]:
    """The files that differ from their commit or cannot be read, with the error."""
    for file in files:
        try:
            commits.checked(store, file)
        except StorageError as error:
            yield file, error


def _view_damage(store: Store, commit: Commit, view: Sequence[File]) -> Iterator[str]:
    """What is wrong with the published directories."""
    bad = list(_faults(store, view))
    if not bad:
        return
    # Another version of HDF5 may write the same content as other bytes. Accept also what the data give now.
    rebuilt = dict(directories.files_of(commit.settings, commits.results_of(store, commit)))
    for file, error in bad:
        try:
            same = store.read(file.path) == rebuilt.get(file.path)
        except FileNotFoundError:
            same = False
        if not same:
            yield f"{error}; `lanewise export` writes it again"


def _orphans(store: Store, chunk: Chunk, commit: Commit | None) -> Iterator[str]:
    """Commits and data of a chunk's attempts that are not valid, all of a void chunk; commits first."""
    valid = commit.attempt if commit else None
    if not chunk.planned and store.exists(commits.path_of(chunk)):
        yield commits.path_of(chunk)
    for attempt in commits.attempts(store, chunk):
        if attempt != valid:
            yield commits.path_of(chunk, attempt)
    for name in store.names(f"{commits.CHUNKS}/{chunk.name}"):
        if is_stamp(_attempt(name)) and _attempt(name) != valid:
            yield f"{commits.CHUNKS}/{chunk.name}/{name}"


def _attempt(path: str) -> str:
    """The attempt in the name of a file or commit."""
    return path.rpartition("/")[2].partition(".")[0]

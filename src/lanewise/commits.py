"""Commits: what makes a chunk done.

A chunk's data goes under its attempt, which no other attempt shares; then one small commit is created, last, and
names the attempt. No commit, not done. Readers follow commits, never listings of data.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lanewise import identity, outputs
from lanewise.errors import ResultsDiffer, StorageError
from lanewise.plan import Chunk, Plan
from lanewise.results import Result
from lanewise.store import Store

HOME = "_lanewise"


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
        realizations: run id → identity, in the chunk's order.
        counts: status → number of realizations.
        settings: what the identities share, so that a refusal can say what differs.
        provenance: versions, device, timings; never read by the statistics.
    """

    chunk: int
    attempt: str
    data: File
    rows: File
    realizations: Mapping[str, str]
    counts: Mapping[str, int]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]


def new_attempt() -> str:
    """A name that no other attempt has; later attempts sort after earlier ones."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def path_of(chunk: Chunk) -> str:
    """Where a chunk's commit stands."""
    return f"{HOME}/commits/{chunk.name}.commit"


def read(store: Store, chunk: Chunk) -> Commit | None:
    """The chunk's commit, None if it is not done."""
    try:
        data = store.read(path_of(chunk))
    except FileNotFoundError:
        return None
    try:
        content = json.loads(data)
        return Commit(**{**content, "data": File(**content["data"]), "rows": File(**content["rows"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"{store.where(path_of(chunk))}: not a commit of this version of lanewise ({error})"
        ) from None


def check(store: Store, plan: Plan, chunk: Chunk, commit: Commit) -> None:
    """Refuse a commit of other realizations or settings.

    Raises:
        ResultsDiffer: saying what differs.
    """
    expected = {r.run_id: r.identity for r in chunk.realizations}
    if dict(commit.realizations) == expected:
        return
    reasons = list(identity.differences(commit.settings, plan.settings))
    if not reasons:
        reasons = [f"chunk {chunk.index} holds other realizations; batch.size, the shears or the seeds differ"]
    shown = "; ".join(reasons[:5])
    raise ResultsDiffer(f"{store.url}: holds other results: {shown}; choose another output.url or --overwrite")


def write(store: Store, plan: Plan, chunk: Chunk, results: Sequence[Result], provenance: Mapping[str, Any]) -> Commit:
    """Write a chunk's data, then its commit.

    Returns:
        The commit that counts: this attempt's, or that of another attempt which was first.
    """
    attempt = new_attempt()
    base = f"{HOME}/chunks/{chunk.name}/{attempt}"
    rows = json.dumps([outputs.summary_row(result) for result in results], allow_nan=False).encode()
    files = [_put(store, f"{base}.nc", outputs.packed_nc(results)), _put(store, f"{base}.rows", rows)]
    commit = Commit(
        chunk=chunk.index,
        attempt=attempt,
        data=files[0],
        rows=files[1],
        realizations={r.run_id: r.identity for r in chunk.realizations},
        counts=dict(Counter(result.status.word for result in results)),
        settings=plan.settings,
        provenance=provenance,
    )
    content = json.dumps(asdict(commit), indent=1, allow_nan=False) + "\n"
    if store.create(path_of(chunk), content.encode()):
        return commit
    winner = read(store, chunk)
    if winner is None:
        raise StorageError(f"{store.where(path_of(chunk))}: was refused as existing, and does not exist")
    check(store, plan, chunk, winner)
    return winner


def load_results(store: Store, commit: Commit) -> list[Result]:
    """The results that a commit stands for."""
    return outputs.unpack(_checked(store, commit.data))


def load_rows(store: Store, commit: Commit) -> list[dict[str, Any]]:
    """The summary rows that a commit stands for."""
    rows: list[dict[str, Any]] = json.loads(_checked(store, commit.rows))
    return rows


def publish(store: Store, chunk: Chunk, results: Sequence[Result] | None, commit: Commit) -> None:
    """Write the run-id directories of a committed chunk, where they are not there already.

    Args:
        results: those of the commit, if they are at hand; else they are read.
    """
    if all(store.exists(f"{r.run_id}/convergence.json") for r in chunk.realizations):
        return
    for result in results if results is not None else load_results(store, commit):
        for name, data in outputs.files(result).items():
            store.put(f"{result.run_id}/{name}", data)


def withdraw(store: Store, chunk: Chunk) -> None:
    """Remove a chunk's commit first, then its data and directories."""
    store.remove(path_of(chunk))
    store.remove(f"{HOME}/chunks/{chunk.name}")
    for realization in chunk.realizations:
        store.remove(realization.run_id)


def record_failure(store: Store, chunk: Chunk, message: str) -> None:
    """Leave word of a chunk that could not be committed."""
    content = {"chunk": chunk.index, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "message": message}
    store.put(f"{HOME}/failures/{chunk.name}-{new_attempt()}.failure", (json.dumps(content) + "\n").encode())


def failures(store: Store) -> dict[int, str]:
    """The last failure of every chunk that has one: index → message."""
    found = {}
    for name in store.names(f"{HOME}/failures"):
        content = json.loads(store.read(f"{HOME}/failures/{name}"))
        found[int(content["chunk"])] = str(content["message"])
    return found


def _put(store: Store, path: str, data: bytes) -> File:
    store.put(path, data)
    return File(path, len(data), hashlib.sha256(data).hexdigest())


def _checked(store: Store, file: File) -> bytes:
    try:
        data = store.read(file.path)
    except FileNotFoundError:
        raise StorageError(f"{store.where(file.path)}: is named by a commit and missing") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise StorageError(
            f"{store.where(file.path)}: does not have the SHA-256 of its commit; it was changed or is torn"
        )
    return data

"""Claims: which processes work on a campaign, on which chunk, and whether they are alive.

Each process has one small object that a thread rewrites every few seconds. From it, `status` can distinguish a chunk
in progress from one whose process has died. No result depends on claims: two processes may claim one chunk, and a
claim that cannot be written is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from lanewise.errors import StorageError
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest.plan import Chunk
from lanewise.storage.store import HOME, Store, stamp

CLAIMS = f"{HOME}/claims"
NODE_VARIABLE = "LANEWISE_NODE"
_SUFFIX = ".claim"
_BEAT_S = 20.0
# No claim is written in the first two seconds; later writes are at least this far apart.
_PAUSE_S = 2.0
# A claim is dead after this many missed intervals.
_MISSED = 3.5
# At exit, wait this long for the thread.
_JOIN_S = 1.0


@dataclass(frozen=True)
class Claimed:
    """A claim as read from storage.

    Attributes:
        chunk: index of the chunk at the last write; None between two chunks.
        beat_s: interval between writes [s].
        done, total: finished and total steps of the chunk.
        age_s: time since the last write, by the store's clock [s].
    """

    chunk: int | None
    node: str
    pid: int
    began: str
    beat_s: float
    done: int
    total: int
    age_s: float

    @property
    def alive(self) -> bool:
        """Whether its process may still be running."""
        return self.age_s <= _MISSED * self.beat_s


class Claim(Silent):
    """The claim of this process; it records the progress and forwards it to another reporter.

    Args:
        progress: reporter to forward to.
        beat_s: interval between writes [s].
        pause_s: time before the first write, and shortest time between two writes [s].
    """

    def __init__(self, store: Store, progress: Reporter, *, beat_s: float = _BEAT_S, pause_s: float = _PAUSE_S) -> None:
        self._store, self._progress = store, progress
        self._beat_s, self._pause_s = beat_s, pause_s
        self._path = f"{CLAIMS}/{stamp()}{_SUFFIX}"
        self._began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._chunk: int | None = None
        self._done = self._total = 0
        self._changed = threading.Condition()
        self._over = self._news = self._written = False
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lanewise-claim")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        # A store that does not answer must not delay the exit. A claim that is written late then counts as dead.
        self._thread.join(timeout=_JOIN_S)
        if isinstance(error, StorageError):
            return  # storage failed until the deadline; another call would wait as long again
        if self._written and not self._thread.is_alive():
            with contextlib.suppress(StorageError):
                self._store.remove(self._path)

    def take(self, chunk: Chunk | None) -> None:
        """Set the current chunk; None between two chunks."""
        with self._changed:
            self._chunk, self._done, self._total = (None if chunk is None else chunk.index), 0, 0
            self._news = True
            self._changed.notify()

    def begin(self, what: str, total: int) -> None:
        """Reset the step count and forward."""
        self._done, self._total = 0, total
        self._progress.begin(what, total)

    def step(self, done: int, note: str = "") -> None:
        """Record the step and forward."""
        self._done = done
        self._progress.step(done, note)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Forward."""
        self._progress.say(event, text, **fields)

    def _beat(self) -> None:
        written = time.monotonic()
        due = written + self._pause_s
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._news, timeout=max(0.0, due - time.monotonic()))
                if self._over:
                    return
                if self._news:
                    self._news = False
                    due = min(due, written + self._pause_s)
                    continue
                content = self._content()
            with contextlib.suppress(StorageError):
                self._store.put(self._path, content)
                self._written = True
            written = time.monotonic()
            due = written + self._beat_s

    def _content(self) -> bytes:
        content = {
            "chunk": self._chunk,
            "node": node(),
            "pid": os.getpid(),
            "began": self._began,
            "beat_s": self._beat_s,
            "done": self._done,
            "total": self._total,
        }
        return (json.dumps(content) + "\n").encode()


@contextlib.contextmanager
def held(store: Store, progress: Reporter) -> Iterator[Claim]:
    """The claim of this process: `progress` itself if it is a claim, else a new one."""
    if isinstance(progress, Claim):
        yield progress
        return
    with Claim(store, progress) as claim:
        yield claim


def node() -> str:
    """Node name from LANEWISE_NODE, or this machine's host name."""
    return os.environ.get(NODE_VARIABLE) or platform.node()


def survey(store: Store) -> list[Claimed]:
    """All claims; one that is removed during the listing is skipped."""
    return list(_read(store).values())


def lost(claimed: Iterable[Claimed], done: Container[int]) -> list[Claimed]:
    """Dead claims whose chunk is neither committed nor claimed by a live process.

    Args:
        done: indexes of committed chunks.
    """
    every = list(claimed)
    at_work = {claim.chunk for claim in every if claim.alive}
    return [c for c in every if not c.alive and c.chunk is not None and c.chunk not in at_work and c.chunk not in done]


def withdraw(store: Store, pid: int) -> None:
    """Remove the claim of a process on this node that ended without removing it."""
    for path, claim in _read(store).items():
        if (claim.node, claim.pid) == (node(), pid):
            store.remove(path)


def _read(store: Store) -> dict[str, Claimed]:
    paths = [f"{CLAIMS}/{name}" for name in store.names(CLAIMS) if name.endswith(_SUFFIX)]
    if not paths:
        return {}
    now = _now(store)

    def one(path: str) -> Claimed | None:
        with contextlib.suppress(ValueError, TypeError, KeyError, FileNotFoundError):
            return Claimed(**json.loads(store.read(path)), age_s=max(0.0, now - store.modified(path)))
        return None

    found = zip(paths, store.map(one, paths), strict=True)
    return {path: claim for path, claim in found if claim is not None}


def _now(store: Store) -> float:
    """Time by the store's clock; by our clock if this user may not write."""
    try:
        return store.now()
    except StorageError:
        return time.time()

"""Claims: which processes are at work on a campaign, on which chunk, and that they still are.

Each process keeps one small object, written again every few seconds by a thread, so that `status` can tell a chunk
that is computed from one whose process is gone. Nothing depends on it: two processes may claim one chunk, and a claim
that cannot be written is done without.
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
from typing import TYPE_CHECKING, Any, Self

from lanewise.errors import StorageError
from lanewise.machine.progress import Reporter, Silent
from lanewise.storage.store import HOME, Store, stamp

if TYPE_CHECKING:
    from types import TracebackType

    from lanewise.manifest.plan import Chunk

CLAIMS = f"{HOME}/claims"
NODE_VARIABLE = "LANEWISE_NODE"
_SUFFIX = ".claim"
_BEAT_S = 20.0
# A process that is done sooner leaves no trace, and no two writings follow each other faster.
_PAUSE_S = 2.0
# A heart that has missed so many beats has stopped.
_MISSED = 3.5
_LATE_S = 1.0


@dataclass(frozen=True)
class Claimed:
    """A claim as it stands in storage.

    Attributes:
        chunk: that the process was at when it last wrote; None between two.
        beat_s: seconds between two writings.
        done, total: steps of the chunk.
        age_s: since the last writing, by the store's clock.
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
        """Whether its process may still be at work."""
        return self.age_s <= _MISSED * self.beat_s


class Claim(Silent):
    """This process's claim while it computes; hears of its progress and passes it on.

    Args:
        progress: told what this is told.
        beat_s: between two writings.
        pause_s: before the first, and after one before a new chunk is told.
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
        # A store that does not answer must not hold up the end; what it writes late will look lost, and is.
        self._thread.join(timeout=_LATE_S)
        if isinstance(error, StorageError):
            return  # it was waited for until the deadline; another call would wait as long again
        if self._written and not self._thread.is_alive():
            with contextlib.suppress(StorageError):
                self._store.remove(self._path)

    def take(self, chunk: Chunk | None) -> None:
        """The process is at this chunk now."""
        with self._changed:
            self._chunk, self._done, self._total = (None if chunk is None else chunk.index), 0, 0
            self._news = True
            self._changed.notify()

    def begin(self, what: str, total: int) -> None:
        """Pass it on."""
        self._done, self._total = 0, total
        self._progress.begin(what, total)

    def step(self, done: int, note: str = "") -> None:
        """Pass it on."""
        self._done = done
        self._progress.step(done, note)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Pass it on."""
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
    """The claim of this process: the one that listens already, or a new one."""
    if isinstance(progress, Claim):
        yield progress
        return
    with Claim(store, progress) as claim:
        yield claim


def node() -> str:
    """What a cluster calls this machine, or its own name."""
    return os.environ.get(NODE_VARIABLE) or platform.node()


def survey(store: Store) -> list[Claimed]:
    """Every claim that is there; one that goes while it is read is passed over."""
    return list(_read(store).values())


def lost(claimed: Iterable[Claimed], done: Container[int]) -> list[Claimed]:
    """Claims whose process is gone, of chunks that no other process is at.

    Args:
        done: chunks that are committed.
    """
    every = list(claimed)
    at_work = {claim.chunk for claim in every if claim.alive}
    return [c for c in every if not c.alive and c.chunk is not None and c.chunk not in at_work and c.chunk not in done]


def withdraw(store: Store, pid: int) -> None:
    """Remove the claim of a process of this node that has ended without doing so."""
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
    """The store's clock; ours, for a reader who may not write."""
    try:
        return store.now()
    except StorageError:
        return time.time()

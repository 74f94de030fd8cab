"""Records of chunks that could not be committed; without results, only these records give the reason."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass

from lanewise.manifest.plan import Chunk
from lanewise.storage.store import HOME, Store, stamp

FAILURES = f"{HOME}/failures"


@dataclass(frozen=True)
class Failure:
    """Record of a chunk that could not be committed.

    Attributes:
        time: by the node's clock, UTC.
        node: name of the machine.
        cause: class of the error.
        message: text of the error.
    """

    chunk: int
    time: str
    node: str
    cause: str
    message: str


def record(store: Store, chunk: Chunk, node: str, error: Exception) -> None:
    """Record that a chunk could not be committed."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    failure = Failure(chunk.index, time=now, node=node, cause=type(error).__name__, message=str(error))
    path = f"{FAILURES}/{chunk.name}-{stamp()}.failure"
    store.put(path, (json.dumps(asdict(failure)) + "\n").encode())


def survey(store: Store) -> list[Failure]:
    """All failures, sorted by chunk and time, including those of chunks that were committed later."""

    def one(name: str) -> Failure | None:
        # A failure record is not a result: skip one that cannot be read.
        with contextlib.suppress(ValueError, TypeError, KeyError, FileNotFoundError):
            return Failure(**json.loads(store.read(f"{FAILURES}/{name}")))
        return None

    return [found for found in store.map(one, store.names(FAILURES)) if found is not None]

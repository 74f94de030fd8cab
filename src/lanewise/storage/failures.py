"""Word of chunks that could not be committed: what a record of results cannot tell."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from lanewise.storage.store import HOME, Store, stamp

if TYPE_CHECKING:
    from lanewise.manifest.plan import Chunk

FAILURES = f"{HOME}/failures"


@dataclass(frozen=True)
class Failure:
    """Word of a chunk that could not be committed.

    Attributes:
        time: when, by the clock of the node.
        node: where.
        cause: the error's class.
        message: what it said.
    """

    chunk: int
    time: str
    node: str
    cause: str
    message: str


def record(store: Store, chunk: Chunk, node: str, error: Exception) -> None:
    """Leave word of a chunk that could not be committed."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    failure = Failure(chunk.index, now, node, type(error).__name__, str(error))
    path = f"{FAILURES}/{chunk.name}-{stamp()}.failure"
    store.put(path, (json.dumps(asdict(failure)) + "\n").encode())


def survey(store: Store) -> list[Failure]:
    """Every failure, also of chunks that are committed by now; of each chunk the last one last."""

    def one(name: str) -> Failure | None:
        # Word of a failure is no result: one that cannot be read is passed over.
        with contextlib.suppress(ValueError, TypeError, KeyError, FileNotFoundError):
            return Failure(**json.loads(store.read(f"{FAILURES}/{name}")))
        return None

    return [found for found in store.map(one, store.names(FAILURES)) if found is not None]

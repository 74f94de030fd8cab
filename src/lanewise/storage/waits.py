"""Waits that several processes share, one after the other: the tries of one Kubernetes Job have one deadline in all."""

from __future__ import annotations

import contextlib
import os

from lanewise.errors import StorageError
from lanewise.storage.store import HOME, Store

WAITS = f"{HOME}/waits"
# The name of the wait; without it, every process waits on its own.
VARIABLE = "LANEWISE_WAIT"


def waited_s(store: Store) -> float:
    """How long processes with this process's LANEWISE_WAIT have waited, by the store's clock [s]; 0 for the first."""
    name = os.environ.get(VARIABLE)
    with contextlib.suppress(StorageError):  # one who may not write waits by his own clock
        if name:
            path = f"{WAITS}/{name}"
            if not store.exists(path):
                store.put(path, b"")
            return max(0.0, store.now() - store.modified(path))
    return 0.0

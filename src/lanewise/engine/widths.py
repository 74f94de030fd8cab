"""Cache of the width that fits into a device, found after a program ran out of memory.

One small file per device and program in the user's cache directory, so that a later run starts with the width that
worked. The files may be removed: the next run then tries the manifest's width again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from lanewise.errors import StorageError
from lanewise.machine import device, host
from lanewise.manifest import identity
from lanewise.storage.store import Store

# Settings that do not affect memory.
_IRRELEVANT = {"width", "convergence"}


def path(settings: Mapping[str, Any]) -> Path:
    """Cache file for this device and the program defined by a plan's settings."""
    program = {key: value for key, value in settings.items() if key not in _IRRELEVANT}
    folder = Path(platformdirs.user_cache_dir("lanewise")) / "widths"
    return folder / f"{identity.of({'device': _device(), 'program': program})[:16]}.json"


def find(settings: Mapping[str, Any]) -> int | None:
    """The cached width [lanes]; None if there is none or its file cannot be read."""
    try:
        width = int(json.loads(path(settings).read_text())["width"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return width if width >= 1 else None


def record(settings: Mapping[str, Any], width: int) -> None:
    """Store a width; if the cache cannot be written, the next run has to find the width again."""
    content = {**_device(), "width": width, "found": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    target = path(settings)
    try:
        Store(str(target.parent)).put(target.name, (json.dumps(content, indent=1) + "\n").encode())
    except StorageError:
        return


def _device() -> dict[str, Any]:
    """The device's kind and its memory [GiB]: partitions of one kind of GPU differ in memory."""
    import jax

    first = jax.devices()[0]
    total = device.device_bytes() or host.memory_bytes()
    return {"device": first.device_kind, "memory_gib": round(total / 2**30, 1)}

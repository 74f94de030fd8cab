"""How many lanes of a program a kind of device holds, where it was found out by running out of memory.

Kept in the user's cache directory, one small file for each device and program, so that a later run begins where this
one ended up. Each may be removed: the next run tries the manifest's width again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

from lanewise.errors import StorageError
from lanewise.manifest import identity
from lanewise.operations import doctor
from lanewise.storage.store import Store

# What of the settings changes nothing that lies in memory.
_IRRELEVANT = {"width", "convergence"}


def path(settings: Mapping[str, Any]) -> Path:
    """The file of this device and the program that the settings of a plan fix."""
    program = {key: value for key, value in settings.items() if key not in _IRRELEVANT}
    return _folder() / f"{identity.of({'device': _device(), 'program': program})[:16]}.json"


def find(settings: Mapping[str, Any]) -> int | None:
    """The width that was found; None if none was, or its file cannot be read."""
    try:
        width = int(json.loads(path(settings).read_text())["width"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return width if width >= 1 else None


def record(settings: Mapping[str, Any], width: int) -> None:
    """Keep a width; a cache that cannot be written costs the next run the same discovery, no more."""
    content = {**_device(), "width": width, "found": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    target = path(settings)
    try:
        Store(str(target.parent)).put(target.name, (json.dumps(content, indent=1) + "\n").encode())
    except StorageError:
        return


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("lanewise")) / "widths"


def _device() -> dict[str, Any]:
    """The device's kind, and its memory [GiB]: slices of one kind have different amounts."""
    import jax

    device = jax.devices()[0]
    total = device_bytes() or doctor.memory_bytes()
    return {"device": device.device_kind, "memory_gib": round(total / 2**30, 1)}


def device_bytes() -> int | None:
    """Memory of the device that JAX may use [bytes]; None where it has none of its own."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    return int(stats["bytes_limit"]) if "bytes_limit" in stats else None

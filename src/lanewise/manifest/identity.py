"""The identity of a realization: the SHA-256 of everything that determines its numbers.

Name, output, batch size, acceptance and resources are not part of it: they change no number.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Increase this number when a new version computes other numbers from the same manifest.
RESULTS_VERSION = 9


def of(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON-ready content, as hexadecimal text."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The differences of two `settings`, one sentence each."""
    for key in sorted({*old, *new}):
        here = f"{path}.{key}" if path else key
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, here)
        elif a != b:
            yield f"{here}: the results have {a}, this manifest has {b}"

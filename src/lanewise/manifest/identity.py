"""The identity of a realization: the SHA-256 of all that fixes its numbers.

Not in it, because they change no number: name, output, batch size, acceptance, resources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Raised whenever the numbers of a realization may change though its manifest does not.
RESULTS_VERSION = 3


def of(content: Mapping[str, Any]) -> str:
    """The identity that the content fixes."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Where two `settings` differ, one sentence each."""
    for key in sorted({*old, *new}):
        here = f"{path}.{key}" if path else key
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from differences(a, b, here)
        elif a != b:
            yield f"{here}: the results have {a}, this manifest has {b}"

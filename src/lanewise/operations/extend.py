"""`extend`: append a number to `realizations.extensions` in the manifest's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lanewise.errors import ManifestError, UsageError
from lanewise.manifest import editing, planning, registry, yaml_text
from lanewise.manifest.locations import split
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan
from lanewise.storage.record import Record
from lanewise.storage.store import Store

_KEY = "realizations"
_LIST = "extensions"


def extend(text: str, count: int, source: str) -> str:
    """The manifest's text with `count` more realizations per shear point.

    Raises:
        ManifestError: the text cannot be edited safely; the message says what to write.
    """
    numbers = [*_extensions(yaml_text.parse(text, source).value), count]
    return editing.with_key(text, source, _KEY, _LIST, numbers)


def write(record: Record, count: int) -> Plan:
    """Extend the manifest at its source; returns the new plan.

    Raises:
        UsageError: the campaign cannot be extended.
        ManifestError: the campaign would be too large; nothing is written.
        ResultsDiffer: the committed results are not of this manifest.
        StorageError: the manifest cannot be written.
    """
    family = registry.family(record.manifest.kind)
    if remedy := family.no_extension(record.manifest):
        raise UsageError(f"{record.manifest.source}: {remedy}")
    record.commits()
    source = record.manifest.source
    folder, name = split(source)
    store = Store(folder)
    text = extend(store.read(name).decode(), count, source)
    if complaints := family.check_extent(yaml_text.parse(text, source)):
        raise ManifestError(complaints)
    store.put(name, text.encode())
    asked = record.manifest.realizations
    extended = replace(asked, extensions=(*asked.extensions, count))
    return planning.build(replace(record.manifest, realizations=extended))


def is_extended(text: str, manifest: Manifest) -> bool:
    """Whether the text is this manifest, with or without further extensions."""
    kept = content_of(text)
    ours, theirs = _extensions(manifest.content), _extensions(kept)
    return without_extensions(kept) == without_extensions(manifest.content) and theirs[: len(ours)] == ours


def content_of(text: str) -> dict[str, Any]:
    """The content of a manifest's text; empty if it is none."""
    try:
        value = yaml_text.parse(text, "").value
    except ManifestError:
        return {}
    return value if isinstance(value, dict) and isinstance(value.get(_KEY, {}), dict) else {}


def without_extensions(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's content without its extensions."""
    return {**content, _KEY: {**(content.get(_KEY) or {}), _LIST: []}}


def _extensions(content: Mapping[str, Any]) -> list[int]:
    return list((content.get(_KEY) or {}).get(_LIST, []))

"""`extend`: append a number to `realizations.extensions` in the manifest's text.

The text is edited and not written anew, so that comments, order and spacing stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from lanewise.errors import ManifestError, UsageError
from lanewise.manifest import planning, registry, yaml_text
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
    before = yaml_text.parse(text, source)
    numbers = [*_extensions(before.value), count]
    edited = _edit(text, numbers)
    # A form of YAML that `_edit` does not handle must not change the campaign: compare the result with the aim.
    with contextlib.suppress(ManifestError):
        if edited and yaml_text.parse(edited, source).value == _with_extensions(before.value, numbers):
            return edited
    remedy = f"cannot be edited safely; write {_LIST}: {numbers} under {_KEY} yourself"
    raise ManifestError([before.complaint((_KEY,), remedy)])


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
    try:
        kept = yaml_text.parse(text, "").value
    except ManifestError:
        return False
    if not isinstance(kept, dict) or not isinstance(kept.get(_KEY, {}), dict):
        return False
    ours, theirs = _extensions(manifest.content), _extensions(kept)
    same = _with_extensions(kept, []) == _with_extensions(manifest.content, [])
    return same and theirs[: len(ours)] == ours


def _extensions(content: Mapping[str, Any]) -> list[int]:
    return list((content.get(_KEY) or {}).get(_LIST, []))


def _with_extensions(content: Mapping[str, Any], numbers: list[int]) -> dict[str, Any]:
    return {**content, _KEY: {**(content.get(_KEY) or {}), _LIST: numbers}}


def _edit(text: str, numbers: list[int]) -> str | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    value = f"{_LIST}: {numbers}"
    node = _value(root, _KEY)
    if node is None:
        return None if root.flow_style else f"{text.rstrip()}\n{_KEY}: {{{value}}}\n"
    if not isinstance(node, yaml.MappingNode):
        return None
    old = _value(node, _LIST)
    if old is not None:
        if not isinstance(old, yaml.SequenceNode) or not old.flow_style:
            return None
        return f"{text[: old.start_mark.index]}{numbers}{text[old.end_mark.index :]}"
    if node.flow_style:
        at = node.end_mark.index - 1
        return f"{text[:at].rstrip()}{', ' if node.value else ''}{value}{text[at:]}"
    # Insert after the line of the last value, which is a number.
    last = node.value[-1][1]
    at = text.find("\n", last.end_mark.index)
    at = len(text) if at < 0 else at
    return f"{text[:at]}\n{' ' * node.start_mark.column}{value}{text[at:]}"


def _value(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in mapping.value if key.value == name), None)

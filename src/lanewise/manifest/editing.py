"""Edit one key of a manifest's text, and not write it anew, so that comments, order and spacing stay."""

from __future__ import annotations

import contextlib
from typing import Any

import yaml

from lanewise.errors import ManifestError
from lanewise.manifest import yaml_text


def with_key(text: str, source: str, section: str, key: str, value: Any) -> str:
    """The text with `section.key` set to a value.

    Raises:
        ManifestError: the text cannot be edited safely; the message says what to write.
    """
    before = yaml_text.parse(text, source)
    aim = {**before.value, section: {**(before.value.get(section) or {}), key: value}}
    written = f"{key}: {yaml_text.flow(value)}"
    edited = _edit(text, section, key, yaml_text.flow(value))
    # A form of YAML that `_edit` does not handle must not change the campaign: compare the result with the aim.
    with contextlib.suppress(ManifestError):
        if edited and yaml_text.parse(edited, source).value == aim:
            return edited
    remedy = f"cannot be edited safely; write {written} under {section} yourself"
    raise ManifestError([before.complaint((section,), remedy)])


def _edit(text: str, section: str, key: str, value: str) -> str | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    node = _value(root, section)
    if node is None:
        return None if root.flow_style else f"{text.rstrip()}\n{section}: {{{key}: {value}}}\n"
    if not isinstance(node, yaml.MappingNode):
        return None
    old = _value(node, key)
    if old is not None:
        if isinstance(old, yaml.CollectionNode) and not old.flow_style:
            return None
        return f"{text[: old.start_mark.index]}{value}{text[old.end_mark.index :]}"
    if node.flow_style:
        at = node.end_mark.index - 1
        return f"{text[:at].rstrip()}{', ' if node.value else ''}{key}: {value}{text[at:]}"
    # Insert after the line of the last value.
    last = node.value[-1][1]
    at = text.find("\n", last.end_mark.index)
    at = len(text) if at < 0 else at
    return f"{text[:at]}\n{' ' * node.start_mark.column}{key}: {value}{text[at:]}"


def _value(mapping: yaml.MappingNode, name: str) -> yaml.Node | None:
    return next((value for key, value in mapping.value if key.value == name), None)

"""Dataclasses from mappings that a schema has accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any], **more: Any) -> T:
    """The dataclass of a mapping that its schema has accepted; a list of integers becomes a tuple.

    A number takes the type of its field: YAML and JSON do not distinguish `1` from `1.0`, and identities must not.
    """
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: _convert(types[key], value) for key, value in values.items()}, **more)


def _convert(declared: Any, value: Any) -> Any:
    if str(declared) == "tuple[int, ...]":
        return tuple(int(number) for number in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    named = str(declared).split(" | ")
    return float(value) if "float" in named else int(value) if "int" in named else value

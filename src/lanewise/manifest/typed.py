"""Checked mappings as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any], **more: Any) -> T:
    """The dataclass of a mapping that its schema has accepted.

    A number takes the type of its field: `1` and `1.0` are one value in YAML and JSON, and must be one identity.
    """
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: _convert(types[key], value) for key, value in values.items()}, **more)


def _convert(declared: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    named = str(declared).split(" | ")
    return float(value) if "float" in named else int(value) if "int" in named else value

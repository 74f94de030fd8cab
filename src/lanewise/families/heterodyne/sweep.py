"""A sweep: the same fit repeated with other values of some config keys, once per point."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lanewise.manifest import document
from lanewise.manifest.document import Path

Point = Mapping[str, Any]  # dotted config path → value


def check(value: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Errors of a sweep that the schema cannot express: the place below `sweep`, and the complaint."""
    if len(value) != 1:
        got = " and ".join(value) or "none"
        yield (), f"expected one of 'grid' (all combinations), 'zip' (side by side) or 'list' (points), got {got}"
        return
    kind, content = next(iter(value.items()))
    for key in {key for point in (content if kind == "list" else [content]) for key in point}:
        if not isinstance(key, str):
            yield (kind,), f"expected keys such as data.start_frame, got {key}"
    if kind == "zip" and len({len(values) for values in content.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(values)}" for key, values in content.items())
        yield ("zip",), f"expected as many values for every key, {lengths}"
    if kind == "list":
        keys = set(content[0])
        for at, point in enumerate(content):
            if set(point) != keys:
                yield ("list", at), f"expected the keys of the first point, {', '.join(content[0])}"


def points(value: Mapping[str, Any] | None) -> tuple[Point, ...]:
    """The points of a checked sweep, in order; in a grid the last key varies fastest.

    Without a sweep: one point that changes nothing.
    """
    if value is None:
        return ({},)
    kind, content = next(iter(value.items()))
    if kind == "list":
        return tuple(dict(point) for point in content)
    rows = itertools.product(*content.values()) if kind == "grid" else zip(*content.values(), strict=True)
    return tuple(dict(zip(content, row, strict=True)) for row in rows)


def applied(config: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """The config with the values of a point; it is not checked yet."""
    value: dict[str, Any] = dict(config)
    for path, leaf in point.items():
        value = document.put(value, tuple(path.split(".")), leaf)
    return value


def labels(chosen: Sequence[Point]) -> list[str]:
    """A readable name for each point, unique within the sweep: `start_frame_100`; empty without a sweep."""
    short = [key.rsplit(".", 1)[-1] for key in chosen[0]]
    keys = short if len(set(short)) == len(short) else [key.replace(".", "_") for key in chosen[0]]
    found = [
        "_".join(f"{key}_{_text(value, at)}" for key, value in zip(keys, point.values(), strict=True))
        for at, point in enumerate(chosen)
    ]
    # Different values may give the same text, because a file name cannot contain every character.
    return [text if found.count(text) == 1 else f"{text}_{at + 1}" for at, text in enumerate(found)]


def plain(text: str) -> str:
    """The text as part of a file name that every system accepts: other characters become `-`."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text)


def _text(value: Any, at: int) -> str:
    if isinstance(value, list | dict):
        return str(at + 1)
    return plain(value if isinstance(value, str) else json.dumps(value))

"""Paths and URLs as users write them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a path or URL, the folder as `Store` takes it."""
    folder, slash, name = path.rpartition("/")
    return folder or slash or ".", name


def beside(file: str, path: str) -> str:
    """A path that is written in a file; a relative path starts at that file's folder."""
    if "://" in path or os.path.isabs(path):
        return path
    return f"{split(file)[0].rstrip('/')}/{path}"


def relocated(value: Any, places: Mapping[str, str]) -> Any:
    """A resolved value with other paths of files that are pinned by their SHA-256; `places`: old path → new path."""
    if isinstance(value, list):
        return [relocated(part, places) for part in value]
    if not isinstance(value, Mapping):
        return value
    moved = {key: relocated(part, places) for key, part in value.items()}
    if {"path", "sha256"} <= value.keys():
        moved["path"] = places.get(value["path"], value["path"])
    return moved


def pinned(value: Any) -> Iterator[str]:
    """The path of every file in a resolved value, e.g. of a manifest, that is pinned by its SHA-256."""
    if isinstance(value, list):
        for part in value:
            yield from pinned(part)
    elif isinstance(value, Mapping):
        if {"path", "sha256"} <= value.keys():
            yield value["path"]
        for part in value.values():
            yield from pinned(part)

"""Paths and URLs as users write them."""

from __future__ import annotations

import os


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a path or URL, the folder as `Store` takes it."""
    folder, slash, name = path.rpartition("/")
    return folder or slash or ".", name


def beside(file: str, path: str) -> str:
    """A path that is written in a file; a relative path starts at that file's folder."""
    if "://" in path or os.path.isabs(path):
        return path
    return f"{split(file)[0].rstrip('/')}/{path}"

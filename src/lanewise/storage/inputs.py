"""Data files that a manifest names: which they are, and their SHA-256, so that results follow what is in them."""

from __future__ import annotations

import hashlib
import os.path
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lanewise.errors import Complaint, DataError, InputUnreachable, ManifestError, StorageError
from lanewise.manifest.document import Document, Path
from lanewise.manifest.locations import beside, split
from lanewise.storage.store import Store

_PATTERN = frozenset("*?[")
# The SHA-256 of a file at a path with these bytes, and of what else is read because of it.
Digest = Callable[[str, bytes], str]


@dataclass(frozen=True)
class Input:
    """One data file.

    Attributes:
        path: where it is: absolute, or a URL.
        sha256: of the whole file, when the campaign was planned or as the manifest pins it.
    """

    path: str
    sha256: str

    @property
    def filename(self) -> str:
        """Its name without folders, as published files carry it."""
        return split(self.path)[1]

    @property
    def stem(self) -> str:
        """Its name without folders and suffix."""
        return os.path.splitext(self.filename)[0]


def plain(path: str, raw: bytes) -> str:
    """The SHA-256 of a file from which nothing leads to another one."""
    return hashlib.sha256(raw).hexdigest()


def local(path: str) -> str | None:
    """A file's path on this machine; None if it is in remote storage or in memory."""
    folder, name = split(path)
    return Store(folder).local(name)


def parse(value: Any) -> tuple[Input, ...]:
    """The inputs of a resolved manifest."""
    return tuple(Input(one["path"], one["sha256"]) for one in value)


def resolve(manifest: Document, place: Path, digest: Digest = plain) -> list[dict[str, Any]]:
    """Every file that the value at `place` names, with its SHA-256; one that the manifest pins is not read.

    Args:
        place: of a path, a pattern, a mapping of `path` and `sha256`, or a list of these.
        digest: SHA-256 of a file.

    Raises:
        ManifestError: a file or a match is missing (`unreachable`), or a file is named twice.
        StorageError: storage cannot be reached.
    """
    found: dict[str, dict[str, Any]] = {}
    complaints: list[Complaint] = []
    for here, path, pinned in _named(manifest.at(place), place):
        try:
            matches = _matches(beside(manifest.source, path))
            for one in matches:
                if one in found:
                    raise _Wrong(f"{one} is named a second time; name each file once")
                found[one] = {"path": one, **(pinned or {"sha256": _sha256(one, digest)})}
        except _Wrong as error:
            complaints.append(manifest.complaint(here, str(error), unreachable=isinstance(error, _Absent)))
    if complaints:
        raise ManifestError(complaints)
    return list(found.values())


def pin(path: str, digest: Digest = plain) -> Input:
    """A file of this machine or at a URL, outside a manifest.

    Raises:
        DataError: there is none.
    """
    where = path if "://" in path else os.path.abspath(path)
    try:
        return Input(where, _sha256(where, digest))
    except _Wrong as error:
        raise DataError(str(error)) from None


def pinned(value: str | Mapping[str, Any]) -> Input:
    """A file that a config names: pinned where a manifest was resolved, else here.

    Raises:
        DataError: there is none.
    """
    return pin(value) if isinstance(value, str) else Input(value["path"], value["sha256"])


def pinned_array(value: str | Mapping[str, Any]) -> tuple[Input, str]:
    """As `pinned`, and the name of an array in the file: behind `#`, or a key of its own; empty for none.

    Raises:
        DataError: there is no such file.
    """
    if isinstance(value, str):
        path, _, name = value.partition("#")
        return pinned(path), name
    return pinned(value), value.get("name", "")


def without_folders(value: Any) -> Any:
    """A resolved value in which the path of every pinned file is its name, as published files carry it."""
    if isinstance(value, list):
        return [without_folders(part) for part in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: without_folders(part) for key, part in value.items()}
    return {**found, "path": split(value["path"])[1]} if {"path", "sha256"} <= value.keys() else found


def read(one: Input, digest: Digest = plain) -> bytes:
    """The content of a pinned file.

    Raises:
        DataError: the file has changed.
        InputUnreachable: the file is not there, or storage cannot be reached.
    """
    folder, name = split(one.path)
    try:
        raw = Store(folder).read(name)
    except FileNotFoundError:
        remedy = "check the path and its mount, and run again"
        raise InputUnreachable(f"{one.path}: is not there, as seen from {platform.node()}; {remedy}") from None
    except StorageError as error:
        raise InputUnreachable(str(error)) from error
    if (now := digest(one.path, raw)) != one.sha256:
        known = f"{one.sha256[:12]}…"
        raise DataError(f"{one.path}: has changed: SHA-256 {now[:12]}…, the campaign was planned on {known}")
    return raw


class _Wrong(Exception):
    """An entry of `inputs` that names no file, or one that is named already."""


class _Absent(_Wrong):
    """A file or a match that is not there."""


def _named(value: Any, place: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Where each entry stands, its path or pattern, and what it pins of the file."""
    for at, entry in enumerate(value if isinstance(value, list) else [value]):
        here: Path = (*place, at) if isinstance(value, list) else place
        if isinstance(entry, Mapping):
            yield here, entry["path"], {key: part for key, part in entry.items() if key != "path"}
        else:
            yield here, entry, {}


def _matches(path: str) -> list[str]:
    """The file, or those that match the pattern, in the order of their names."""
    if not _PATTERN & set(path) or os.path.exists(path):
        return [path if "://" in path else os.path.abspath(path)]
    start = min(path.index(sign) for sign in _PATTERN & set(path))
    before, slash, _ = path[:start].rpartition("/")
    names = Store(before or slash or ".").matching(path[len(before + slash) :])
    if not names:
        raise _Absent(f"{path}: no file matches; check the pattern")
    return names


def _sha256(path: str, digest: Digest) -> str:
    folder, name = split(path)
    try:
        return digest(path, Store(folder).read(name))
    except FileNotFoundError:
        raise _Absent(f"{path}: no such file; check the path") from None
    except StorageError:
        if os.path.isdir(path):
            raise _Wrong(f"{path}: is a directory; name its files, e.g. {path.rstrip('/')}/*.h5") from None
        raise

"""An opened data file, HDF5 or NPZ: links are followed as HDF5 follows them, and damage is told in a sentence."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import h5py
import numpy as np

# More links than this on the way to one object are a circle.
_LONGEST_WAY = 64
# With it, HDF5 looks for the sources of a virtual dataset somewhere else than beside the file.
_PREFIX = "HDF5_VDS_PREFIX"
_HDF5_MAGIC, _ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


class Unreadable(Exception):
    """The file does not contain what was requested; the text follows "<file>: ", e.g. "has no c2"."""


class _Place(NamedTuple):
    """An opened HDF5 file and its folder; None if it was not opened from a disk."""

    file: h5py.File
    folder: str | None


class Archive:
    """The arrays, attributes and groups of an opened file.

    Args:
        root: the arrays of an NPZ by name, or the HDF5 file and its folder.
        stack: closes the files that are opened because of links.
    """

    def __init__(self, root: Mapping[str, np.ndarray] | _Place, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._opened: dict[str, _Place] = {}
        self._read: dict[str, None] = {}

    @property
    def sources(self) -> tuple[str, ...]:
        """Paths of the linked files that something was read from so far."""
        return tuple(self._read)

    def has(self, key: str) -> bool:
        """Whether there is an array or a group at the key."""
        return self._find(key) is not None

    def is_group(self, key: str) -> bool:
        """Whether there is a group at the key."""
        return isinstance(self._find(key), h5py.Group)

    def names(self, key: str) -> list[str]:
        """Names of the members of a group, in the order of their numbers: c2_2 before c2_10; empty without a group."""
        if not isinstance(self._root, _Place):
            return sorted(self._root, key=_natural) if not key else []
        group = self._find(key, reading=True)
        with _told(key):
            return sorted(group, key=_natural) if isinstance(group, h5py.Group) else []

    def arrays(self, key: str) -> list[str]:
        """Keys of the arrays directly in a group, in the order of `names`."""
        return [one for one in (f"{key}/{name}" for name in self.names(key)) if not self.is_group(one)]

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of an array of real numbers.

        Raises:
            Unreadable: there is none at the key.
        """
        return tuple(self._array(key).shape)

    def read(self, key: str, where: Any = ()) -> np.ndarray:
        """A part of an array of real numbers, by default all of it, in float64.

        Raises:
            Unreadable: there is none at the key, or it cannot be read.
        """
        array = self._array(key)
        with _told(key):
            return np.asarray(array[where], dtype=np.float64)

    def words(self, key: str) -> list[str]:
        """The text of an array of strings; empty if there is none."""
        found = self._find(key, reading=True)
        with _told(key):
            if found is None or isinstance(found, h5py.Group) or found.shape is None:
                return []
            return [_text(one) for one in np.ravel(np.asarray(found[()], dtype=object))]

    def attributes(self, key: str) -> dict[str, Any]:
        """Attributes of an array or a group; text is decoded."""
        found = self._find(key, reading=True)
        with _told(key):
            return {name: _plain(value) for name, value in getattr(found, "attrs", {}).items()}

    def visit(self) -> None:
        """Open every file that links of this one lead to; those that are missing are passed over."""
        if isinstance(self._root, _Place):
            with _told("/"):
                groups: list[str] = []
                self._root.file.visit(lambda name: groups.append(name) if self.is_group(name) else None)
                for group in ["", *groups]:
                    for name in self.names(group):
                        with contextlib.suppress(Unreadable):
                            self._find(f"{group}/{name}", reading=True)

    def _array(self, key: str) -> Any:
        found = self._find(key, reading=True)
        if found is None:
            raise Unreadable(f"has no {key}, which its layout needs")
        with _told(key):
            if isinstance(found, h5py.Group) or found.dtype.kind not in "fiu" or found.shape is None:
                raise Unreadable(f"has no array of real numbers at {key}")
        return found

    def _find(self, key: str, reading: bool = False) -> Any:
        """The object at a key, or None. If it is to be read, the files on the way to it count as sources."""
        if not isinstance(self._root, _Place):
            return self._root.get(key)
        way: list[str] = []
        with _told(key):
            found, _ = self._walk(self._root, key, key, _LONGEST_WAY, way)
        if reading:
            self._read |= dict.fromkeys(way)
        return found

    def _walk(self, place: _Place, path: str, key: str, left: int, way: list[str]) -> tuple[Any, _Place]:
        """The object at a path of a file, or None, and its file. HDF5 would also look in the working directory.

        Args:
            key: what was asked for, for messages.
            left: number of links that may still be followed.
            way: paths of the files on the way are added to it.
        """
        here: Any = place.file["/"]
        parts = _parts(path)
        while parts:
            link = here.get(parts[0], getlink=True) if isinstance(here, h5py.Group) else None
            if link is None:
                return None, place
            if left == 0:
                raise Unreadable(f"links {key} in a circle")
            if isinstance(link, h5py.ExternalLink):
                source = self._source(place, link.filename, key, way)
                here, place = self._walk(source, link.path, key, left - 1, way)
                if here is None:
                    raise Unreadable(f"takes {key} from {link.path} of {link.filename}, which has no such object")
                parts = parts[1:]
            elif isinstance(link, h5py.SoftLink):
                here = place.file["/"] if link.path.startswith("/") else here
                parts = [*_parts(link.path), *parts[1:]]
                left -= 1
            else:
                here, parts = here[parts[0]], parts[1:]
        return self._complete(here, place, key, left, way), place

    def _complete(self, found: Any, place: _Place, key: str, left: int, way: list[str]) -> Any:
        """The object, if nothing of its content is missing: HDF5 gives zeros for a source that is not there."""
        if not isinstance(found, h5py.Dataset):
            return found
        if found.external:
            raise Unreadable(
                f"keeps {key} in another file, {found.external[0][0]}, without HDF5; copy it into this one"
            )
        for source in found.virtual_sources() if found.is_virtual else ():
            if "%" in source.file_name:
                raise Unreadable(f"assembles {key} from files by the pattern {source.file_name}; name them one by one")
            if source.file_name != "." and os.environ.get(_PREFIX):
                raise Unreadable(f"takes {key} from {source.file_name}, where {_PREFIX} says; unset it")
            if source.file_name != ".":
                other = self._source(place, source.file_name, key, way)
                if left == 0 or self._walk(other, source.dset_name, key, left - 1, way)[0] is None:
                    raise Unreadable(
                        f"takes {key} from {source.dset_name} of {source.file_name}, which has no such object"
                    )
        return found

    def _source(self, place: _Place, name: str, key: str, way: list[str]) -> _Place:
        """A linked file: as HDF5 has it, beside the file with the link, or at its absolute path."""
        if place.folder is None:
            raise Unreadable(
                f"takes {key} from another file, {name}: links are followed on a disk only; copy both files there, "
                "or the data into one file"
            )
        choices = [os.path.join(place.folder, name)]
        if os.path.isabs(name):
            choices.append(os.path.join(place.folder, os.path.basename(name)))
        path = next((os.path.realpath(one) for one in choices if os.path.isfile(one)), None)
        if path is None:
            raise Unreadable(f"takes {key} from another file, {name}, which is missing: no file {' or '.join(choices)}")
        if path not in self._opened:
            file = self._stack.enter_context(h5py.File(path, "r", locking=False))
            self._opened[path] = _Place(file, os.path.dirname(path))
        way.append(path)
        return self._opened[path]


@contextlib.contextmanager
def opened(raw: bytes, path: str | None) -> Iterator[Archive]:
    """The opened HDF5 or NPZ file; its first bytes say which.

    Args:
        raw: the content of the file.
        path: the file on this machine, for its links; None if it is somewhere else.

    Raises:
        Unreadable: it is neither, or damaged.
    """
    with ExitStack() as stack:
        if raw.startswith(_HDF5_MAGIC):
            try:
                file = stack.enter_context(
                    h5py.File(path or io.BytesIO(raw), "r", **({"locking": False} if path else {}))
                )
            except (OSError, RuntimeError, ValueError) as error:
                raise Unreadable(f"is a damaged HDF5 file: {_first_line(error)}") from None
            yield Archive(_Place(file, os.path.dirname(os.path.realpath(path)) if path else None), stack)
        elif raw.startswith(_ZIP_MAGIC):
            yield Archive(_npz(raw), stack)
        else:
            raise Unreadable("is neither an HDF5 nor an NPZ file")


def digest(raw: bytes, sources: tuple[str, ...]) -> str:
    """SHA-256 of a file; if others were read through its links, of the list of the SHA-256 of all."""
    own = hashlib.sha256(raw).hexdigest()
    if not sources:
        return own
    others = []
    for path in sources:
        with open(path, "rb") as stream:
            others.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256("\n".join([own, *sorted(others)]).encode()).hexdigest()


def _npz(raw: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError, zipfile.BadZipFile) as error:
        raise Unreadable(f"is a damaged NPZ file: {_first_line(error)}") from None


@contextlib.contextmanager
def _told(key: str) -> Iterator[None]:
    """Errors of the HDF5 library as a sentence."""
    try:
        yield
    except MemoryError:
        raise Unreadable(f"has more at {key} than fits into memory") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        text = _first_line(error)
        if "filter" in text or "plugin" in text:
            text += "; its compression is unknown here: rewrite the file with h5repack -f GZIP=4"
        raise Unreadable(f"is damaged at {key}: {text}") from None


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _natural(key: str) -> tuple[str, int, str]:
    stem = key.rstrip("0123456789")
    return stem, int(key[len(stem) :] or -1), key


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """An attribute: the one element of an array, and text for bytes."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return _text(value) if isinstance(value, bytes | str) else value


def _first_line(error: Exception) -> str:
    return (str(error.args[0] if error.args else "") or type(error).__name__).splitlines()[0]

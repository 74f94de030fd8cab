"""The door to storage: everything lanewise writes goes through fsspec here, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lanewise.errors import ConditionsUnsupported, LanewiseError, StorageError
from lanewise.storage import cloud_errors, deadlines
from lanewise.storage.deadlines import Patience

T = TypeVar("T")
Item = TypeVar("Item")

# Everything of ours below an output URL.
HOME = "_lanewise"
PROBES = f"{HOME}/probes"
# The beginning of a temporary file's name; what a killed process leaves behind is told by it.
TEMPORARY = ".lanewise-"
_SIDE_BY_SIDE = 16
_TRIES = 20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# user:password@; not a port, nor an ARN of S3. What follows the first colon may hold slashes.
_PASSWORD = re.compile(r"://(?!arn:)[^/:@]*:(?!\d+(?:/|$)).*@")
_REMEDIES = {
    errno.ENOSPC: "make room and run again; what is committed stays",
    errno.EDQUOT: "make room and run again; what is committed stays",
    errno.EROFS: "choose an output.url that can be written",
    errno.EACCES: "choose an output.url that this user may write",
}


class Store:
    """Files below one URL.

    Paths are relative to it, with forward slashes. An object is replaced in one step: no reader sees half of one.
    Every call to a remote store has a deadline and is tried again; listings are never taken from a cache.

    Args:
        url: local path or fsspec URL; credentials come from the environment, a profile or a role.
        wait: default: what LANEWISE_STORAGE_DEADLINE says, else five minutes.

    Raises:
        StorageError: the URL's scheme is unknown, its package is not installed, or it carries a password.
    """

    def __init__(self, url: str, wait: Patience | None = None) -> None:
        self.url = url.rstrip("/")
        if _PASSWORD.search(self.url):
            # Not shown: it would end in a log.
            raise StorageError("the URL carries a password; leave it to the environment, a profile or a role")
        self._patience = wait or deadlines.from_environment()
        try:
            # The root directory is the one path that ends in a slash.
            self._fs, self._root = fsspec.core.url_to_fs(self.url or url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{url}: cannot be opened: {error}") from None
        self._root = self._root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    @property
    def free_bytes(self) -> int | None:
        """Room on a local disk; None elsewhere, or where it cannot be told."""
        if not self._local:
            return None
        place = Path(self._root or "/")
        with contextlib.suppress(OSError):
            return shutil.disk_usage(next(found for found in (place, *place.parents) if found.exists())).free
        return None

    def read(self, path: str) -> bytes:
        """The bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        data: bytes = self._call(path, lambda: self._fs.cat_file(self._full(path)))
        return data

    def put(self, path: str, data: bytes) -> None:
        """Write or replace an object."""
        with self._writing(path):
            self._call(path, lambda: self._put(path, data), len(data))

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists already.

        Returns:
            Whether this call wrote it. False may also be the answer to our own second try, after the answer to the
            first was lost: read the object back to know the winner. A store that ignores conditions says True to all.

        Raises:
            ConditionsUnsupported: the store says that it has no conditional write.
        """
        with self._writing(path):
            try:
                self._call(path, lambda: self._create(path, data), len(data))
            except FileExistsError:
                return False
            return True

    def exists(self, path: str) -> bool:
        """Whether an object is there now."""
        # Not fsspec's exists: of a directory that may not be read, it says that nothing is there.
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        return self._call(path, lambda: int(self._fresh().info(self._full(path))["size"]))

    def names(self, path: str) -> list[str]:
        """Names directly below a path, sorted; empty where there is nothing."""
        return sorted(name for name, _ in self._list(path))

    def sizes(self, path: str) -> dict[str, int]:
        """Bytes of the objects directly below a path, by name."""
        return dict(self._list(path))

    def remove(self, path: str) -> None:
        """Remove an object or all below a path; nothing there is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._call(path, lambda: self._remove(path))

    def modified(self, path: str) -> float:
        """When an object was written, by the store's own clock [s since 1970]; infinity if there is none."""
        try:
            return self._call(path, lambda: float(self._fresh().modified(self._full(path)).timestamp()))
        except FileNotFoundError:
            return math.inf

    def now(self) -> float:
        """The time by the store's own clock, to hold against `modified`: clocks of machines may differ by hours."""
        path = f"{PROBES}/{stamp()}"
        self.put(path, b"")
        written = self.modified(path)
        self.remove(path)
        return written

    def leftovers(self) -> list[str]:
        """Temporary files, of processes that write now or were killed; only a local store has them."""
        found = Path(self._root).rglob(f"{TEMPORARY}*") if self._local else ()
        return sorted(str(p.relative_to(self._root)) for p in found)

    def where(self, path: str = "") -> str:
        """The path as a user would name it."""
        return f"{self.url}/{path}" if path else self.url

    def map(self, function: Callable[[Item], T], items: Iterable[Item]) -> list[T]:
        """The function of each item, in order; side by side where each waits for a network."""
        if self._local:
            return [function(item) for item in items]
        return deadlines.side_by_side(function, items, _SIDE_BY_SIDE)

    @cached_property
    def conditional(self) -> bool:
        """Whether the store keeps an object that `create` finds, as it says; found out by trying."""
        path = f"{PROBES}/{stamp()}"
        try:
            self.create(path, b"first")
            answer = not self.create(path, b"second")
        except ConditionsUnsupported:
            answer = False
        # Not after an error: a store that gave no answer until the deadline would be waited for once more.
        self.remove(path)
        return answer

    def _call(self, path: str, function: Callable[[], T], size: int = 0) -> T:
        """The function's value; what it raises is told in our words, but for absence and presence."""
        try:
            if self._local:
                return function()
            return self._patience.call(lambda: cloud_errors.plain(function), self.where(path), size, self._renew)
        except (FileNotFoundError, FileExistsError, LanewiseError):
            raise
        except PermissionError as error:
            remedy = _REMEDIES.get(error.errno or 0, "check the credentials: environment, profile or role")
            raise StorageError(f"{self.where(path)}: refused: {error.strerror or error}; {remedy}") from error
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "")
            text = f"{error.strerror or error}{'; ' if remedy else ''}{remedy}"
            raise StorageError(f"{self.where(path)}: {text}") from error
        except Exception as error:  # the border to clients of storage, each with errors of its own
            raise StorageError(
                f"{self.where(path)}: {type(error).__name__}: {cloud_errors.first_line(error)}"
            ) from error

    def _renew(self) -> None:
        """Go on with a new client: tries that were given up may hold all connections of the old one."""
        self._fs, _ = fsspec.core.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True)

    def _fresh(self) -> fsspec.AbstractFileSystem:
        self._fs.invalidate_cache()
        return self._fs

    def _list(self, path: str) -> list[tuple[str, int]]:
        def listing() -> list[tuple[str, int]]:
            try:
                found = self._fresh().ls(self._full(path), detail=True)
            except FileNotFoundError:
                return []
            return [(one["name"].rstrip("/").rsplit("/", 1)[-1], int(one["size"] or 0)) for one in found]

        return self._call(path, listing)

    def _remove(self, path: str) -> None:
        def remove() -> None:
            self._fresh().rm(self._full(path), recursive=True)

        if not self._local:
            remove()
        elif os.path.lexists(self._full(path)):
            _beside_others(remove)

    def _put(self, path: str, data: bytes) -> None:
        if self._local:

            def put() -> None:
                with self._temporary(path, data) as name:
                    os.replace(name, self._full(path))

            _beside_others(put)
        else:
            self._fs.pipe_file(self._full(path), data)

    def _create(self, path: str, data: bytes) -> None:
        """Raises FileExistsError."""
        try:
            if self._local:
                with self._temporary(path, data) as name:
                    _link(name, self._full(path))
            else:
                self._fs.pipe_file(self._full(path), data, mode="create")
        except OSError as error:
            # s3fs raises EINVAL for 412 Precondition Failed in some versions.
            if error.errno == errno.EINVAL and self._fresh().exists(self._full(path)):
                raise FileExistsError(errno.EEXIST, "exists", path) from None
            if error.errno == errno.ENOSYS:
                raise ConditionsUnsupported(f"{self.where(path)}: has no conditional write") from error
            raise

    @contextlib.contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StorageError(f"{self.where(path)}: cannot be written: {error}; create the bucket first") from error

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes) -> Iterator[str]:
        """A fsynced file in the target's own directory, gone afterwards; then the directory is fsynced."""
        target = Path(self._full(path))
        _make(target.parent)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp gives 0600; results are for whoever the umask lets in.
            os.chmod(name, 0o666 & ~_umask())
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        _sync(target.parent)


def split(path: str) -> tuple[str, str]:
    """The folder and the name of a path or URL, the folder as `Store` takes it."""
    folder, slash, name = path.rpartition("/")
    return folder or slash or ".", name


def beside(file: str, path: str) -> str:
    """A path that stands in a file: relative ones are relative to that file's folder."""
    if "://" in path or os.path.isabs(path):
        return path
    return f"{split(file)[0].rstrip('/')}/{path}"


def stamp() -> str:
    """A name that is never given twice; later ones of one machine sort after earlier ones."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def is_stamp(name: str) -> bool:
    """Whether `stamp` may have given the name."""
    return re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{8}", name) is not None


@cache
def _umask() -> int:
    """Of this process; asked once, since asking sets it for a moment, for all threads."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _beside_others(function: Callable[[], None]) -> None:
    """Again, where another process removes or fills the directory meanwhile, as two that overwrite one chunk do."""
    for left in reversed(range(_TRIES)):
        try:
            return function()
        except OSError as error:
            if not left or error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise


def _link(name: str, target: str) -> None:
    try:
        os.link(name, target)
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise ConditionsUnsupported(f"{target}: this file system has no hard links") from error
        raise


def _make(directory: Path) -> None:
    """Make a directory that lasts: its parent is fsynced."""
    if directory.is_dir():
        return
    if directory.parent != directory:
        _make(directory.parent)
    try:
        directory.mkdir(exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from None
    _sync(directory.parent)


def _sync(directory: Path) -> None:
    # Without it a rename may be lost in a power failure, though the file's own bytes are safe. Some network file
    # systems refuse to fsync a directory, and keep a rename without.
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(handle)

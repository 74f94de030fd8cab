"""Storage access: lanewise writes every file through fsspec here, and each write is atomic."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lanewise.errors import ConditionsUnsupported, LanewiseError, StorageError
from lanewise.storage import cloud_errors, deadlines, disk
from lanewise.storage.deadlines import Patience

T = TypeVar("T")
Item = TypeVar("Item")

# The folder below an output URL for all files that are not results of one realization.
HOME = "_lanewise"
PROBES = f"{HOME}/probes"
_N_THREADS = 16
# user:password@, but neither a port nor an S3 ARN. The password may contain slashes.
_PASSWORD = re.compile(r"://(?!arn:)[^/:@]*:(?!\d+(?:/|$)).*@")
_REMEDIES = {
    errno.ENOSPC: "free some space and run again; committed results are kept",
    errno.EDQUOT: "free some space and run again; committed results are kept",
    errno.EROFS: "choose an output.url that can be written",
    errno.EACCES: "choose an output.url that this user may write",
}


class Store:
    """Files below one URL.

    Paths are relative to it, with forward slashes. An object is replaced atomically: no reader sees part of one.
    Calls to a remote store have a deadline and are retried; listings are never cached.

    Args:
        url: local path or fsspec URL; credentials come from the environment, a profile or a role.
        wait: time limits of a call; default: LANEWISE_STORAGE_DEADLINE, else five minutes.

    Raises:
        StorageError: the URL's scheme is unknown, its package is not installed, or it contains a password.
    """

    def __init__(self, url: str, wait: Patience | None = None) -> None:
        self.url = url.rstrip("/")
        if _PASSWORD.search(self.url):
            # The message must not show the URL: it would put the password in a log.
            raise StorageError("the URL carries a password; leave it to the environment, a profile or a role")
        self._patience = wait or deadlines.from_environment()
        try:
            if (path := local_path(self.url or url)) is not None:
                # Not url_to_fs: it takes a path with '::' for a chain of file systems.
                self._fs, self._root = LocalFileSystem(), os.path.abspath(path)
            else:
                self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{url}: cannot be opened: {error}") from None
        self._root = self._root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)

    @property
    def free_bytes(self) -> int | None:
        """Free space on a local disk [bytes]; None for remote storage, or if it is unknown."""
        if not self._local:
            return None
        place = Path(self._root or "/")
        with contextlib.suppress(OSError):
            return shutil.disk_usage(next(found for found in (place, *place.parents) if found.exists())).free
        return None

    def local(self, path: str) -> str | None:
        """An object's path on this machine; None if the store is remote."""
        return self._full(path) if self._local else None

    def read(self, path: str) -> bytes:
        """Content of an object.

        Raises:
            FileNotFoundError: the object does not exist.
        """
        data: bytes = self._call(path, lambda: self._fs.cat_file(self._full(path)))
        return data

    def put(self, path: str, data: bytes) -> None:
        """Write or replace an object."""
        with self._writing(path):
            self._call(path, lambda: self._put(path, data), len(data))

    def put_file(self, path: str, source: str) -> None:
        """Write or replace an object by a file of this machine, which need not fit into memory."""
        with self._writing(path):
            self._call(path, lambda: self._put_file(path, source), os.path.getsize(source))

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists already.

        Returns:
            Whether this call wrote it. False is also possible if our first try succeeded but its answer was lost:
            read the object back to see which writer won. A store that ignores write conditions always gives True.

        Raises:
            ConditionsUnsupported: the store reports that it has no conditional write.
        """
        with self._writing(path):
            try:
                self._call(path, lambda: self._create(path, data), len(data))
            except FileExistsError:
                return False
            return True

    def swap(self, path: str, data: bytes, old: bytes) -> bool:
        """Replace an object if its content is `old`.

        On disks (under a lock) and S3 (If-Match) no other write can come between. Elsewhere, and where a server ignores
        If-Match, the last of two swaps at the same moment wins.

        Returns:
            Whether this call replaced it. As with `create`, False is also possible if the answer of our first try was
            lost.
        """
        return self._call(path, lambda: self._swap(path, data, old), len(data))

    def exists(self, path: str) -> bool:
        """Whether an object exists now."""
        # Not fsspec's exists: it returns False for an object in a directory that cannot be read.
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Size of an object [bytes].

        Raises:
            FileNotFoundError: the object does not exist.
        """
        return self._call(path, lambda: int(self._fresh().info(self._full(path))["size"]))

    def names(self, path: str) -> list[str]:
        """Names directly below a path, sorted; empty if the path does not exist."""
        return sorted(name for name, _ in self._list(path))

    def sizes(self, path: str) -> dict[str, int]:
        """Sizes of the objects directly below a path [bytes], by name."""
        return dict(self._list(path))

    def sizes_below(self, path: str) -> dict[str, int]:
        """Sizes of all objects below a path, however deep [bytes], by their path in the store."""
        full = self._full("").rstrip("/")

        def find() -> dict[str, int]:
            found = self._fresh().find(self._full(path), detail=True)
            return {str(name).removeprefix(f"{full}/"): int(one["size"] or 0) for name, one in found.items()}

        with contextlib.suppress(FileNotFoundError):
            return self._call(path, find)
        return {}

    def matching(self, pattern: str) -> list[str]:
        """Paths and URLs of the objects that match a pattern with *, ? and [], sorted."""

        def match() -> list[str]:
            found = self._fresh().glob(self._full(pattern), detail=True)
            names = sorted(str(name) for name, info in found.items() if info["type"] == "file")
            return names if self._local else [self._fs.unstrip_protocol(name) for name in names]

        return self._call(pattern, match)

    @property
    def keeps(self) -> bool:
        """Whether nothing may be removed, by LANEWISE_NO_DELETE: for a role without the right to delete."""
        return bool(os.environ.get(deadlines.KEEP_VARIABLE))

    def remove(self, path: str) -> None:
        """Remove an object, or everything below a path, unless the store keeps all; no error if it does not exist."""
        if self.keeps:
            return
        try:
            self._call(path, lambda: self._remove(path))
        except FileNotFoundError:
            return
        except StorageError as error:
            if isinstance(error.__cause__, PermissionError) and not self._local:
                raise StorageError(f"{error}; a role without the right to delete needs --no-delete") from error
            raise

    def modified(self, path: str) -> float:
        """When an object was written, by the store's clock [s since 1970]; infinity if it does not exist."""
        try:
            return self._call(path, lambda: float(self._fresh().modified(self._full(path)).timestamp()))
        except FileNotFoundError:
            return math.inf

    def now(self) -> float:
        """Time by the store's clock [s since 1970], to compare with `modified`: machine clocks may differ by hours."""
        path = f"{PROBES}/clock"
        self.put(path, b"")
        return self.modified(path)

    def leftovers(self) -> list[str]:
        """Temporary files of processes that are writing now or were killed; only a local store has them."""
        found = Path(self._root).rglob(f"{disk.TEMPORARY}*") if self._local else ()
        return sorted(str(p.relative_to(self._root)) for p in found)

    def where(self, path: str = "") -> str:
        """Full path or URL, for messages."""
        return f"{self.url}/{path}" if path else self.url

    def map(self, function: Callable[[Item], T], items: Iterable[Item], *, writing: bool = False) -> list[T]:
        """Apply the function to each item; results in order. Remote stores use several threads.

        Args:
            writing: the function writes: several threads also on disks, where they wait for fsync together.
        """
        if self._local and not writing:
            return [function(item) for item in items]
        return deadlines.side_by_side(function, items, _N_THREADS)

    @cached_property
    def conditional(self) -> bool:
        """Whether `create` really refuses to replace an existing object; tested by writing twice."""
        # One object for all processes, which is never removed: that would need a right more, and could come between.
        path = f"{PROBES}/conditions"
        try:
            self.create(path, b"first")
            return not self.create(path, b"second")
        except ConditionsUnsupported:
            return False

    def _call(self, path: str, function: Callable[[], T], size: int = 0) -> T:
        """Call the function; turn its errors into StorageError, except FileNotFoundError and FileExistsError."""
        try:
            if self._local:
                return disk.try_again(function)
            return self._patience.call(lambda: cloud_errors.plain(function), self.where(path), size, self._renew)
        except (FileNotFoundError, FileExistsError, LanewiseError):
            raise
        except PermissionError as error:
            remedy = _REMEDIES.get(error.errno or 0, "check the credentials: environment, profile or role")
            raise StorageError(f"{self.where(path)}: refused: {error.strerror or error}; {remedy}") from error
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "")
            text = f"{error.strerror or error}{f'; {remedy}' if remedy else cloud_errors.remedy(error)}"
            raise StorageError(f"{self.where(path)}: {text}") from error
        except Exception as error:  # each storage client has its own error classes
            text = f"{type(error).__name__}: {cloud_errors.first_line(error)}{cloud_errors.remedy(error)}"
            raise StorageError(f"{self.where(path)}: {text}") from error

    def _renew(self) -> None:
        """Use a new client: abandoned tries may hold all connections of the old one."""
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
            disk.retry_race(remove)

    def _put(self, path: str, data: bytes) -> None:
        if self._local:
            disk.put(self._full(path), data)
        else:
            self._fs.pipe_file(self._full(path), data)

    def _put_file(self, path: str, source: str) -> None:
        if self._local:
            disk.put_file(self._full(path), source)
        else:
            self._fs.put_file(source, self._full(path))

    def _create(self, path: str, data: bytes) -> None:
        """Raises FileExistsError."""
        try:
            if self._local:
                disk.create(self._full(path), data)
            else:
                self._fs.pipe_file(self._full(path), data, mode="create")
        except OSError as error:
            # s3fs raises EINVAL for 412 Precondition Failed in some versions.
            if error.errno == errno.EINVAL and self._fresh().exists(self._full(path)):
                raise FileExistsError(errno.EEXIST, "exists", path) from None
            if error.errno == errno.ENOSYS:
                raise ConditionsUnsupported(f"{self.where(path)}: has no conditional write") from error
            raise

    def _swap(self, path: str, data: bytes, old: bytes) -> bool:
        full = self._full(path)
        try:
            if self._local:
                return disk.swap(full, data, old)
            tag = self._fresh().info(full).get("ETag")
            if self._fs.cat_file(full) != old:
                return False
            self._fs.pipe_file(full, data, **({"IfMatch": tag} if "s3" in self._fs.protocol else {}))
        except FileNotFoundError:
            return False
        except OSError as error:
            # 412 Precondition Failed; see `_create`.
            if error.errno == errno.EINVAL and self._fs.cat_file(full) != old:
                return False
            raise
        return True

    @contextlib.contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise StorageError(f"{self.where(path)}: cannot be written: {error}; create the bucket first") from error

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root or "/"


def stamp() -> str:
    """A unique name from time [s] and random bits; names of one machine sort by time."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"


def is_stamp(name: str) -> bool:
    """Whether the name has the format of `stamp`."""
    return re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{8}", name) is not None


def local_path(url: str) -> str | None:
    """The path of a URL or path on this machine; None for another scheme."""
    if "://" not in url:
        return os.path.expanduser(url)
    scheme, _, path = url.partition("://")
    return path if scheme in {"file", "local"} else None

"""The door to storage: everything lanewise writes goes through fsspec here, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lanewise.errors import StorageError


class Store:
    """Files below one URL.

    Paths are relative to it, with forward slashes. An object is replaced in one step: no reader sees half of one.

    Args:
        url: local path or fsspec URL.

    Raises:
        StorageError: the URL's scheme is unknown, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise StorageError(f"{url}: cannot be opened: {error}") from None
        self._local = isinstance(self._fs, LocalFileSystem)

    def read(self, path: str) -> bytes:
        """The bytes of an object.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._failures(path):
            data: bytes = self._fs.cat_file(self._full(path))
            return data

    def put(self, path: str, data: bytes) -> None:
        """Write or replace an object."""
        with self._failures(path):
            if self._local:
                with self._temporary(path, data) as name:
                    os.replace(name, self._full(path))
            else:
                self._fs.pipe_file(self._full(path), data)

    def create(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists already.

        Returns:
            Whether this call wrote it. Where the store has no conditional write, two callers at once may both be told
            so: read the object back to know the winner.
        """
        with self._failures(path):
            try:
                if self._local:
                    with self._temporary(path, data) as name:
                        os.link(name, self._full(path))
                else:
                    self._fs.pipe_file(self._full(path), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                # s3fs raises this for 412 Precondition Failed in some versions.
                if error.errno == 22 and self.exists(path):
                    return False
                raise
            return True

    def exists(self, path: str) -> bool:
        """Whether an object is there now; no listing cache is asked."""
        with self._failures(path):
            self._fs.invalidate_cache()
            return bool(self._fs.exists(self._full(path)))

    def names(self, path: str) -> list[str]:
        """Names directly below a path, sorted; empty where there is nothing."""
        with self._failures(path):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._full(path), detail=False)
            except FileNotFoundError:
                return []
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def remove(self, path: str) -> None:
        """Remove an object or all below a path; nothing there is fine."""
        with self._failures(path), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._full(path), recursive=True)

    def where(self, path: str = "") -> str:
        """The path as a user would name it."""
        return f"{self.url}/{path}" if path else self.url

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}" if path else str(self._root)

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes) -> Iterator[str]:
        """A fsynced file in the target's own directory, gone afterwards unless it was renamed."""
        target = Path(self._full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp gives 0600; results are for whoever the umask lets in.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    @contextlib.contextmanager
    def _failures(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError, StorageError):
            raise
        except OSError as error:
            raise StorageError(f"{self.where(path)}: {error.strerror or error}") from error

"""Files of a local or network disk: each is replaced atomically, created only once, or swapped under a lock."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from lanewise.errors import ConditionsUnsupported

T = TypeVar("T")

# Prefix of temporary files; it identifies the files that a killed process leaves behind.
TEMPORARY = ".lanewise-"
# Name of the file that `swap` locks; it stays, because its removal would let two processes lock two files.
LOCK = ".lock"
_TRIES = 20
# Errors of local disks that may pass, and the pauses before the next try [s].
_PASSING = {errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN}
_PAUSES_S = (0.1, 0.3, 1.0)
# The file system does not support hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def put(path: str, data: bytes) -> None:
    """Write or replace a file; its directories are made."""

    def replace() -> None:
        with _temporary(path, data) as name:
            os.replace(name, path)

    retry_race(replace)


def put_file(path: str, source: str) -> None:
    """Write or replace a file by a copy of another one; its directories are made."""

    def replace() -> None:
        with _temporary(path, b"") as name:
            shutil.copyfile(source, name)
            with open(name, "rb") as copied:
                os.fsync(copied.fileno())
            os.replace(name, path)

    retry_race(replace)


def create(path: str, data: bytes) -> None:
    """Write a file that does not exist yet.

    Raises:
        FileExistsError: it exists.
        ConditionsUnsupported: the file system has no hard links.
    """
    with _temporary(path, data) as name:
        try:
            os.link(name, path)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise ConditionsUnsupported(f"{path}: this file system has no hard links") from error
            raise


def swap(path: str, data: bytes, old: bytes) -> bool:
    """Replace a file if its content is `old`; returns whether it was.

    Where the file system has no locks, another process may replace the file between the comparison and ours.
    """
    with _locked(os.path.dirname(path)):
        if Path(path).read_bytes() != old:
            return False
        put(path, data)
    return True


def try_again(function: Callable[[], T]) -> T:
    """Call the function; again after a pause where a disk has an error that passes, e.g. a network file system."""
    for pause_s in _PAUSES_S:
        try:
            return function()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            time.sleep(pause_s)
    return function()


def retry_race(function: Callable[[], None]) -> None:
    """Call the function; retry if another process removes or fills the directory at the same time.

    This happens when two processes overwrite one chunk.
    """
    for left in reversed(range(_TRIES)):
        try:
            return function()
        except OSError as error:
            if not left or error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                raise


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the directory's lock; a process that is killed gives it back."""
    handle = os.open(f"{directory}/{LOCK}", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _temporary(path: str, data: bytes) -> Iterator[str]:
    """A temporary, fsynced file in the target's directory; on exit it is removed and the directory is fsynced."""
    target = Path(path)
    _make(target.parent)
    # Not mkstemp, and no chmod: the file gets the mode that umask and default ACLs give it, also where chmod is
    # refused.
    name = str(target.with_name(f"{TEMPORARY}{secrets.token_hex(8)}"))
    try:
        with open(name, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
    _sync(target.parent)


def _make(directory: Path) -> None:
    """Make a directory and its parents; fsync each parent."""
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
    # Without this fsync, a power failure may undo a rename although the file's bytes are safe. Some network file
    # systems refuse to fsync a directory; they keep a rename anyway.
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(handle)

"""Calls that may fail or hang: a deadline, and retries with jitter.

The clients of object storage retry too, but they may wait forever for a server that does not answer. Therefore each
try runs in its own thread, which is abandoned when its time is over.
"""

from __future__ import annotations

import errno
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from lanewise.errors import StorageError, StorageTimeout
from lanewise.machine import host
from lanewise.storage import cloud_errors
from lanewise.storage.cloud_errors import first_line, unreachable

T = TypeVar("T")
Item = TypeVar("Item")
DEADLINE_VARIABLE = "LANEWISE_STORAGE_DEADLINE"
# If it is set, nothing is removed from storage.
KEEP_VARIABLE = "LANEWISE_NO_DELETE"
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 20.0
# Large objects get extra time: their size divided by this rate.
_SLOWEST_BYTES_PER_S = 1e6
# Errors that a retry cannot change.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, StorageError)
_FINAL_ERRNO = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ENAMETOOLONG, errno.EMSGSIZE, cloud_errors.ELSEWHERE}


class _NoAnswer(Exception):
    """A try was abandoned: no answer in time."""


@dataclass(frozen=True)
class Patience:
    """How long a call to storage may take.

    Attributes:
        deadline_s: for the call with all its tries.
        try_s: for one try.
    """

    deadline_s: float = 300.0
    try_s: float = 60.0

    def call(
        self, function: Callable[[], T], where: str, size: int = 0, given_up: Callable[[], None] = lambda: None
    ) -> T:
        """Call the function, with retries, within the deadline.

        Args:
            function: may be called again while an abandoned try is still running.
            where: path or URL, for error messages.
            size: amount of data that it transfers [bytes].
            given_up: called after each abandoned try.

        Raises:
            StorageTimeout: no answer until the deadline.
            StorageError: every try failed until the deadline.
            OSError, ValueError: raised by the function, where a retry cannot help.
        """
        began = time.monotonic()
        end = began + self.deadline_s + size / _SLOWEST_BYTES_PER_S
        try_s = self.try_s + size / _SLOWEST_BYTES_PER_S
        tries = 0
        last = ""
        while True:
            tries += 1
            try:
                return _with_time_limit(min(try_s, max(0.0, end - time.monotonic())), function)
            except Exception as error:
                if is_final(error):
                    raise
                if isinstance(error, _NoAnswer):
                    given_up()
                else:
                    last = f"; the last error was: {first_line(error)}"
                pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE_S, _PAUSE_S * 2**tries)
                if time.monotonic() + pause < end:
                    time.sleep(pause)
                    continue
                spent = f"{tries} {'try' if tries == 1 else 'tries'} in {time.monotonic() - began:.0f} s"
                remedy = "committed results are kept; run again to continue"
                if isinstance(error, _NoAnswer):
                    raise StorageTimeout(f"{where}: gave no answer, {spent}{last}; {remedy}") from None
                raise StorageError(f"{where}: cannot be reached, {spent}: {first_line(error)}; {remedy}") from error


def from_environment() -> Patience:
    """Time limits from LANEWISE_STORAGE_DEADLINE [s], or the default.

    Raises:
        UsageError: the variable is not a positive number.
    """
    deadline_s = host.seconds(DEADLINE_VARIABLE, default=Patience.deadline_s, positive=True)
    return Patience(deadline_s, min(Patience.try_s, deadline_s))


def is_final(error: Exception) -> bool:
    """Whether a retry cannot help."""
    if isinstance(error, TimeoutError | _NoAnswer):
        return False
    if isinstance(error, OSError) and error.errno in _FINAL_ERRNO:
        return True
    # By name: the cloud clients are optional dependencies, each with its own error classes; see also cloud_errors.py.
    useless = any(word in type(error).__name__ for word in ("Validation", "Profile"))
    return (
        useless
        or unreachable(error)
        or isinstance(error, (*_FINAL, ValueError, TypeError, NotImplementedError, ImportError))
    )


def side_by_side(function: Callable[[Item], T], items: Iterable[Item], n_threads: int) -> list[T]:
    """Apply the function to each item in threads; results in order. The first error stops the rest.

    Daemon threads instead of an executor: an executor waits for its threads, also when the process exits on a signal.
    """
    pairs = [(item, Future[T]()) for item in items]
    left = deque(pairs)

    def work() -> None:
        while True:
            try:
                item, future = left.popleft()
            except IndexError:
                return
            _settle(future, partial(function, item))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(n_threads, len(pairs)))]
    for thread in threads:
        thread.start()
    try:
        return [future.result() for _, future in pairs]
    except Exception:
        left.clear()
        for thread in threads:
            thread.join()
        raise


def _with_time_limit(seconds: float, function: Callable[[], T]) -> T:
    """The function's value; _NoAnswer after the time limit. A daemon thread, so that the process can exit."""
    future: Future[T] = Future()
    threading.Thread(target=_settle, args=(future, function), daemon=True, name="lanewise-storage").start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        if future.done():
            raise  # TimeoutError of the function itself
        raise _NoAnswer from None


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)

"""Deadlines and further tries, with a scripted store."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from lanewise.errors import StorageError, StorageTimeout, UsageError
from lanewise.storage import deadlines
from lanewise.storage.deadlines import Patience
from lanewise.storage.store import Store

QUICK = Patience(deadline_s=2.0, try_s=0.2)


def _script(*acts: Exception | float | str) -> Callable[[], str]:
    """A call that raises, sleeps or answers, one act after the other."""
    left: Iterator[Exception | float | str] = iter(acts)

    def call() -> str:
        act = next(left)
        if isinstance(act, Exception):
            raise act
        if isinstance(act, float):
            time.sleep(act)
            return "late"
        return act

    return call


@pytest.mark.parametrize(
    "acts", [(OSError("torn"), "fine"), (0.6, "fine"), (TimeoutError(), OSError(errno.EBUSY, "slow down"), "fine")]
)
def test_a_call_is_tried_again_until_it_answers(acts: tuple[Any, ...]) -> None:
    assert QUICK.call(_script(*acts), "here") == "fine"


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), FileExistsError("x"), PermissionError("x"), OSError(errno.ENOSYS, "x")]
)
def test_an_answer_that_will_not_change_is_taken_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        QUICK.call(_script(error, "never asked"), "here")


def test_no_answer_until_the_deadline_is_a_timeout_of_its_own() -> None:
    began = time.monotonic()
    with pytest.raises(StorageTimeout, match=r"here: gave no answer, \d+ tr") as caught:
        QUICK.call(lambda: time.sleep(30), "here")
    assert time.monotonic() - began < 10
    assert caught.value.exit_code == 75


def test_an_error_to_the_end_says_so() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(StorageError, match=r"here: cannot be reached, \d+ tries in \d+ s: nobody there") as caught:
        QUICK.call(refuse, "here")
    assert caught.value.exit_code == 74


def test_silence_after_an_error_tells_the_error() -> None:
    acts = iter([ConnectionResetError("torn")])

    def call() -> None:
        for error in acts:
            raise error
        time.sleep(30)

    with pytest.raises(StorageTimeout, match=r"gave no answer, \d+ tries in \d+ s; the last error was: torn;"):
        QUICK.call(call, "here")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_the_deadline_of_the_environment_is_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(deadlines.DEADLINE_VARIABLE, text)
    with pytest.raises(UsageError, match="LANEWISE_STORAGE_DEADLINE: expected seconds > 0"):
        deadlines.from_environment()
    monkeypatch.setenv(deadlines.DEADLINE_VARIABLE, "7")
    assert deadlines.from_environment().deadline_s == 7


class _Scripted(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Call 1 fails, call 2 writes and loses its answer, call 3 finds what call 2 wrote."""

    protocol = "scripted"
    calls = 0

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        type(self).calls += 1
        if self.calls == 1:
            raise ConnectionResetError("reset")
        super().pipe_file(path, value, mode=mode, **kwargs)
        if self.calls == 2:
            raise ConnectionResetError("reset")


def test_a_create_that_loses_to_its_own_second_try_is_known_by_reading_back() -> None:
    fsspec.register_implementation("scripted", _Scripted, clobber=True)
    store = Store("scripted://here", QUICK)
    assert store.create("commit", b"mine") is False
    assert (_Scripted.calls, store.read("commit")) == (3, b"mine")


def test_calls_to_a_remote_store_run_side_by_side(memory: str) -> None:
    barrier = threading.Barrier(4, timeout=20)
    assert Store(memory).map(lambda item: item + 0 * barrier.wait(), [1, 2, 3, 4]) == [1, 2, 3, 4]

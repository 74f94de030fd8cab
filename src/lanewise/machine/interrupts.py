"""SIGTERM and SIGINT: what is under way is brought to a safe place within a grace; a second signal ends at once.

Python runs a handler only when the interpreter is back from what it called, and a compilation may take minutes. So the
signal also wakes a thread, through a pipe, which ends the process when the grace is over: what is committed is safe at
every moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lanewise.errors import INTERRUPTED, TERMINATED, UsageError

GRACE_VARIABLE = "LANEWISE_GRACE"
_GRACE_S = 10.0
_CODES = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}
_WORDS = {TERMINATED: "terminated", INTERRUPTED: "interrupted"}
_STAYS = "what was committed stays, run again to go on"


class _State:
    """Of this process: the exit code that a signal asked for, and how many stretches of work want to hear of it."""

    code: int | None = None
    deferring: int = 0


_state = _State()


def install() -> None:
    """Handle both signals from now on; the grace is ten seconds, or what LANEWISE_GRACE says.

    Raises:
        UsageError: LANEWISE_GRACE is not a number of seconds.
    """
    grace_s = _grace_s()
    _state.code, _state.deferring = None, 0
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _CODES:
        signal.signal(number, _handle)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, grace_s), daemon=True, name="lanewise-signals").start()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In here a first signal does not end the process: `stop_here` does, at the next safe place."""
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1


def pending() -> bool:
    """Whether a signal has asked for the end."""
    return _state.code is not None


def stop_here() -> None:
    """End the process if a signal has asked for it.

    Raises:
        SystemExit: with 143 or 130.
    """
    if _state.code is not None:
        _say(f"{_WORDS[_state.code]}; {_STAYS}")
        raise SystemExit(_state.code)


def _grace_s() -> float:
    text = os.environ.get(GRACE_VARIABLE) or str(_GRACE_S)
    try:
        grace_s = float(text)
    except ValueError:
        grace_s = -1.0
    if not 0 <= grace_s < float("inf"):
        raise UsageError(f"{GRACE_VARIABLE}: expected seconds ≥ 0, got '{text}'")
    return grace_s


def _handle(number: int, _: FrameType | None) -> None:
    code = _CODES[signal.Signals(number)]
    _state.code = _state.code or code
    if not _state.deferring:
        stop_here()


def _watch(reader: int, grace_s: float) -> None:
    code = _next(reader, None)
    assert code is not None
    second = _next(reader, grace_s)
    if second is None:
        _say(f"{_WORDS[code]} within a step that outlasts the grace of {grace_s:g} s; {_STAYS}")
    os._exit(second or code)


def _next(reader: int, timeout_s: float | None) -> int | None:
    """The exit code of the next signal of ours; None if there is none in time."""
    while select.select([reader], [], [], timeout_s)[0]:
        number = os.read(reader, 1)[0]
        if number in _CODES:
            return _CODES[signal.Signals(number)]
    return None


def _say(text: str) -> None:
    # Not print: the signal may have come in the middle of one.
    os.write(2, f"{text}\n".encode())

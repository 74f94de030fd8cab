"""SIGTERM and SIGINT: stop at the next safe point within a grace period; a second signal ends the process at once.

Python runs a signal handler only after the current C call returns, and a compilation may take minutes. Therefore the
signal also wakes a thread through a pipe, and this thread ends the process after the grace period. Committed results
are safe at any time.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from lanewise.errors import INTERRUPTED, TERMINATED
from lanewise.machine import host

GRACE_VARIABLE = "LANEWISE_GRACE"
_GRACE_S = 10.0
_CODES = {signal.SIGTERM: TERMINATED, signal.SIGINT: INTERRUPTED}
_WORDS = {TERMINATED: "terminated", INTERRUPTED: "interrupted"}
_STAYS = "committed results are kept; run again to continue"


class _State:
    """State of this process: exit code requested by a signal, and number of open `deferred` blocks."""

    code: int | None = None
    deferring: int = 0


_state = _State()


def install() -> None:
    """Install the handlers of both signals; the grace period is LANEWISE_GRACE [s], default ten seconds.

    Raises:
        UsageError: LANEWISE_GRACE is not a number of seconds.
    """
    grace_s = host.seconds(GRACE_VARIABLE, default=_GRACE_S)
    _state.code, _state.deferring = None, 0
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _CODES:
        signal.signal(number, _handle)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, grace_s), daemon=True, name="lanewise-signals").start()


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside this block the first signal does not end the process; the next call of `stop_here` does."""
    _state.deferring += 1
    try:
        yield
    finally:
        _state.deferring -= 1


def pending() -> bool:
    """Whether a signal has been received."""
    return _state.code is not None


def stop_here() -> None:
    """End the process if a signal has been received.

    Raises:
        SystemExit: with code 143 (SIGTERM) or 130 (SIGINT).
    """
    if _state.code is not None:
        _say(f"{_WORDS[_state.code]}; {_STAYS}")
        raise SystemExit(_state.code)


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
        _say(f"{_WORDS[code]} during a step longer than the grace period of {grace_s:g} s; {_STAYS}")
    os._exit(second or code)


def _next(reader: int, timeout_s: float | None) -> int | None:
    """Exit code for the next SIGTERM or SIGINT; None after the timeout."""
    while select.select([reader], [], [], timeout_s)[0]:
        number = os.read(reader, 1)[0]
        if number in _CODES:
            return _CODES[signal.Signals(number)]
    return None


def _say(text: str) -> None:
    # Not print: the signal may have interrupted a print. A bar is wiped, and the cursor that it hides is shown again.
    wipe = "\r\033[2K\033[?25h" if os.isatty(2) else ""
    os.write(2, f"{wipe}{text}\n".encode())

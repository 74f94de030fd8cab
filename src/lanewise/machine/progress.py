"""Progress reports: a bar on a terminal, lines of text otherwise, or lines of JSON where they are asked for."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, Self

from lanewise.errors import UsageError

LOG_VARIABLE = "LANEWISE_LOG"


class Reporter:
    """Receives progress and events while a campaign runs; each method does nothing unless it is overridden."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def begin(self, what: str, total: int) -> None:
        """Start of a task with `total` steps."""

    def step(self, done: int, note: str = "") -> None:
        """`done` steps of the task are finished."""

    def say(self, event: str, text: str, **fields: Any) -> None:
        """An event: its name, a sentence for the user, and its numbers."""


class Silent(Reporter):
    """Ignores everything; for the Python interface and tests."""


class Lines(Silent):
    """One event per line on standard output; at most one step in five seconds.

    Args:
        as_json: each line is a JSON object, for programs; otherwise the sentence alone.
    """

    _INTERVAL_S = 5.0

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._what, self._total, self._last = "", 0, 0.0

    def begin(self, what: str, total: int) -> None:
        """Store the task's name and number of steps."""
        self._what, self._total, self._last = what, total, time.monotonic()

    def step(self, done: int, note: str = "") -> None:
        """Print a line, unless the last one is less than five seconds old."""
        now = time.monotonic()
        if now - self._last >= self._INTERVAL_S:
            self._last = now
            self._print(
                f"{self._what}: {done} of {self._total}" + (f", {note}" if note else ""),
                "progress",
                note,
                what=self._what,
                done=done,
                total=self._total,
            )

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Print one line."""
        self._print(text, event, text, **fields)

    def _print(self, line: str, event: str, text: str, **fields: Any) -> None:
        if self._as_json:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            line = json.dumps({"time": stamp, "event": event, "text": text, **fields})
        try:
            print(line, flush=True)
        except OSError as error:  # a full disk, or a reader that has gone: no reason to end a run
            print(f"standard output: {error.strerror}; it goes on without messages", file=sys.stderr)
            mute()


class Bar(Silent):
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        # Imported here: it would double the import time of every command without a bar.
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, note="", visible=False)
        self._what = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int) -> None:
        """Reset the bar; a chunk that goes on with another stage keeps its bar and its time."""
        if what == self._what:
            self._progress.update(self._task, total=total)
        else:
            self._progress.reset(self._task, total=total, description=what, note="", visible=True)
        self._what = what

    def step(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, note=note)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Print the text above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Line(Silent):
    """A bar of characters on one line of standard output, for a notebook; it needs no widgets."""

    _WIDTH, _INTERVAL_S = 30, 0.2

    def __init__(self) -> None:
        self._what, self._total, self._last, self._length = "", 0, 0.0, 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._show("")
        print("\r", end="", flush=True)

    def begin(self, what: str, total: int) -> None:
        """Begin the line anew."""
        self._what, self._total, self._last = what, total, 0.0

    def step(self, done: int, note: str = "") -> None:
        """Show the bar, unless it is less than a fifth of a second old."""
        now = time.monotonic()
        if now - self._last >= self._INTERVAL_S:
            self._last = now
            full = self._WIDTH * done // max(self._total, 1)
            bar = "█" * full + "·" * (self._WIDTH - full)
            self._show(f"{self._what} {bar} {done} of {self._total}" + (f", {note}" if note else ""))

    def _show(self, text: str) -> None:
        print("\r" + text.ljust(self._length), end="", flush=True)
        self._length = len(text)


def mute() -> None:
    """Discard standard output from now on, and what of it could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def watched() -> Reporter:
    """A bar if standard output is a terminal or a notebook, otherwise nothing; for what shows its result itself."""
    if sys.stdout.isatty():
        return Bar()
    return Line() if "ipykernel" in sys.modules else Silent()


def reporter(*, as_json: bool = False) -> Reporter:
    """A bar if standard output is a terminal, otherwise lines of text; lines of JSON if they are asked for.

    Args:
        as_json: lines of JSON; LANEWISE_LOG=json asks for them, too.

    Raises:
        UsageError: LANEWISE_LOG is set to something else.
    """
    asked = os.environ.get(LOG_VARIABLE, "")
    if asked not in ("", "json", "text"):
        raise UsageError(f"{LOG_VARIABLE}={asked}: expected json or text")
    if as_json or asked == "json":
        return Lines(as_json=True)
    return Bar() if sys.stdout.isatty() and not asked else Lines()

"""Progress reports: a bar on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, Self


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


class JsonLines(Silent):
    """One JSON object per line on standard output; at most one step in five seconds."""

    _INTERVAL_S = 5.0

    def __init__(self) -> None:
        self._what, self._total, self._last = "", 0, 0.0

    def begin(self, what: str, total: int) -> None:
        """Store the task's name and number of steps."""
        self._what, self._total, self._last = what, total, time.monotonic()

    def step(self, done: int, note: str = "") -> None:
        """Print a line, unless the last one is less than five seconds old."""
        now = time.monotonic()
        if now - self._last >= self._INTERVAL_S:
            self._last = now
            self.say("progress", note, what=self._what, done=done, total=self._total)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Print one JSON object."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            print(json.dumps({"time": stamp, "event": event, "text": text, **fields}), flush=True)
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

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, what: str, total: int) -> None:
        """Reset the bar."""
        self._progress.reset(self._task, total=total, description=what, note="", visible=True)

    def step(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, note=note)

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Print the text above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def mute() -> None:
    """Discard standard output from now on, and what of it could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def watched() -> Reporter:
    """A bar if standard output is a terminal, otherwise nothing; for commands that print their result."""
    return Bar() if sys.stdout.isatty() else Silent()


def reporter() -> Reporter:
    """A bar if standard output is a terminal, otherwise JSON lines."""
    return Bar() if sys.stdout.isatty() else JsonLines()

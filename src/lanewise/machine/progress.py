"""Progress reports: a bar on a terminal, JSON lines otherwise."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self


class Reporter(Protocol):
    """Receives progress and events while a campaign runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...

    def begin(self, what: str, total: int) -> None:
        """Start of a task with `total` steps."""
        ...

    def step(self, done: int, note: str = "") -> None:
        """`done` steps of the task are finished."""
        ...

    def say(self, event: str, text: str, **fields: Any) -> None:
        """An event: its name, a sentence for the user, and its numbers."""
        ...


class Silent:
    """Ignores everything; for the Python interface and tests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        return None

    def begin(self, what: str, total: int) -> None:
        """Do nothing."""

    def step(self, done: int, note: str = "") -> None:
        """Do nothing."""

    def say(self, event: str, text: str, **fields: Any) -> None:
        """Do nothing."""


class JsonLines(Silent):
    """One JSON object a line on standard output; steps at most once in five seconds."""

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
        print(json.dumps({"time": stamp, "event": event, "text": text, **fields}), flush=True)


class Bar(Silent):
    """A progress bar on a terminal."""

    def __init__(self) -> None:
        # Late: it costs as much as all else that a command without a bar imports.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
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


def watched() -> Reporter:
    """A bar if standard output is a terminal, else nothing: for commands that print their result."""
    return Bar() if sys.stdout.isatty() else Silent()


def reporter() -> Reporter:
    """A bar if standard output is a terminal, JSON lines otherwise."""
    return Bar() if sys.stdout.isatty() else JsonLines()

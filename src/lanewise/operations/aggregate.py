"""`aggregate`: a family's conclusion, and the wait for the last chunk before it."""

from __future__ import annotations

import time
from collections.abc import Callable

from lanewise.manifest import registry
from lanewise.manifest.protocols import Conclusion
from lanewise.storage.record import Record

_POLL_S = 5.0


def conclude(record: Record) -> Conclusion:
    """Summary, statistics and report of what is committed; always ends in a report."""
    return registry.family(record.manifest.kind).conclude(record)


def wait(record: Record, deadline_s: float, tell: Callable[[int], None]) -> None:
    """Wait until every chunk is committed or the deadline has passed; `tell` hears how many are."""
    end = time.monotonic() + deadline_s
    total = len(record.plan.chunks)
    # Chunks seen committed are not read again, in a wait that may last a day; the aggregation itself reads them all.
    left = list(record.plan.chunks)
    while True:
        # A damaged commit will not mend by waiting.
        done, damaged = record.survey(left) if left else ({}, {})
        left = [chunk for chunk in left if chunk.index not in done and chunk.index not in damaged]
        tell(total - len(left))
        if not left or time.monotonic() >= end:
            return
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


def n_complete(record: Record, conclusion: Conclusion) -> int:
    """Chunks of which the results miss nothing."""
    return sum(conclusion.missing.isdisjoint(chunk.run_ids) for chunk in record.plan.chunks)


def text(conclusion: Conclusion, manifest: str) -> str:
    """The conclusion for a reader, with the command that brings what is missing to decide.

    Args:
        manifest: as the reader calls it.
    """
    lines = list(conclusion.lines)
    if conclusion.extend_count is not None:
        lines.append(f"  next: {extend_command(manifest, conclusion.extend_count)}")
    return "\n".join(lines)


def extend_command(manifest: str, count: int) -> str:
    """What brings so many more realizations per point, and computes them."""
    return f"lanewise extend {manifest} --count {count} && lanewise run {manifest}"

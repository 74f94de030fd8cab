"""`aggregate`: the wait for the last chunk, and the family's conclusion as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from lanewise.manifest.protocols import Conclusion
from lanewise.storage import waits
from lanewise.storage.record import Record

_POLL_S = 5.0


def wait(record: Record, deadline_s: float, tell: Callable[[int], None]) -> None:
    """Wait until every chunk is committed or the deadline has passed.

    If LANEWISE_WAIT is set, the deadline counts from the first process with this value.

    Args:
        deadline_s: longest time to wait [s].
        tell: called with the number of committed chunks.
    """
    end = time.monotonic() + deadline_s - waits.waited_s(record.store)
    total = len(record.plan.indices)
    # A wait may last a day: read only the chunks that are not known to be committed. The aggregation reads all.
    left: Collection[int] = record.plan.indices
    while True:
        # Waiting does not repair a damaged commit.
        done, damaged = record.survey(left) if left else ({}, {})
        left = {index for index in left if index not in done and index not in damaged}
        tell(total - len(left))
        if not left or time.monotonic() >= end:
            return
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


def n_complete(record: Record, conclusion: Conclusion) -> int:
    """Number of chunks without a missing realization."""
    plan = record.plan
    if not conclusion.missing:
        return len(plan.indices)
    return sum(conclusion.missing.isdisjoint(plan.chunks[index].run_ids) for index in plan.indices)


def text(conclusion: Conclusion, manifest: str) -> str:
    """The conclusion as text, with the next command if more realizations are needed to decide.

    Args:
        manifest: path or URL of the manifest, as the user wrote it.
    """
    lines = list(conclusion.lines)
    if conclusion.extend_count is not None:
        lines.append(f"  next: {extend_command(manifest, conclusion.extend_count)}")
    return "\n".join(lines)


def extend_command(manifest: str, count: int) -> str:
    """The command line that adds `count` realizations per point and computes them."""
    return f"lanewise extend {manifest} --count {count} && lanewise run {manifest}"

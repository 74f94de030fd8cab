"""Status of lanes and realizations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?%?")


class LaneStatus(IntEnum):
    """Status of a lane; a lane never raises. Larger is worse: a realization has the worst status of its lanes.

    MISFIT is the status of a realization, never of a lane. Files hold these numbers.
    """

    RUNNING = 0
    OK = 1
    UNINFORMATIVE = 2
    NOT_CONVERGED = 3
    NON_FINITE = 4
    FAILED = 5
    MISFIT = 6

    @property
    def word(self) -> str:
        """The status as written in files and table columns."""
        return self.name.lower()

    @property
    def severity(self) -> float:
        """Larger is worse: a misfit is worse than no information, and better than a fit that did not converge."""
        return 2.5 if self is LaneStatus.MISFIT else float(self)

    @property
    def sentence(self) -> str:
        """The meaning of the status, for the user."""
        return _SENTENCES[self]


def listed(counts: Mapping[str, int]) -> str:
    """Number of realizations by status, e.g. `3 not converged, 5 ok`; sorted by status."""
    return ", ".join(f"{n} {word.replace('_', ' ')}" for word, n in sorted(counts.items()))


def without_numbers(reason: str) -> str:
    """The reason with … in place of numbers: reasons of one cause are then equal."""
    return _NUMBER.sub("…", reason)


def causes(not_ok: Iterable[tuple[str, str, str]], most: int = 3) -> list[str]:
    """Lines for people: one per cause, the commonest first, with their number and one realization as an example.

    Args:
        not_ok: name, status and reason of each realization that is not ok.
        most: causes with a line of their own; the others are counted.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, status, reason in not_ok:
        words = status.replace("_", " ")
        told = f"{name}: {words}: {reason}" if reason else f"{name}: {words}"
        groups.setdefault((status, without_numbers(reason)), []).append(told)
    ranked = sorted(groups.values(), key=lambda group: -len(group))
    lines = [group[0] if len(group) == 1 else f"{len(group)} ×, e.g. {group[0]}" for group in ranked[:most]]
    others = sum(map(len, ranked[most:]))
    return [*lines, *([f"… and {others} of other causes, in summary.csv"] if others else [])]


_SENTENCES = {
    LaneStatus.RUNNING: "The lane has rounds left to run.",
    LaneStatus.OK: "Done.",
    LaneStatus.UNINFORMATIVE: "The posterior is as wide as the prior: the data do not constrain the parameters.",
    LaneStatus.NOT_CONVERGED: "The method ended without meeting its convergence criteria.",
    LaneStatus.NON_FINITE: "The data, the log density or its gradient are not finite.",
    LaneStatus.FAILED: "The data could not be made or read.",
    LaneStatus.MISFIT: "The model does not describe the data.",
}

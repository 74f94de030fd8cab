"""Time and cost of what is left of a campaign, told from the chunks that are committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lanewise.storage.commits import Commit


@dataclass(frozen=True)
class Pace:
    """Time of one process per realization; see schemas/plan.schema.json.

    Attributes:
        seconds_each: with compilation and storage [s].
        n: realizations that were timed.
        seconds_left: for all that is not committed [s].
        price_per_hour: of one process; None if it was not given.
    """

    seconds_each: float
    n: int
    seconds_left: float
    price_per_hour: float | None = None

    def needs(self, n: int) -> str:
        """Time and cost of `n` realizations, as text."""
        seconds = self.seconds_each * n
        cost = "" if self.price_per_hour is None else f", cost {seconds / 3600 * self.price_per_hour:,.2f}"
        return f"{duration(seconds)} of one process{cost}"


def of(commits: Iterable[Commit], n_left: int, price_per_hour: float | None = None) -> Pace | None:
    """The pace of these commits; None if none tells its time."""
    spent = [(commit.provenance.get("seconds"), sum(commit.counts.values())) for commit in commits]
    timed = [(seconds, n) for seconds, n in spent if seconds]
    if not timed:
        return None
    n = sum(n for _, n in timed)
    each = sum(seconds for seconds, _ in timed) / n
    return Pace(each, n, each * n_left, price_per_hour)


def duration(seconds: float) -> str:
    """A time for people, e.g. `12 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"

"""Computing time and money of a campaign, from the chunks that it has committed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lanewise.storage.commits import Commit


@dataclass(frozen=True)
class Rate:
    """Mean computing time of a realization [s], and the number of realizations behind it."""

    seconds: float
    n: int


@dataclass(frozen=True)
class Cost:
    """Computing time of one container like those of the committed chunks, and its price.

    Attributes:
        seconds_each: mean time of a realization [s].
        n_timed: number of realizations behind it.
        seconds_open, seconds_total: time of the realizations that are not committed, and of all of them [s].
        price_open, price_total: the same in money; None without a price.
    """

    seconds_each: float
    n_timed: int
    seconds_open: float
    seconds_total: float
    price_open: float | None
    price_total: float | None


def rate(done: Iterable[Commit]) -> Rate | None:
    """The mean time of the realizations of committed chunks; None if no chunk says its time."""
    spent = [(commit.provenance.get("seconds"), sum(commit.counts.values())) for commit in done]
    timed = [(seconds, n) for seconds, n in spent if seconds]
    n = sum(n for _, n in timed)
    return Rate(sum(seconds for seconds, _ in timed) / n, n) if n else None


def cost(found: Rate | None, n_open: int, n_total: int, price_per_hour: float | None) -> Cost | None:
    """Time and price of a campaign; None if its rate is not known."""
    if found is None:
        return None
    left, whole = found.seconds * n_open, found.seconds * n_total
    prices = (None, None) if price_per_hour is None else (left / 3600 * price_per_hour, whole / 3600 * price_per_hour)
    return Cost(found.seconds, found.n, left, whole, *prices)


def text(found: Cost, n_open: int) -> str:
    """Two lines at most: the time, and the price."""
    each = f"{found.seconds_each:.2g} s each in one container, from {found.n_timed} committed ones"
    lines = [f"time: {duration(found.seconds_open)} for the {n_open} open realizations, "]
    lines[0] += f"{duration(found.seconds_total)} for all; {each}"
    if found.price_open is not None:
        lines.append(f"price: {found.price_open:.2f} for the open ones, {found.price_total:.2f} for all")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"

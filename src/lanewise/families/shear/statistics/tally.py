"""What became of the realizations of a plan: used, excluded or missing, and the status of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

STATUSES = ("ok", "uninformative", "not_converged", "non_finite", "failed")


@dataclass(frozen=True)
class Excluded:
    """A realization that was computed and does not count, and why."""

    run_id: str
    g1_true: float
    g2_true: float
    seed: int
    status: str
    reason: str


@dataclass(frozen=True)
class StatusCount:
    """How many realizations ended in one status."""

    status: str
    n: int


@dataclass(frozen=True)
class Tally:
    """Realizations of the plan by what became of them; `excluded_frac` is the share excluded or missing."""

    n_planned: int
    n_used: int
    n_excluded: int
    n_missing: int
    excluded_frac: float | None
    statuses: tuple[StatusCount, ...]


def tally(rows: pd.DataFrame, *, n_used: int, n_missing: int) -> Tally:
    """The realizations that were computed, of which `n_used` count, and those that are missing."""
    planned, unused = len(rows) + n_missing, len(rows) - n_used
    found = [str(status) for status in rows["status"]]
    # Statuses that are none of ours come last.
    names = (*STATUSES, *sorted({*found} - {*STATUSES}))
    return Tally(
        n_planned=planned,
        n_used=n_used,
        n_excluded=unused,
        n_missing=n_missing,
        excluded_frac=(unused + n_missing) / planned if planned else None,
        statuses=tuple(StatusCount(name, found.count(name)) for name in names),
    )


def excluded(rows: pd.DataFrame, reasons: Sequence[str]) -> tuple[Excluded, ...]:
    """Realizations that were computed and do not count, each with its reason."""
    columns = ("run_id", "g1_true", "g2_true", "seed", "status")
    return tuple(
        Excluded(str(run_id), float(g1), float(g2), int(seed), str(status), reason)
        for run_id, g1, g2, seed, status, reason in zip(*(rows[c] for c in columns), reasons, strict=True)
    )

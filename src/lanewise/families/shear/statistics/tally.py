"""What became of the realizations of a plan: used, excluded or missing, and the status of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

STATUSES = ("ok", "uninformative", "misfit", "not_converged", "non_finite", "failed")


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
    """Realizations of the plan by what became of them.

    Attributes:
        n_used, n_excluded, n_missing: of those with a known truth.
        n_without_truth: realizations without a known truth, computed or missing; they do not enter a bias.
        excluded_frac: share excluded or missing of those with a known truth.
        statuses: of all realizations that were computed, with and without truth.
    """

    n_planned: int
    n_used: int
    n_excluded: int
    n_missing: int
    n_without_truth: int
    excluded_frac: float | None
    statuses: tuple[StatusCount, ...]


def with_truth(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which realizations have a known true shear: images from files may come without. All, where there is no shear."""
    return rows[[name for name in ("g1_true", "g2_true") if name in rows]].notna().all(axis=1)


def tally(rows: pd.DataFrame, *, n_used: int, n_missing: int, n_missing_without_truth: int = 0) -> Tally:
    """The realizations of the plan.

    Args:
        rows: all that were computed, of which `n_used` count.
        n_missing, n_missing_without_truth: those that were not, with and without a known truth.
    """
    computed = int(with_truth(rows).sum())
    unused, known = computed - n_used, computed + n_missing
    without_truth = len(rows) - computed + n_missing_without_truth
    found = [str(status) for status in rows["status"]]
    # Statuses that are none of ours come last.
    names = (*STATUSES, *sorted({*found} - {*STATUSES}))
    return Tally(
        n_planned=known + without_truth,
        n_used=n_used,
        n_excluded=unused,
        n_missing=n_missing,
        n_without_truth=without_truth,
        excluded_frac=(unused + n_missing) / known if known else None,
        statuses=tuple(StatusCount(name, found.count(name)) for name in names),
    )


def excluded(rows: pd.DataFrame, reasons: Sequence[str]) -> tuple[Excluded, ...]:
    """Realizations that were computed and do not count, each with its reason."""
    columns = ("run_id", "g1_true", "g2_true", "seed", "status")
    return tuple(
        Excluded(str(run_id), float(g1), float(g2), int(seed), str(status), reason)
        for run_id, g1, g2, seed, status, reason in zip(
            *(rows.reindex(columns=list(columns))[c] for c in columns), reasons, strict=True
        )
    )

"""summary.csv of a heterodyne campaign: one row per committed task, in the plan's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.tasks import extent_of
from lanewise.storage.record import Record

SEED = "fit.seed"
# Whole numbers that a failed task lacks; pandas would turn such columns into floats.
_WHOLE = ("n_data", "n_free", "agreement", "n_polished", "rounds", "seed")
_TEXT = (
    "run_id",
    "task",
    "input_filename",
    "status",
    "model",
    "best_model",
    "noise_model",
    "at_bounds",
    "cmc_sampler",
    "cmc_combination",
    "cmc_shards_lost",
    "cmc_shards_flagged",
    "data_sha256",
    "reason",
)


def collect(record: Record) -> pd.DataFrame:
    """The summary of all committed chunks, independent of the order they were committed in.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    return table(record, record.intact_rows())


def table(record: Record, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of the campaign's commits as a table, each column with its type.

    Undefined values are empty. The error of a value that the data do not determine is inf.
    """
    # Rows of different models have different columns; each keeps its place among those of its own row.
    columns = _merged([list(row) for row in rows])
    columns = columns or ["run_id", "task", "input_filename", *swept(record), "status", "reason"]
    frame = pd.DataFrame(rows, columns=columns)
    kept = {*_TEXT, *_WHOLE, *swept(record), "converged"}
    frame = frame.astype({name: float for name in columns if name not in kept})
    frame = frame.astype({name: "Int64" for name in _WHOLE if name in columns})
    for name in (column for column in columns if column.endswith(("_error", "_error_independent"))):
        # JSON has no infinity: a value without an error is one that the data do not determine.
        open_ = frame[name].isna() & frame[name.split("_error", maxsplit=1)[0]].notna()
        frame.loc[open_, name] = np.inf
    return frame


def _merged(orders: Sequence[list[str]]) -> list[str]:
    """The union of the lists; what is new in a list follows what is before it there."""
    found: list[str] = []
    for order in orders:
        at = 0
        for name in order:
            if name not in found:
                found.insert(at, name)
            at = found.index(name) + 1
    return found


def headline(rows: pd.DataFrame) -> list[str]:
    """The quantities that the data determine best, of all models in the table."""
    return list(dict.fromkeys(name for model in rows["model"].unique() for name in MODELS[model].headline))


def swept(record: Record) -> tuple[str, ...]:
    """The config paths that the campaign sweeps."""
    return tuple(extent_of(record.manifest).points[0])


@dataclass(frozen=True)
class SeedGroup:
    """Fits that differ only in the seed of their starts; they must find the same minimum.

    Attributes:
        label: what the fits share: the file, and the rest of the sweep.
        n, n_converged: number of fits, and of those that converged.
        chi2_spread: largest minus smallest χ² of the converged fits.
        shift: largest distance between two of their headline values, in units of the error.
    """

    label: str
    n: int
    n_converged: int
    chi2_spread: float | None
    shift: float | None


def seed_groups(summary: pd.DataFrame, keys: tuple[str, ...]) -> tuple[SeedGroup, ...]:
    """One group per file and point of the rest of the sweep; none if no seed is swept.

    Args:
        keys: config paths that the campaign sweeps.
    """
    if SEED not in keys or summary.empty:
        return ()
    others = [key for key in keys if key != SEED]
    # Compare as text: a swept value may be a list, which cannot be a key of a group.
    shared = summary[["data_sha256", *others]].astype(str).agg("\x1f".join, axis=1)
    return tuple(_seed_group(rows, others) for _, rows in summary.groupby(shared, sort=False))


def _seed_group(rows: pd.DataFrame, others: list[str]) -> SeedGroup:
    first = rows.iloc[0]
    label = ", ".join([str(first["input_filename"]), *(f"{key} = {first[key]}" for key in others)])
    good = rows[rows["status"] == "ok"]
    spread = shift = None
    if len(good) > 1:
        shifts = [float(np.ptp(good[name]) / good[f"{name}_error"].max()) for name in headline(good)]
        shift = max(filter(np.isfinite, shifts), default=None)
        spread = float(np.ptp(good["chi2"])) if good["chi2"].notna().all() else None
    return SeedGroup(label, len(rows), len(good), spread, shift)

"""NLSQ against CMC: where the fit and the posterior of the same data differ, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lanewise.families.heterodyne.models import MODELS

# Estimates agree within this many of the larger of both errors. A posterior below this share of the fit's error is
# narrowed by its prior or a bound.
WITHIN, _NARROWED = 2.0, 0.7


@dataclass(frozen=True)
class Row:
    """One quantity over the tasks that were fitted and sampled.

    Attributes:
        identifiable: whether it is one that the data determine.
        n, n_within: tasks with an error of both, and those of them that agree.
        worst_z: mean of the posterior minus the fit, over the larger error, where that is largest.
        worst_task: its task.
        ratio: median of the posterior's width over the fit's error; None if the fit gives no error.
        why: why they differ in the worst task; empty if they agree there.
    """

    quantity: str
    identifiable: bool
    n: int
    n_within: int
    worst_z: float
    worst_task: str
    ratio: float | None
    why: str


@dataclass(frozen=True)
class Comparison:
    """All quantities, those that the data determine first."""

    rows: tuple[Row, ...]

    @property
    def sentence(self) -> str:
        """How many pairs of a task and a quantity that the data determine agree."""
        found = [row for row in self.rows if row.identifiable]
        n, within = sum(row.n for row in found), sum(row.n_within for row in found)
        return f"{within} of {n} pairs of a task and a quantity that the data determine agree within {WITHIN:g}σ"


def compared(summary: pd.DataFrame) -> Comparison | None:
    """The comparison; None if no task was sampled.

    Args:
        summary: the table of summary.csv.
    """
    if "cmc_combination" in summary:
        # The posterior of one shard is wider than the fit of all data.
        summary = summary[summary["cmc_combination"] != "one shard"]
    rows = tuple(_rows(summary))
    return Comparison(rows) if rows else None


def _rows(summary: pd.DataFrame) -> Iterator[Row]:
    models = [MODELS[name] for name in summary["model"].unique() if name in MODELS] if "model" in summary else []
    headline = list(dict.fromkeys(name for model in models for name in model.headline))
    for name in dict.fromkeys([*headline, *(name for model in models for name in model.names)]):
        if f"{name}_cmc_sd" not in summary:
            continue
        columns = (summary[f"{name}{end}"] for end in ("", "_error", "_cmc_mean", "_cmc_sd"))
        value, error, mean, width = (column.to_numpy(float) for column in columns)
        larger = np.fmax(width, error)
        known = np.isfinite(larger) & (larger > 0) & np.isfinite(mean - value)
        if not known.any():
            continue
        z = np.where(known, (mean - value) / np.where(known, larger, 1.0), 0.0)
        worst = int(np.argmax(np.abs(z)))
        # A quantity that the fit holds fixed has no error.
        ratios = np.divide(width, error, out=np.full(len(width), np.nan), where=known & (error > 0))
        ratio = None if np.isnan(ratios).all() else float(np.nanmedian(ratios))
        within = np.abs(z[known]) <= WITHIN
        task = summary.iloc[worst]
        why = "" if within.all() else _why(name, str(task["at_bounds"]).split(), float(ratios[worst]))
        yield Row(
            name, name in headline, int(known.sum()), int(within.sum()), float(z[worst]), str(task["task"]), ratio, why
        )


def _why(name: str, at_bounds: list[str], ratio: float) -> str:
    if name in at_bounds:
        return "the fit ended at a bound, where its error ignores the bound"
    if np.isnan(ratio):
        return "the fit holds it fixed"
    if ratio < _NARROWED:
        return "the prior narrows what the data leave open"
    return "the posterior is not normal: its mean is not its mode"

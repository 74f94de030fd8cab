"""The shears of populations whose true one is not known: what such a campaign is carried out for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from lanewise.families.shear.statistics.selection import COMPONENTS
from lanewise.statistics.numbers import number, with_error


@dataclass(frozen=True)
class Row:
    """One component of the shear of a population.

    Attributes:
        galaxies: that are there, and that are neither failed nor doubtful.
        posterior: mean and width.
        likelihood: the same without the prior; a dash if the prior is not Gaussian.
        jackknife: error by leaving out galaxies.
    """

    run_id: str
    status: str
    galaxies: str
    component: str
    posterior: str
    likelihood: str
    jackknife: str


def unknown(summary: pd.DataFrame) -> list[Row]:
    """A row for each component of each population without a known shear; none for single images."""
    if "galaxies" not in summary:
        return []
    found = []
    for _, row in summary[summary["g1_true"].isna() & summary["g2_true"].isna()].iterrows():
        for name in COMPONENTS:
            if pd.notna(row[f"{name}_mean"]):
                n, n_failed = int(row["galaxies"]), int(row["galaxies_failed"])
                posterior, likelihood = (_measure(row, f"{name}{part}") for part in ("", "_lik"))
                jackknife = number(float(row[f"{name}_jackknife"]), ".2g")
                of = f"{n - n_failed} of {n}"
                status = str(row["status"]).replace("_", " ")
                found.append(Row(str(row["run_id"]), status, of, name, posterior, likelihood, jackknife))
    return found


def _measure(row: pd.Series, name: str) -> str:
    value, error = (float(row.get(f"{name}_{what}", math.nan)) for what in ("mean", "std"))
    return with_error(value, error) if math.isfinite(value) and math.isfinite(error) else "–"

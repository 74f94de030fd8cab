"""summary.csv: one row per committed realization, in the plan's order."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lanewise.errors import Complaint, Damaged, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.columns import FREE_COLUMNS, POPULATION_COLUMNS, SUMMARY_COLUMNS
from lanewise.families.shear.priors import Prior
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.selection import COMPONENTS, Component
from lanewise.storage.record import Record

Priors = tuple[GaussianPrior | None, GaussianPrior | None]

# Columns of whole numbers or truth values that may be undefined: pandas would turn them into floats.
_WHOLE = {"divergences": "Int64", "seed": "Int64", "retries": "Int64", "passed_convergence": "boolean"}
_REQUIRED = ("run_id", "g1_true", "g2_true", "g1_mean", "g1_std", "g2_mean", "g2_std", "passed_convergence", "seed")
# Of one column; a table that is wrong in one way is wrong in every row.
_COMPLAINTS = 5
_TEXT = ("run_id", "status", "method_used", "ess_kind", "reason")


def collect(record: Record) -> pd.DataFrame:
    """The summary of all committed chunks, independent of the order they were committed in.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    return with_likelihood(table(record.intact_rows()), priors(record))


def survey(record: Record) -> tuple[pd.DataFrame, dict[int, Damaged]]:
    """The summary of all chunks that can be read, and by chunk index why others that are committed cannot."""
    rows, damaged = record.rows()
    return with_likelihood(table(rows), priors(record)), damaged


def with_likelihood(summary: pd.DataFrame, of: Priors) -> pd.DataFrame:
    """The table with g1_lik_mean, g1_lik_std and g2's: each posterior divided by its Gaussian prior.

    For looking at single realizations. Where the prior speaks, the posterior's width is too noisy to divide by, and the
    bias is taken from the raw columns with one pull for the whole campaign (`estimates.Shrinkage`).
    """
    freed = summary.copy()
    for component, prior in zip(COMPONENTS, of, strict=True):
        if prior is not None:
            mean, width = summary[f"{component}_mean"], summary[f"{component}_std"]
            precision = width**-2.0 - prior.sigma**-2.0
            told = precision.where(precision > 0)
            freed[f"{component}_lik_mean"] = (mean * width**-2.0 - prior.mean * prior.sigma**-2.0) / told
            freed[f"{component}_lik_std"] = told**-0.5
    return freed


def priors(record: Record) -> Priors:
    """The Gaussian priors on g1 and g2; None where the prior is another one or the component is fixed."""
    latents = shear_config.of(record.manifest).latents
    found = [latents.get(name) for name in COMPONENTS]
    g1, g2 = (GaussianPrior(*p.values) if p is not None and p.type == "Normal" else None for p in found)
    return g1, g2


def unlike(record: Record) -> dict[Component, Prior]:
    """The priors on g1 and g2 that are not Gaussian."""
    latents = shear_config.of(record.manifest).latents
    return {name: latents[name] for name in COMPONENTS if name in latents and latents[name].type != "Normal"}


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the contract's columns, also where there are none."""
    own = POPULATION_COLUMNS if any("galaxies" in row for row in rows) else ()
    free = [name for name in FREE_COLUMNS if any(name in row for row in rows)]
    frame = pd.DataFrame(rows, columns=[*SUMMARY_COLUMNS, *own, *free])
    numbers = [name for name in frame.columns if name not in _TEXT and name not in _WHOLE]
    return frame.astype({**_WHOLE, **dict.fromkeys(numbers, float)})


def from_csv(data: bytes, source: str) -> pd.DataFrame:
    """A table that `to_csv` wrote, or one with at least its columns.

    Raises:
        ManifestError: the table lacks columns.
    """
    try:
        frame = pd.read_csv(io.BytesIO(data))
    except (ValueError, pd.errors.ParserError) as error:  # also empty, binary and torn files
        raise ManifestError([Complaint(source, 0, "", f"cannot be read as CSV: {error}")]) from None
    lacking = [name for name in _REQUIRED if name not in frame.columns]
    if lacking:
        raise ManifestError(
            [Complaint(source, 1, "", f"expected the columns of summary.csv, got none named {', '.join(lacking)}")]
        )
    own = [name for name in (*POPULATION_COLUMNS, *FREE_COLUMNS) if name in frame]
    frame = frame.reindex(columns=[*SUMMARY_COLUMNS, *own])
    complaints = [
        Complaint(source, int(bad) + 2, name, f"expected {what}, got '{frame[name][bad]}'")
        for name, what, fine in _expectations(frame)
        for bad in frame.index[~fine][:_COMPLAINTS]
    ]
    if complaints:
        raise ManifestError(complaints)
    return frame


def _expectations(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series[bool]]]:
    """Column, what its values must be, and which are."""
    yield "run_id", "a run id that no other row has", ~frame["run_id"].duplicated()
    seed = pd.to_numeric(frame["seed"], errors="coerce")
    yield "seed", "a whole number", seed.notna() & (seed % 1 == 0)
    for name in ("g1_true", "g2_true"):
        yield name, "a number", pd.to_numeric(frame[name], errors="coerce").notna()
    for name in (column for column in frame.columns if column.endswith(("_mean", "_std", "_median"))):
        yield name, "a number or nothing", pd.to_numeric(frame[name], errors="coerce").notna() | frame[name].isna()

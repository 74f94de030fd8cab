"""The report of a model campaign: one HTML file. It needs no network and no other file, and contains no path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lanewise.families.calibration.results import CalibrationResults
from lanewise.manifest.manifest import Convergence
from lanewise.manifest.protocols import DamagedChunk
from lanewise.report.canvas import Picture
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline

_MEAN = "_mean"


@dataclass(frozen=True)
class Element:
    """One element of a site over all data sets with draws.

    Attributes:
        n: number of data sets.
        low, centre, high: 5 %, 50 % and 95 % of the posterior means over the data sets.
        sd: median of the posterior standard deviations.
        rhat: largest R̂; ess: smallest effective sample size; None where undefined.
    """

    name: str
    n: int
    low: float
    centre: float
    high: float
    sd: float | None
    rhat: float | None
    ess: float | None


@dataclass(frozen=True)
class Survey:
    """The outcome of a model campaign.

    Attributes:
        n_planned: number of data sets.
        statuses, methods: status, or method that computed it → number of committed data sets.
        elements: the model's sites.
        not_ok: id, status and reason of each committed data set that is not ok.
        missing: ids of data sets that are not committed, or whose chunk is damaged.
        damaged: committed chunks that cannot be read.
    """

    n_planned: int
    statuses: Mapping[str, int]
    methods: Mapping[str, int]
    elements: tuple[Element, ...]
    not_ok: tuple[tuple[str, str, str], ...]
    missing: tuple[str, ...]
    damaged: tuple[DamagedChunk, ...] = ()

    def __repr__(self) -> str:
        """The outcome in one sentence."""
        return self.headline

    @property
    def n_ok(self) -> int:
        """Number of data sets whose posterior can be used."""
        return self.statuses.get("ok", 0)

    @property
    def complete(self) -> bool:
        """Whether every data set is ok."""
        return self.n_ok == self.n_planned

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        parts = [f"{n} {status.replace('_', ' ')}" for status, n in self.statuses.items() if status != "ok"]
        parts += [f"{len(self.missing)} missing"] * bool(self.missing)
        return f"{self.n_ok} of {self.n_planned} data sets converged" + (f"; {', '.join(parts)}" if parts else "")


def elements(summary: pd.DataFrame) -> tuple[Element, ...]:
    """The model's sites over the data sets that are ok."""
    usable = summary[summary["status"] == "ok"]
    names = [column.removesuffix(_MEAN) for column in usable.columns if column.endswith(_MEAN)]
    # A site named "mean" has the columns rhat_mean and ess_mean, too.
    names = [name for name in names if {f"{name}_sd", f"{name}_q05", f"{name}_q95"} <= set(usable.columns)]
    return tuple(_element(name, usable) for name in names if usable[f"{name}{_MEAN}"].notna().any())


def _element(name: str, usable: pd.DataFrame) -> Element:
    means = usable[f"{name}{_MEAN}"].dropna().astype(float)
    low, centre, high = (float(means.quantile(q)) for q in (0.05, 0.5, 0.95))

    def extreme(column: str, how: str) -> float | None:
        values = usable[column].dropna().astype(float) if column in usable else pd.Series(dtype=float)
        return None if values.empty else float(getattr(values, how)())

    sd, rhat, ess = extreme(f"{name}_sd", "median"), extreme(f"rhat_{name}", "max"), extreme(f"ess_{name}", "min")
    return Element(name, len(means), low, centre, high, sd, rhat, ess)


def thresholds(of: Convergence) -> str:
    """What a sampled data set must meet, in words."""
    parts = [f"R̂ ≤ {of.rhat_max:g} and effective sample size ≥ {of.ess_min:g} for every latent"]
    for name, own in of.sites:
        limits = [] if own.rhat_max is None else [f"R̂ ≤ {own.rhat_max:g}"]
        limits += [] if own.ess_min is None else [f"effective sample size ≥ {own.ess_min:g}"]
        parts.append(f"for {name} {' and '.join(limits)}")
    return ", but ".join([parts[0], ", ".join(parts[1:])] if parts[1:] else parts)


def render(
    survey: Survey,
    summary: pd.DataFrame,
    plots: Mapping[str, tuple[str, Picture]],
    context: Context,
    columns: Sequence[str],
    criteria: Convergence,
    calibrated: CalibrationResults | None = None,
) -> str:
    """The report as HTML.

    Args:
        summary: the table of `summary.csv`.
        plots: name → caption and SVG.
        context: facts about the campaign that are not in the numbers.
        columns: the columns of the data, with their units.
        criteria: thresholds of a data set that is ok.
        calibrated: ranks and coverage of the simulated data sets; None if the campaign has none.
    """
    page = environment("lanewise.families.model")
    shown = {name: Plot(caption, inline(name, picture), wide=True) for name, (caption, picture) in plots.items()}
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        for row in summary.astype(object).where(summary.notna(), None).head(ROWS_SHOWN).to_dict("records")
    ]
    return page.get_template("report.html.j2").render(
        s=survey,
        r=calibrated,
        columns=columns,
        thresholds=thresholds(criteria),
        rows=rows,
        n_rows=len(summary),
        context=context,
        plots=shown,
        rows_shown=ROWS_SHOWN,
    )

"""The report of a heterodyne campaign: one HTML file. It needs no network and no other file, and contains no path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lanewise.families.heterodyne import cmc_comparison, models
from lanewise.families.heterodyne.summary import SeedGroup
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.protocols import DamagedChunk
from lanewise.report.canvas import Picture
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline
from lanewise.statistics.numbers import number, with_error


@dataclass(frozen=True)
class Survey:
    """The outcome of a heterodyne campaign.

    Attributes:
        n_planned: number of tasks in the plan.
        statuses: status → number of committed tasks.
        keys: config paths that are swept.
        groups: groups of fits that differ only in their seed.
        not_ok: name, status and reason of each committed task that is not ok.
        missing: tasks that are not committed, or whose chunk is damaged.
        damaged: committed chunks that cannot be read.
    """

    n_planned: int
    statuses: Mapping[str, int]
    keys: tuple[str, ...]
    groups: tuple[SeedGroup, ...]
    not_ok: tuple[tuple[str, str, str], ...]
    missing: tuple[Task, ...]
    damaged: tuple[DamagedChunk, ...] = ()

    def __repr__(self) -> str:
        """The outcome in one sentence."""
        return self.headline

    @property
    def n_converged(self) -> int:
        """Number of tasks whose fit converged."""
        return self.statuses.get("ok", 0)

    @property
    def complete(self) -> bool:
        """Whether the fit of every task in the plan converged."""
        return self.n_converged == self.n_planned

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        words = {"not_converged": "not converged", "failed": "failed"}
        parts = [f"{n} {words.get(status, status)}" for status, n in self.statuses.items() if status != "ok"]
        parts += [f"{len(self.missing)} missing"] * bool(self.missing)
        return f"{self.n_converged} of {self.n_planned} tasks converged" + (f"; {', '.join(parts)}" if parts else "")


def render(survey: Survey, summary: pd.DataFrame, plots: Sequence[tuple[str, str, Picture]], context: Context) -> str:
    """The report as HTML.

    Args:
        summary: the table of `summary.csv`.
        plots: name, caption and SVG of each plot.
        context: facts about the campaign that are not in the numbers.
    """
    page = environment("lanewise.families.heterodyne")
    page.filters |= {"estimate": _estimate, "plain_value": _value}
    shown = [Plot(caption, inline(name, picture), wide=True) for name, caption, picture in plots]
    return page.get_template("report.html.j2").render(
        s=survey,
        rows=_rows(summary),
        shown=models.shown(summary.get("model", ())),
        compared=[name for name in models.MODELS if f"delta_bic_{name}" in summary],
        contrasted=cmc_comparison.compared(summary),
        weighted="khat" in summary and bool(summary["khat"].notna().any()),
        sampled="cmc_combination" in summary and bool(summary["cmc_combination"].notna().any()),
        sharded="cmc_shards" in summary and bool(summary["cmc_shards"].notna().any()),
        context=context,
        plots=shown,
        rows_shown=ROWS_SHOWN,
    )


def _rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """One mapping per row for the template; undefined values are None."""
    plain = summary.astype(object).where(summary.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _value(value: object) -> str:
    """A value of a sweep."""
    return number(float(value), "g") if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _estimate(row: Mapping[str, Any], name: str) -> str:
    """A value with its error; "(open)" if the error is infinite, and no error if the value was fixed.

    Under speckle noise, the error for independent noise follows in brackets where the summary has it.
    """
    value, error = row.get(name), row.get(f"{name}_error")
    if value is None:
        return "–"
    if error == float("inf"):
        return f"{number(value)} (open)"
    second = row.get(f"{name}_error_independent") if row.get("noise_model") == "speckle" else None
    return with_error(value, error, sign="", second=second)

"""The report of a heterodyne campaign: one HTML file that needs no network and no file beside it, nor knows a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lanewise.families.heterodyne.summary import SeedGroup
from lanewise.manifest.protocols import DamagedChunk
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline
from lanewise.statistics.verdict import with_error


@dataclass(frozen=True)
class Missing:
    """A task of the plan that is not committed."""

    run_id: str
    name: str


@dataclass(frozen=True)
class Survey:
    """What a heterodyne campaign came to.

    Attributes:
        n_planned: tasks of the plan.
        statuses: status → number of committed tasks.
        keys: config paths that are swept.
        groups: fits that differ in their seed alone.
        not_ok: name, status and reason of the tasks that were computed and are not ok.
        missing: tasks that are not committed, or of a chunk that is damaged.
        damaged: committed chunks that cannot be read.
    """

    n_planned: int
    statuses: Mapping[str, int]
    keys: tuple[str, ...]
    groups: tuple[SeedGroup, ...]
    not_ok: tuple[tuple[str, str, str], ...]
    missing: tuple[Missing, ...]
    damaged: tuple[DamagedChunk, ...] = ()

    @property
    def n_converged(self) -> int:
        """Tasks whose fit is converged."""
        return self.statuses.get("ok", 0)

    @property
    def complete(self) -> bool:
        """Whether every task of the plan is converged."""
        return self.n_converged == self.n_planned

    @property
    def headline(self) -> str:
        """The outcome in words."""
        words = {"not_converged": "not converged", "failed": "failed"}
        parts = [f"{n} {words.get(status, status)}" for status, n in self.statuses.items() if status != "ok"]
        parts += [f"{len(self.missing)} missing"] * bool(self.missing)
        return f"{self.n_converged} of {self.n_planned} tasks converged" + (f"; {', '.join(parts)}" if parts else "")


def render(survey: Survey, summary: pd.DataFrame, plots: Sequence[tuple[str, str, bytes]], context: Context) -> str:
    """The page.

    Args:
        summary: the table of `summary.csv`.
        plots: name, caption and SVG of each.
        context: what the numbers do not say.
    """
    page = environment("lanewise.families.heterodyne")
    page.filters |= {"estimate": _estimate}
    shown = [Plot(caption, inline(name, svg)) for name, caption, svg in plots]
    return page.get_template("report.html.j2").render(
        s=survey, rows=_rows(summary), context=context, plots=shown, rows_shown=ROWS_SHOWN
    )


def _rows(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as the template takes them: what is undefined is None."""
    plain = summary.astype(object).where(summary.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _estimate(row: Mapping[str, Any], name: str) -> str:
    """A value with its error; one that the data leave open says so, a fixed one has none."""
    value, error = row.get(name), row.get(f"{name}_error")
    if value is None:
        return "–"
    if error == float("inf"):
        return f"{with_error(value, None)} (open)"
    return with_error(value, error)

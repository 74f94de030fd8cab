"""Figures of a model campaign: posterior means of each site over the data sets, and predictions of the worst ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lanewise.engine.results import Result
from lanewise.families.model import predictive
from lanewise.families.model.datasets import identifier_of
from lanewise.families.model.report import Element, Survey
from lanewise.report.canvas import PALETTE, Picture, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _WIDTH, _HEIGHT, _MOST = 4, 7.6, 1.6, 24  # [inch], panels
# Data sets whose predictions are shown.
WORST = 6
_BAND = (0.05, 0.95)


def of_sites(survey: Survey, summary: pd.DataFrame) -> dict[str, tuple[str, Picture]]:
    """Name → caption and SVG; empty where nothing has converged."""
    shown = survey.elements[:_MOST]
    if not shown:
        return {}
    rows = -(-len(shown) // _COLUMNS)
    left = f" The first {_MOST} of {len(survey.elements)}." if len(survey.elements) > _MOST else ""
    caption = (
        f"Histograms of the posterior means of {survey.n_ok} data sets, one panel for each site. The bar is the "
        f"median width of the posteriors, ± 1σ.{left}"
    )
    draw = partial(_panels, shown, summary[summary["status"] == "ok"])
    return {"sites": (caption, drawn("sites", draw, (_WIDTH, 0.3 + _HEIGHT * rows)))}


def _panels(shown: Sequence[Element], usable: pd.DataFrame, figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(shown) // _COLUMNS)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    figure.subplots_adjust(
        0.07, 0.28 / (0.3 + rows * _HEIGHT), 0.99, 1 - 0.25 / (0.3 + rows * _HEIGHT), hspace=0.6, wspace=0.25
    )
    for one, panel in zip(shown, axes, strict=False):
        means = usable[f"{one.name}_mean"].dropna().astype(float)
        counts, _, _ = panel.hist(means, bins=min(40, max(5, len(means) // 5)), color=PALETTE["g1"], alpha=0.8)
        if one.sd is not None:
            height = 0.5 * float(counts.max())
            panel.errorbar(one.centre, height, xerr=one.sd, color=PALETTE["ink"], linewidth=1, capsize=3)
        panel.set_title(one.name, fontsize=8.5, pad=3)
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panel.tick_params(labelsize=8)
        panel.locator_params(axis="x", nbins=4)
    for panel in axes[: len(shown) : _COLUMNS]:
        panel.set_ylabel("data sets")
    for panel in axes[len(shown) :]:
        panel.set_visible(False)


def worst(summary: pd.DataFrame) -> list[str]:
    """Run ids of the data sets that look least like what their posteriors predict; empty without predictions."""
    if predictive.PPC not in summary:
        return []
    tails = summary.set_index("run_id")[predictive.PPC].dropna()
    # Near 1, the data scatter less than predicted.
    return list(tails.clip(upper=1 - tails).nsmallest(WORST).index)


def of_predictions(results: Sequence[Result]) -> dict[str, tuple[str, Picture]]:
    """Data over the range that the posterior predicts, one panel per data set and the first observed site."""
    if not results:
        return {}
    caption = (
        "Data (points) and the 5 % to 95 % of posterior predictive draws (bars) of the data sets that look least like "
        "what is predicted. p: share of predicted data sets that scatter at least as much."
    )
    rows = -(-len(results) // 3)
    return {"predictions": (caption, drawn("predictions", partial(_predictions, results), (_WIDTH, 0.3 + 1.9 * rows)))}


def _predictions(results: Sequence[Result], figure: Figure) -> None:
    rows = -(-len(results) // 3)
    height = 0.3 + 1.9 * rows
    axes = figure.subplots(rows, 3, squeeze=False).ravel()
    figure.subplots_adjust(0.06, 0.35 / height, 0.99, 1 - 0.25 / height, hspace=0.5, wspace=0.3)
    for one, panel in zip(results, axes, strict=False):
        name, drawn = sorted(one.groups["posterior_predictive"].items())[0]
        seen = one.groups["observed_data"][name].ravel()
        low, high = np.quantile(drawn.reshape(-1, seen.size), _BAND, axis=0)
        column, x = _abscissa(one, seen.size)
        panel.vlines(x, low, high, color=PALETTE["g1"], alpha=0.35, linewidth=2.5)
        panel.plot(x, seen, ".", color=PALETTE["ink"], markersize=3)
        panel.set_title(f"{identifier_of(one.run_id)}: p = {predictive.tail(one):.3f}", fontsize=8.5, pad=3)
        panel.set_xlabel(_label(one, column), fontsize=8, labelpad=1)
        panel.set_ylabel(_label(one, name), fontsize=8, labelpad=1)
        panel.tick_params(labelsize=8)
    for panel in axes[len(results) :]:
        panel.set_visible(False)


def _label(result: Result, name: str) -> str:
    return f"{name} [{result.units[name]}]" if name in result.units else name


def _abscissa(result: Result, n: int) -> tuple[str, np.ndarray]:
    """The first column that is not observed and has a value per datum; else the number of the datum."""
    for name, values in result.groups.get("constant_data", {}).items():
        if values.shape == (n,):
            return name, values
    return "datum", np.arange(n, dtype=float)

"""Figures of a model campaign: how the posterior means of each site are distributed over the data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from lanewise.families.model.report import Element, Survey
from lanewise.report.canvas import PALETTE, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS, _WIDTH, _HEIGHT, _MOST = 4, 7.6, 1.6, 24  # [inch], panels


def of_sites(survey: Survey, summary: pd.DataFrame) -> dict[str, tuple[str, bytes]]:
    """Name → caption and SVG; empty where nothing has converged."""
    shown = survey.elements[:_MOST]
    if not shown:
        return {}
    rows = -(-len(shown) // _COLUMNS)
    left = f" The first {_MOST} of {len(survey.elements)}." if len(survey.elements) > _MOST else ""
    caption = f"Posterior means of {survey.n_ok} data sets. Bar: the median posterior width, ± 1σ.{left}"
    picture = svg("sites", partial(_panels, shown, summary[summary["status"] == "ok"]), (_WIDTH, 0.3 + _HEIGHT * rows))
    return {"sites": (caption, picture)}


def _panels(shown: Sequence[Element], usable: pd.DataFrame, figure: Figure) -> None:
    rows = -(-len(shown) // _COLUMNS)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    figure.subplots_adjust(0.03, 0.28 / (0.3 + rows * _HEIGHT), 0.99, 1 - 0.25 / (0.3 + rows * _HEIGHT), hspace=0.6)
    for one, panel in zip(shown, axes, strict=False):
        means = usable[f"{one.name}_mean"].dropna().astype(float)
        counts, _, _ = panel.hist(means, bins=min(40, max(5, len(means) // 5)), color=PALETTE["g1"], alpha=0.8)
        if one.sd is not None:
            height = 0.5 * float(counts.max())
            panel.errorbar(one.centre, height, xerr=one.sd, color=PALETTE["ink"], linewidth=1, capsize=3)
        panel.set_title(one.name, fontsize=8.5, pad=3)
        panel.set_yticks([])
        panel.tick_params(labelsize=7)
        panel.locator_params(axis="x", nbins=4)
    for panel in axes[len(shown) :]:
        panel.set_visible(False)

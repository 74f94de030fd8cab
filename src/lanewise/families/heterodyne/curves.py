"""Curves of one fit as SVG: the correlation against the lag, and the rates against the age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lanewise.families.heterodyne.figures import titles_of
from lanewise.report.canvas import PALETTE, Picture, drawn
from lanewise.statistics.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("g1", "g2", "third", "fourth")
_COLUMNS = 3
# Points per curve.
_POINTS = 60


def cuts(task: str, arrays: Mapping[str, np.ndarray]) -> Picture:
    """The correlation against the lag at some ages, data and model with its band: one panel per angle, at most three.

    Args:
        arrays: those of the fit's NPZ.
    """
    return drawn(f"cuts-{task}", partial(_cuts, arrays), size=(9.6, 3.3))


def rates(task: str, arrays: Mapping[str, np.ndarray], labels: Sequence[str]) -> Picture:
    """The rates and speeds of the model against the age, with their bands.

    Args:
        arrays: those of the fit's NPZ.
        labels: `Model.rates`.
    """
    return drawn(f"rates-{task}", partial(_rates, arrays, labels), size=(3.2 * len(labels), 2.8))


def _cuts(arrays: Mapping[str, np.ndarray], figure: Figure) -> None:
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    t, titles = arrays["t"], titles_of(arrays)
    shown = np.unique(np.linspace(0, len(titles) - 1, min(len(titles), _COLUMNS)).astype(int))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, angle in zip(panels, shown, strict=True):
        for cut, frame in enumerate(arrays["cut_frames"].astype(int)):
            colour = PALETTE[_COLOURS[cut % len(_COLOURS)]]
            later = np.arange(frame + 1, len(t))
            later = later[np.unique(np.geomspace(1, len(later), _POINTS).astype(int) - 1)] if len(later) else later
            lag = t[later] - t[frame]
            axes.plot(lag, arrays["cuts_data"][angle, cut, later], ".", color=colour, markersize=3)
            values, errors = (arrays[name][angle, cut, later] for name in ("cuts", "cuts_errors"))
            _band(axes, lag, values, errors, colour, f"age {number(float(t[frame]))} s")
        axes.set_xscale("log")
        axes.set_title(titles[angle], fontsize=9)
        axes.set_xlabel("lag [s]")
    panels[0].set_ylabel("c₂")
    panels[-1].legend(fontsize=8)


def _rates(arrays: Mapping[str, np.ndarray], labels: Sequence[str], figure: Figure) -> None:
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, label, values, errors in zip(panels, labels, arrays["rates"], arrays["rates_errors"], strict=True):
        _band(axes, arrays["t"], values, errors, PALETTE["g1"], "")
        axes.axvline(float(arrays["t_ref"]), color=PALETTE["muted"], linewidth=0.6, linestyle=":")
        axes.set_ylabel(label)
        if label.startswith("J"):
            axes.set_ylim(bottom=0)
        axes.set_xlabel("age [s]")


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, errors: np.ndarray, colour: str, label: str) -> None:
    """A line with a band of one error; no band where the data do not determine the value."""
    axes.plot(x, values, color=colour, linewidth=1.2, label=label)
    half = np.where(np.isfinite(errors), errors, np.nan)
    axes.fill_between(x, values - half, values + half, color=colour, alpha=0.25, linewidth=0)

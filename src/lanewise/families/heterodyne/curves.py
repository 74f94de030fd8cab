"""Curves of one fit as SVG: the correlation against the lag, and the rates against the age."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lanewise.families.heterodyne.cmc_result import CUTS, CUTS_NEW_SDS, CUTS_SDS
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
# Half of the range of 95 % of a normal distribution [standard deviation].
_TAIL_95 = 1.96


def cuts(task: str, arrays: Mapping[str, np.ndarray]) -> Picture:
    """The correlation against the lag at some ages, data and model with its band: one panel per angle, at most three.

    Args:
        arrays: those of the fit's NPZ.
    """
    return drawn(f"cuts-{task}", partial(_cuts, arrays), size=(9.6, 3.3))


def predicted(task: str, arrays: Mapping[str, np.ndarray]) -> Picture:
    """As `cuts`, by the posterior: the model with one standard deviation, and where 95 % of new values fall.

    Args:
        arrays: those of the NPZ of a sampled fit.
    """
    return drawn(f"predicted-{task}", partial(_predicted, arrays), size=(9.6, 3.3))


def share_predicted(arrays: Mapping[str, np.ndarray]) -> float:
    """Share of the values along the cuts that are where 95 % of new values fall."""
    off = np.abs(arrays["cuts_data"] - arrays[CUTS]) / arrays[CUTS_NEW_SDS]
    return float(np.mean(off[np.isfinite(off)] < _TAIL_95))


def rates(task: str, arrays: Mapping[str, np.ndarray], labels: Sequence[str]) -> Picture:
    """The rates and speeds of the model against the age, with their bands.

    Args:
        arrays: those of the fit's NPZ.
        labels: `Model.rates`.
    """
    return drawn(f"rates-{task}", partial(_rates, arrays, labels), size=(3.2 * len(labels), 2.8))


def _cuts(arrays: Mapping[str, np.ndarray], figure: Figure) -> None:
    for axes, at, later, lag, colour, label in _panels(arrays, figure):
        values, errors = (arrays[name][*at, later] for name in ("cuts", "cuts_errors"))
        _band(axes, lag, values, errors, colour, label)
    figure.axes[-1].legend(fontsize=8)


def _predicted(arrays: Mapping[str, np.ndarray], figure: Figure) -> None:
    for axes, at, later, lag, colour, label in _panels(arrays, figure):
        values, errors, new = (arrays[name][*at, later] for name in (CUTS, CUTS_SDS, CUTS_NEW_SDS))
        _band(axes, lag, values, errors, colour, label)
        half = _TAIL_95 * new
        axes.fill_between(lag, values - half, values + half, color=colour, alpha=0.12, linewidth=0)
    figure.axes[-1].legend(fontsize=8)


def _panels(
    arrays: Mapping[str, np.ndarray], figure: Figure
) -> Iterator[tuple[Axes, tuple[int, int], np.ndarray, np.ndarray, str, str]]:
    """Draw the data of each cut.

    Yields:
        The panel, angle and number of the cut, the frames that are shown and their lag [s], its colour and its label.
    """
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    t, titles = arrays["t"], titles_of(arrays)
    shown = np.unique(np.linspace(0, len(titles) - 1, min(len(titles), _COLUMNS)).astype(int))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    panels[0].set_ylabel("c₂")
    for axes, angle in zip(panels, shown, strict=True):
        axes.set_xscale("log")
        axes.set_title(titles[angle], fontsize=9)
        axes.set_xlabel("lag [s]")
        for cut, frame in enumerate(arrays["cut_frames"].astype(int)):
            later = np.arange(frame + 1, len(t))
            later = later[np.unique(np.geomspace(1, len(later), _POINTS).astype(int) - 1)] if len(later) else later
            lag, colour = t[later] - t[frame], PALETTE[_COLOURS[cut % len(_COLOURS)]]
            axes.plot(lag, arrays["cuts_data"][angle, cut, later], ".", color=colour, markersize=3)
            yield axes, (int(angle), cut), later, lag, colour, f"age {number(float(t[frame]))} s"


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

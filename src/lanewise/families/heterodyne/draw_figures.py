"""Draws of a posterior: every two quantities that the data determine, beside the fit; traces of chains; shards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.families.heterodyne.cmc_result import DRAWS
from lanewise.report.canvas import PALETTE, Picture, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Draws that are shown as points, and cells of a histogram.
_POINTS, _CELLS = 150, 24
# Points of a trace, and the colours of its chains.
_TRACE_POINTS, _CHAINS = 600, ("g1", "g2", "third", "fourth")


def corner(
    task: str, arrays: Mapping[str, np.ndarray], fit: Mapping[str, tuple[float, float]], titles: Mapping[str, str]
) -> Picture:
    """Draws of every two quantities, and a histogram of each, with the fit and its error.

    Args:
        arrays: those of the NPZ.
        fit: quantity → its value and error in the fit; the quantities that are shown.
        titles: quantity → its label with its unit.
    """
    shown = [name for name in fit if f"{DRAWS}{name}" in arrays]
    side = 0.6 + 1.7 * len(shown)
    return drawn(f"corner-{task}", partial(_corner, arrays, fit, titles, shown), size=(side, side))


def traces(task: str, draws: Mapping[str, np.ndarray]) -> Picture:
    """The draws of each quantity in their order, one line per chain.

    Args:
        draws: label of a quantity → its draws, shape (chain, draw).
    """
    return drawn(f"traces-{task}", partial(_traces, draws), size=(9.6, 0.6 + 1.4 * len(draws)))


def shards(task: str, cmc: Mapping[str, Any], labels: Mapping[str, str]) -> Picture:
    """Each shard's mean and standard deviation, and those of all data as a band; over the age if it splits them.

    Args:
        cmc: the section of result.json.
        labels: the quantities that are shown, and their labels.
    """
    return drawn(f"shards-{task}", partial(_shards, cmc, labels), size=(9.6, 3.0))


def _traces(draws: Mapping[str, np.ndarray], figure: Figure) -> None:
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    panels = figure.subplots(len(draws), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, chains) in zip(panels, draws.items(), strict=True):
        for chain, values in enumerate(chains):
            at = np.unique(np.linspace(0, len(values) - 1, _TRACE_POINTS).astype(int))
            axes.plot(at, values[at], color=PALETTE[_CHAINS[chain % len(_CHAINS)]], linewidth=0.6, alpha=0.8)
        axes.set_ylabel(name)
    panels[-1].set_xlabel("draw; a colour is a chain")


def _shards(cmc: Mapping[str, Any], labels: Mapping[str, str], figure: Figure) -> None:
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    rows = [row for row in cmc["shards"]["table"] if row["means"]]
    by_age = cmc["shards"]["by"] == "age"
    places = [np.mean(row["ages"]) if by_age else row["shard"] for row in rows]
    panels = figure.subplots(1, len(labels), squeeze=False)[0]
    for axes, (name, label) in zip(panels, labels.items(), strict=True):
        mean, sd = cmc["means"][name], cmc["sds"][name]
        axes.axhspan(mean - sd, mean + sd, color=PALETTE["g2"], alpha=0.2, linewidth=0)
        axes.axhline(mean, color=PALETTE["g2"], linewidth=0.8)
        values, errors = ([row[what][name] for row in rows] for what in ("means", "sds"))
        axes.errorbar(places, values, errors, fmt="o", color=PALETTE["g1"], markersize=4, linewidth=1)
        axes.set_ylabel(label)
        axes.set_xlabel("mean age of the shard's values [s]" if by_age else "shard")
        if not by_age:
            axes.xaxis.get_major_locator().set_params(integer=True)


def _corner(
    arrays: Mapping[str, np.ndarray],
    fit: Mapping[str, tuple[float, float]],
    titles: Mapping[str, str],
    shown: Sequence[str],
    figure: Figure,
) -> None:
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.98))
    draws = {name: arrays[f"{DRAWS}{name}"].reshape(-1) for name in shown}
    panels = figure.subplots(len(shown), len(shown), squeeze=False, sharex="col")
    for line, across in zip(panels, shown, strict=True):
        for axes, along in zip(line, shown, strict=True):
            if shown.index(along) > shown.index(across):
                axes.set_axis_off()
                continue
            _panel(axes, draws[along], draws[across] if along != across else None)
            _mark(axes.axvspan, axes.axvline, *fit[along])
            if along != across:
                _mark(axes.axhspan, axes.axhline, *fit[across])
            axes.tick_params(labelsize=7, labelleft=along == shown[0] and along != across)
            if across == shown[-1]:
                axes.set_xlabel(titles.get(along, along))
        if line[0].axison:
            line[0].set_ylabel(titles.get(across, across) if across != shown[0] else "")


def _panel(axes: Axes, x: np.ndarray, y: np.ndarray | None) -> None:
    if y is None:
        axes.hist(x, bins=_CELLS, color=PALETTE["g1"], alpha=0.6)
        axes.set_yticks([])
        return
    every = max(1, len(x) // _POINTS)
    axes.plot(x[::every], y[::every], ".", color=PALETTE["g1"], markersize=1.5)


def _mark(span: Callable[..., Any], line: Callable[..., Any], value: float, error: float) -> None:
    """The value of the fit with its error."""
    if np.isfinite(error):
        span(value - error, value + error, color=PALETTE["g2"], alpha=0.2, linewidth=0)
    line(value, color=PALETTE["g2"], linewidth=0.8)

"""Plots of a heterodyne campaign as SVG: parameters against the swept values, and residuals of the worst fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lanewise.families.heterodyne import models
from lanewise.report.canvas import PALETTE, Picture, drawn
from lanewise.statistics.numbers import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3
# Swept values with a larger ratio of maximum to minimum get a logarithmic axis.
_LOG_AXIS_RATIO = 20.0
_TICKS = 12


def over(summary: pd.DataFrame, key: str) -> Picture:
    """The parameters that the report shows against one swept key, or the files if the key is `input_filename`; SVG."""
    shown = models.shown(summary["model"])
    rows = -(-len(shown) // _COLUMNS)
    return drawn(f"over-{key}", partial(_over, summary, key, shown), size=(9.6, 2.4 * rows))


def worst_maps(task: str, arrays: Mapping[str, np.ndarray]) -> Picture:
    """`fit_maps` from the arrays of an NPZ, of at most three angles: those with the largest residuals."""
    blocks, t = arrays["residual_map"], arrays["t"]
    worst = np.argsort([-np.nanmean(one**2) for one in blocks], kind="stable")[:_COLUMNS]
    chosen = sorted(int(at) for at in worst)
    data, model, residuals = (arrays[name][chosen] for name in ("data_map", "model_map", "residual_map"))
    titles = [titles_of(arrays)[at] for at in chosen]
    return fit_maps(task, (data, model, residuals), titles, (float(t[0]), float(t[-1])))


def titles_of(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What distinguishes the matrices of a fit: the angle of each, and its q if there are several."""
    if not arrays["q"].ndim:
        return [f"φ = {number(float(phi), 'g')}°" for phi in arrays["phi"]]
    return [
        f"q = {number(float(q), '.4g')} Å⁻¹, φ = {number(float(phi), 'g')}°"
        for q, phi in zip(arrays["q"], arrays["phi"], strict=True)
    ]


def fit_maps(
    task: str, maps: tuple[np.ndarray, np.ndarray, np.ndarray], titles: Sequence[str], span: tuple[float, float]
) -> Picture:
    """Data, model and residuals of one fit as SVG, one column per angle.

    Args:
        maps: data, model and residuals, each of shape (n_phi, M, M), where M may differ; residuals in units of their
            standard error.
        titles: what is above each column.
        span: first and last age [s].
    """
    return drawn(f"maps-{task}", partial(_fit_maps, maps, titles, span), size=(1.7 + 2.4 * len(titles), 7.4))


def _over(summary: pd.DataFrame, key: str, shown: Mapping[str, str], figure: Figure) -> None:
    places, labels = _places(summary[key])
    # Shift tasks with the same value slightly, so that their points do not overlap.
    span = float(np.ptp(places)) or 1.0
    rank = summary.groupby(pd.Series(places, index=summary.index)).cumcount().to_numpy()
    shifted = places + 0.004 * span * rank * (labels is not None or places.min() <= 0 or not _is_wide(places))
    files = list(dict.fromkeys(summary["input_filename"]))
    for at, (name, title) in enumerate(shown.items()):
        axes = figure.add_subplot(-(-len(shown) // _COLUMNS), _COLUMNS, at + 1)
        for colour, label, rows in _by_file(summary, files, key):
            _points(axes, shifted[rows], summary[rows], name, colour)
            # An empty series for the legend, because the points may all be hollow.
            axes.plot([], [], "o", color=colour, markersize=4, label=label)
        axes.set_ylabel(title)
        if labels is not None:
            axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        elif _is_wide(places):
            axes.set_xscale("log")
        if at >= len(shown) - _COLUMNS:
            axes.set_xlabel("file" if key == "input_filename" else key)
    if len(files) == 2 and key != "input_filename":
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper right", ncols=2)
    figure.tight_layout(rect=(0, 0, 1, 0.96))


def _points(axes: Axes, x: np.ndarray, rows: pd.DataFrame, name: str, colour: str) -> None:
    value, error = rows[name].to_numpy(float), rows[f"{name}_error"].to_numpy(float)
    known = np.where(np.isfinite(error), error, 0.0)
    good = (rows["status"] == "ok").to_numpy() & np.isfinite(error)
    # Hollow markers: not converged, or the error is not finite.
    for chosen, face in ((good, colour), (~good & np.isfinite(value), "none")):
        axes.errorbar(
            x[chosen],
            value[chosen],
            known[chosen],
            fmt="o",
            color=colour,
            markerfacecolor=face,
            markersize=4,
            linewidth=1,
        )


def _places(values: pd.Series[str]) -> tuple[np.ndarray, list[str] | None]:
    """The coordinate of each value on the axis, and tick labels if the values are not numbers."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and values.map(lambda value: not isinstance(value, bool)).all():
        return numbers.to_numpy(float), None
    texts = values.astype(str)
    distinct = list(dict.fromkeys(texts))
    labels = [text if len(text) <= _TICKS else f"{text[:_TICKS]}…" for text in distinct]
    every = max(1, -(-len(labels) // _TICKS))
    shown = [label if at % every == 0 else "" for at, label in enumerate(labels)]
    return np.array([distinct.index(text) for text in texts], dtype=float), shown


def _is_wide(places: np.ndarray) -> bool:
    return bool(places.min() > 0 and places.max() / places.min() > _LOG_AXIS_RATIO)


def _by_file(summary: pd.DataFrame, files: list[str], key: str) -> list[tuple[str, str, np.ndarray]]:
    """Colour, label and rows (a mask) of each series: one per file if there are two files, else a single one."""
    if len(files) != 2 or key == "input_filename":
        return [(PALETTE["g1"], "", np.ones(len(summary), bool))]
    return [
        (PALETTE[colour], file, (summary["input_filename"] == file).to_numpy())
        for file, colour in zip(files, ("g1", "g2"), strict=True)
    ]


def _fit_maps(
    maps: tuple[np.ndarray, np.ndarray, np.ndarray], titles: Sequence[str], span: tuple[float, float], figure: Figure
) -> None:
    data, model, blocks = maps
    low, high = np.quantile(data, [0.001, 0.999])
    limit = max(3.0, float(np.nanmax(np.abs(blocks))))
    rows = (
        ("data", "c₂", data, "viridis", low, high),
        ("model", "c₂", model, "viridis", low, high),
        ("residual", "residual / its error [σ]", blocks, "RdBu_r", -limit, limit),
    )
    figure.set_layout_engine("constrained", rect=(0.015, 0.01, 0.975, 0.98))
    panels = figure.subplots(len(rows), len(titles), squeeze=False, sharex=True, sharey=True)
    for line, (name, unit, shown, colours, least, most) in zip(panels, rows, strict=True):
        for axes, one in zip(line, shown, strict=True):
            image = axes.imshow(one, cmap=colours, vmin=least, vmax=most, origin="lower", extent=(*span, *span))
        line[0].set_ylabel(f"{name}\nfirst age [s]")
        figure.colorbar(image, ax=list(line), label=unit, fraction=0.025)
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("second age [s]")

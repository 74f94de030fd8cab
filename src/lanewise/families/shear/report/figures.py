"""Plots of a shear campaign."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lanewise.families.shear.statistics import pairs
from lanewise.families.shear.statistics.bias import ComponentBias
from lanewise.families.shear.statistics.criteria import REQUIREMENTS
from lanewise.families.shear.statistics.estimates import Estimates, estimates
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.report.canvas import PALETTE, Picture, drawn
from lanewise.statistics.numbers import superscript
from lanewise.statistics.regression import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RASTER_ABOVE = 2000  # points; with more, draw them as an image, because a vector plot takes megabytes
_DASHES = (0, (4, 3))
_DOTS = (0, (1, 2))
# Do not draw bounds closer to zero than this fraction of the axis.
_LABEL_SHARE = 0.06
# Shares of the joint error that the ellipses hold.
_ELLIPSES = (0.683, 0.954)
_SURVEYS = {"lsst": "LSST", "desc": "DESC", "euclid": "Euclid"}


def figures(results: BiasResults, summary: pd.DataFrame) -> dict[str, Picture]:
    """All figures for which the campaign has numbers, in the order of the report.

    Args:
        results: from `results.evaluate`.
        summary: the table from which `results` were computed.

    Returns:
        Name (a file stem) → SVG: `m_c`, `points`, `pairs`, `bias_g1`, `bias_g2`, `pulls`.
    """
    estimator = results.acceptance.estimator
    shown = [
        (b, estimates(summary, b.component, b.shrinkage.prior if b.shrinkage else None, results.missing, estimator))
        for b in results.components
        if b.c is not None
    ]
    draws: dict[str, Callable[[Axes], None]] = {}
    if any(b.m is not None for b, _ in shown):
        draws["m_c"] = partial(_m_c, results, {b.component: float(d.truth.mean()) for b, d in shown})
    if len(results.points) > 1 and shown:
        draws["points"] = partial(_points, results)
    paired = [(b, d) for b, d in shown if b.pairs is not None]
    if paired:
        draws["pairs"] = partial(_responses, paired)
    draws |= {f"bias_{b.component}": partial(_bias, b, d) for b, d in shown}
    pulled = [(b, d) for b, d in shown if b.pulls is not None]
    if pulled:
        draws["pulls"] = partial(_pulls, pulled)
    return {name: drawn(name, partial(_one, draw)) for name, draw in draws.items()}


def _one(draw: Callable[[Axes], None], figure: Figure) -> None:
    figure.subplots_adjust(left=0.155, right=0.975, bottom=0.15, top=0.92)
    draw(figure.add_subplot())


def _bias(numbers: ComponentBias, data: Estimates, axes: Axes) -> None:
    """Estimate − truth against the truth, with the line m g + c and its 1σ band.

    If all truths are equal, the horizontal axis is the number of the realization.
    """
    assert numbers.c is not None
    component, colour = numbers.component, PALETTE[numbers.component]
    offset, error_c = data.value - data.truth, numbers.c.error or 0.0
    scale, unit = _unit(offset)
    if numbers.m is None:
        x = np.arange(1, len(offset) + 1, dtype=float)
        line_x = np.array([0.5, len(offset) + 0.5])
        line, band = np.full(2, numbers.c.value), np.full(2, error_c)
        axes.set_xlabel(f"realization, all at {component} = {data.truth[0]:g}")
    else:
        span, error_m = float(np.ptp(data.truth)), numbers.m.error or 0.0
        x = data.truth + 0.02 * span * (_spread(data.truth) - 0.5)
        line_x = np.linspace(data.truth.min() - 0.04 * span, data.truth.max() + 0.04 * span, 101)
        line, centre = numbers.c.value + numbers.m.value * line_x, data.truth.mean()
        # With equal weights, the line's value at the mean truth is not correlated with its slope.
        at_centre = max(error_c**2 - (centre * error_m) ** 2, 0.0)
        band = np.sqrt(at_centre + ((line_x - centre) * error_m) ** 2)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"true shear {component}")
    low, high = (line - band) / scale, (line + band) / scale
    axes.fill_between(line_x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    many = len(x) > _RASTER_ABOVE
    axes.plot(x, offset / scale, ".", color=colour, alpha=0.5, markersize=6, markeredgewidth=0, rasterized=many)
    axes.plot(line_x, line / scale, color=colour, linewidth=1.4)
    axes.set_ylabel(f"estimate − truth of {component}{unit}")


def _pulls(shown: Sequence[tuple[ComponentBias, Estimates]], axes: Axes) -> None:
    axes.axhspan(-1, 1, color=PALETTE["band"], linewidth=0)
    axes.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    for level in (-3, 3):
        axes.axhline(level, color=PALETTE["muted"], linewidth=0.8, linestyle=_DASHES)
    for (numbers, data), marker in zip(shown, "os", strict=False):
        pull = (data.value - data.truth) / data.width
        axes.plot(
            np.arange(1, len(pull) + 1),
            pull,
            marker,
            color=PALETTE[numbers.component],
            alpha=0.75,
            markersize=3,
            markeredgewidth=0,
            label=numbers.component,
            rasterized=len(pull) > _RASTER_ABOVE,
        )
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -3.6), max(high, 3.6))
    axes.set_xlabel("realization, in the order of shear and seed")
    axes.set_ylabel("pull: (estimate − truth) / width [σ]")
    _legend(axes)


def _m_c(results: BiasResults, centres: Mapping[str, float], axes: Axes) -> None:
    """c against m, with ellipses of their joint error and bars to 3σ of each.

    Band: the manifest's bound on m; dashed lines: its bound on c; dotted lines: the requirements of surveys.

    Args:
        centres: component → mean true shear.
    """
    bounds = results.acceptance
    shown = [(b.component, b.m, b.c) for b in results.components if b.m and b.c]
    reach_m = [bounds.max_abs_m or 0.0, *(abs(m.value) + 3 * (m.error or 0.0) for _, m, _ in shown)]
    reach_c = [bounds.max_abs_c or 0.0, *(abs(c.value) + 3 * (c.error or 0.0) for _, _, c in shown)]
    (scale_m, unit_m), (scale_c, unit_c) = _unit(np.array(reach_m)), _unit(np.array(reach_c))
    if bounds.max_abs_m is not None:
        axes.axvspan(-bounds.max_abs_m / scale_m, bounds.max_abs_m / scale_m, color=PALETTE["band"], linewidth=0)
    if bounds.max_abs_c is not None:
        for level in (-bounds.max_abs_c, bounds.max_abs_c):
            axes.axhline(level / scale_c, color=PALETTE["muted"], linewidth=0.8, linestyle=_DASHES)
    axes.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    axes.axvline(0, color=PALETTE["muted"], linewidth=0.8)
    for component, m, c in shown:
        colour, x, y = PALETTE[component], m.value / scale_m, c.value / scale_c
        xerr, yerr = (m.error or 0.0) / scale_m, (c.error or 0.0) / scale_c
        axes.errorbar(x, y, 3 * yerr, 3 * xerr, color=colour, linewidth=0.8)
        # With equal weights, m is not correlated with the line's value at the mean truth.
        slope = -centres[component] * scale_m / scale_c
        for level, alpha in zip(_ELLIPSES, (0.3, 0.12), strict=True):
            across, along = _ellipse(level, xerr, yerr, slope)
            axes.fill(x + across, y + along, facecolor=colour, alpha=alpha, linewidth=0)
            axes.plot(x + across, y + along, color=colour, linewidth=0.9)
        axes.plot(x, y, "o", color=colour, markersize=4, label=component)
    low, high = axes.get_xlim()
    asked: dict[float, list[str]] = {}
    for name, (required, _) in REQUIREMENTS.items():
        asked.setdefault(required / scale_m, []).append(_SURVEYS[name])
    for x, names in asked.items():
        if low < -x and x < high and x > _LABEL_SHARE * (high - low):
            for side in (-x, x):
                axes.axvline(side, color=PALETTE["muted"], linewidth=0.8, linestyle=_DOTS)
            # At the line that is farther from the results.
            side = -x if sum(m.value for _, m, _ in shown) > 0 else x
            axes.annotate(
                ", ".join(names),
                (side, 0.02),
                (-3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                ha="right",
                fontsize=8,
                color=PALETTE["muted"],
            )
    axes.locator_params(nbins=6)
    axes.set_xlabel(f"multiplicative bias m{unit_m}")
    axes.set_ylabel(f"additive bias c{unit_c}")
    _legend(axes)


def _ellipse(level: float, xerr: float, yerr: float, slope: float) -> tuple[Array, Array]:
    """The curve, about its centre, that holds a share `level` of two normal errors.

    Args:
        slope: covariance over the variance of x; y − slope x is not correlated with x.
    """
    radius, angle = math.sqrt(-2 * math.log(1 - level)), np.linspace(0, 2 * np.pi, 91)
    rest = math.sqrt(max(yerr**2 - (slope * xerr) ** 2, 0.0))
    return radius * xerr * np.cos(angle), radius * (slope * xerr * np.cos(angle) + rest * np.sin(angle))


def _points(results: BiasResults, axes: Axes) -> None:
    """Mean − truth at each shear point, with thick 1σ and thin 3σ error bars, and the line m g + c."""
    found: list[tuple[str, float, float, float]] = []
    for point in results.points:
        for component, truth, at in (("g1", point.g1_true, point.g1), ("g2", point.g2_true, point.g2)):
            if at is not None:
                found.append((component, truth, at.mean.value - truth, at.mean.error or 0.0))
    scale, unit = _unit(np.array([abs(offset) + 3 * error for _, _, offset, error in found]))
    truths = np.array([truth for _, truth, _, _ in found])
    span = float(np.ptp(truths)) or 1.0
    axes.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    for bias_ in results.components:
        component = bias_.component
        own = [(truth, offset, error) for name, truth, offset, error in found if name == component]
        if not own:  # no estimate at any point, e.g. if the prior's pull cannot be removed
            continue
        x, y, error = np.array(own).T
        # Spread points with equal truth horizontally, in table order.
        x = x + 0.03 * span * (_spread(x) - 0.5) * (np.array([np.sum(x == one) for one in x]) > 1)
        for times, width in ((3, 0.9), (1, 2.4)):
            axes.errorbar(x, y / scale, times * error / scale, fmt="none", color=PALETTE[component], linewidth=width)
        axes.plot(x, y / scale, "o", color=PALETTE[component], markersize=4, label=component)
        if bias_.m is not None and bias_.c is not None:
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, (bias_.c.value + bias_.m.value * ends) / scale, color=PALETTE[component], linewidth=1)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel("true shear g")
    axes.set_ylabel(f"mean estimate − truth{unit}")
    _legend(axes)


def _responses(shown: Sequence[tuple[ComponentBias, Estimates]], axes: Axes) -> None:
    """Histogram of m of each ±g pair."""
    found = {b.component: pairs.responses(data) - 1 for b, data in shown}
    scale, unit = _unit(np.concatenate(list(found.values())))
    every = np.concatenate(list(found.values())) / scale
    edges = np.histogram_bin_edges(every, bins=min(40, max(5, len(every) // 5)))
    axes.axvline(0, color=PALETTE["muted"], linewidth=0.8)
    for component, values in found.items():
        counts, _ = np.histogram(values / scale, edges)
        axes.stairs(counts, edges, color=PALETTE[component], linewidth=1.3, label=component)
    axes.set_ylim(0)
    axes.set_xlabel(f"m of a pair{unit}")
    axes.set_ylabel("number of pairs")
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)


def _unit(values: Array) -> tuple[float, str]:
    """Power of ten by which to divide an axis, and the unit to append to its label."""
    largest = float(np.max(np.abs(values), initial=0.0))
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    return (1.0, "") if -1 <= power <= 3 else (10.0**power, f" [10{superscript(power)}]")


def _spread(truth: Array) -> Array:
    """Position in [0, 1] of each realization among those with the same truth, to avoid overlapping points."""
    place = np.empty(len(truth))
    for value in np.unique(truth):
        rows = np.flatnonzero(truth == value)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return place

"""Figures of a calibration campaign: ECDF of the ranks with its bands, histograms, coverage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lanewise.families.calibration.ranks import Ranks
from lanewise.families.calibration.results import LEVELS, CalibrationResults, said
from lanewise.families.calibration.sizing import JUDGED
from lanewise.report.canvas import PALETTE, Picture, drawn
from lanewise.statistics import uniformity
from lanewise.statistics.numbers import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS, _WIDTH, _HEIGHT = 3, 7.6, 1.75  # [inch]


def figures(results: CalibrationResults, ranks: Ranks) -> dict[str, Picture]:
    """All figures of the campaign: name (a file stem) → SVG; empty without ranks."""
    if not results.quantities:
        return {}
    rows = -(-len(results.quantities) // _COLUMNS)
    size = (_WIDTH, 0.6 + _HEIGHT * rows)
    return {
        "ecdf": drawn("ecdf", partial(_panels, results, partial(_ecdf, results, ranks), "rank / (L + 1)"), size),
        "ranks": drawn("ranks", partial(_panels, results, partial(_histogram, results), "rank / (L + 1)"), size),
        "coverage": drawn("coverage", partial(_coverage, results), (_WIDTH, 3.4)),
    }


def _panels(results: CalibrationResults, draw: Callable[[Axes, int], None], label: str, figure: Figure) -> None:
    """One panel per quantity."""
    n = len(results.quantities)
    rows = -(-n // _COLUMNS)
    axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    height = 0.6 + _HEIGHT * rows
    figure.subplots_adjust(0.09, 0.5 / height, 0.99, 1 - 0.28 / height, wspace=0.08, hspace=0.34)
    for at, one in enumerate(axes):
        if at >= n:
            one.set_visible(False)
            continue
        draw(one, at)
        one.set_title(said(results.quantities[at].quantity), fontsize=9, pad=4)
        one.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        if at + _COLUMNS >= n:
            one.tick_params(labelbottom=True)
            one.set_xlabel(label)


def _ecdf(results: CalibrationResults, ranks: Ranks, axes: Axes, at: int) -> None:
    """ECDF − uniform, with the simultaneous 95 % band."""
    test, n, steps = results.quantities[at], results.tally.n_used, results.n_steps
    assert results.band_gamma is not None
    share = np.arange(1, steps) / steps
    low, high = uniformity.limits(n, steps, results.band_gamma)
    axes.fill_between(share, low / n - share, high / n - share, color=PALETTE["band"], linewidth=0, step="mid")
    axes.axhline(0, color=PALETTE["muted"], linewidth=0.8)
    below = uniformity.ecdf_counts(ranks.table[test.quantity].to_numpy(np.int64), results.n_ranks, steps)
    axes.step(share, below / n - share, where="mid", color=PALETTE["g1"], linewidth=1.2)
    axes.set_xlim(0, 1)
    if at % _COLUMNS == 0:
        axes.set_ylabel("ECDF − uniform")


def _histogram(results: CalibrationResults, axes: Axes, at: int) -> None:
    """Ranks per bin, with the 95 % range of a single bin."""
    test, n, bins = results.quantities[at], results.tally.n_used, results.n_bins
    low, high = uniformity.limits(n, bins, 1 - uniformity.BAND)
    axes.axhspan(int(low[0]), int(high[0]), color=PALETTE["band"], linewidth=0)
    axes.axhline(n / bins, color=PALETTE["muted"], linewidth=0.8)
    axes.stairs(list(test.counts), np.arange(bins + 1) / bins, color=PALETTE["g1"], linewidth=1.2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08 * max(int(high[0]), *(max(one.counts) for one in results.quantities)))
    if at % _COLUMNS == 0:
        axes.set_ylabel("number of ranks")


def _coverage(results: CalibrationResults, figure: Figure) -> None:
    """Coverage minus its nominal value, with 95 % intervals."""
    shown = [test for test in results.quantities if test.coverage]
    axes = figure.subplots(1, len(LEVELS), sharey=True, squeeze=False).ravel()
    figure.subplots_adjust(0.16, 0.15, 0.99, 0.9, wspace=0.12)
    y = np.arange(len(shown))[::-1]
    for at, one in enumerate(axes):
        found = [test.coverage[at] for test in shown]
        if found[0].level == JUDGED:
            one.axvspan(*(100 * side * results.coverage_margin for side in (-1, 1)), color=PALETTE["band"], linewidth=0)
        one.axvline(0, color=PALETTE["muted"], linewidth=0.8)
        for height, cover in zip(y, found, strict=True):
            ends = [100 * (end - cover.nominal) for end in (cover.low, cover.high)]
            one.plot(ends, [height, height], color=PALETTE["g1"], linewidth=1.4)
        one.plot([100 * (c.value - c.nominal) for c in found], y, "o", color=PALETTE["g1"], markersize=4)
        one.set_title(f"{percent(found[0].level)} interval", fontsize=9, pad=4)
        one.set_yticks(y, [said(test.quantity) for test in shown])
        one.set_ylim(-0.6, len(shown) - 0.4)
    figure.text(0.575, 0.02, "coverage − nominal [percentage points]", ha="center", color=PALETTE["ink"])

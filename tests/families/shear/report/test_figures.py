"""Plots: the same bytes each time, and the numbers in them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path

from lanewise.families.shear.report.figures import _ellipse, figures
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import evaluate
from lanewise.manifest.manifest import Acceptance
from lanewise.report.canvas import Picture
from tables import MakeTable, Spoil

BOUNDS = Acceptance(max_abs_m=0.01, max_abs_c=1e-3)


def drawn(table: pd.DataFrame, acceptance: Acceptance = BOUNDS) -> dict[str, Picture]:
    prior = GaussianPrior(0.0, 0.05)
    return figures(evaluate(table, priors=(prior, prior), acceptance=acceptance, missing=()), table)


def words(picture: Picture) -> list[str]:
    svg = picture.svg
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_plots_come_in_the_order_of_the_report(make_table: MakeTable) -> None:
    assert list(drawn(make_table())) == ["m_c", "points", "bias_g1", "bias_g2", "pulls"]


def test_same_campaign_gives_the_same_bytes(make_table: MakeTable) -> None:
    """Whatever the order of its rows and the user's own matplotlibrc."""
    table = make_table()
    first = drawn(table)
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        assert drawn(table.sample(frac=1, random_state=2)) == first
    assert b"date" not in b"".join(one.svg + one.pdf for one in first.values()).lower()


def test_drawing_leaves_the_settings_of_matplotlib_alone(make_table: MakeTable) -> None:
    with mpl.rc_context({"font.size": 30}):
        drawn(make_table())
        assert mpl.rcParams["font.size"] == 30


def test_one_dot_per_realization_that_counts(make_table: MakeTable, spoil: Spoil) -> None:
    svg = drawn(spoil(make_table(n=7), [2]))["bias_g1"].svg.decode()
    assert len(re.findall(r"<use [^>]*fill: #0a5fb4; fill-opacity: 0.5", svg)) == 20


def test_axes_say_their_power_of_ten(make_table: MakeTable) -> None:
    plots = drawn(make_table(n=20, sigma=3e-6))
    assert [word for word in words(plots["bias_g1"]) if "[" in word] == ["estimate − truth of g1 [10⁻⁶]"]
    assert "multiplicative bias m [10⁻²]" in words(plots["m_c"])


def test_component_held_fixed_has_no_plot(make_table: MakeTable) -> None:
    assert list(drawn(make_table(g2=None))) == ["m_c", "points", "bias_g1", "pulls"]


def test_one_shear_has_no_plane_of_m_and_c(make_table: MakeTable) -> None:
    plots = drawn(make_table((0.02,)))
    assert list(plots) == ["bias_g1", "bias_g2", "pulls"]
    assert "realization, all at g1 = 0.02" in words(plots["bias_g1"])


def test_campaign_without_numbers_has_no_plots(make_table: MakeTable) -> None:
    assert drawn(make_table().iloc[:0]) == {}


def test_many_dots_become_pixels(make_table: MakeTable) -> None:
    """6000 dots per component would be 700 kB a plot as vectors."""
    plots = drawn(make_table(n=2000))
    assert all(b"data:image/png;base64" in plots[name].svg for name in ("bias_g1", "bias_g2", "pulls"))
    assert max(len(plot.svg) for plot in plots.values()) < 250_000


@pytest.mark.parametrize("level", [0.683, 0.954])
def test_an_ellipse_holds_its_share_of_two_correlated_errors(level: float) -> None:
    """Of 4 × 10⁵ draws; the share has an error below 0.0008, and 5 of them are allowed."""
    xerr, yerr, slope = 0.5, 2.0, -3.0
    random = np.random.default_rng(1)
    x = xerr * random.standard_normal(400_000)
    y = slope * x + math.sqrt(yerr**2 - (slope * xerr) ** 2) * random.standard_normal(400_000)
    inside = Path(np.column_stack(_ellipse(level, xerr, yerr, slope))).contains_points(np.column_stack([x, y]))
    assert abs(np.mean(inside) - level) < 0.004

"""The report of a calibration campaign: one HTML file that needs no network, no script and no file beside it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lanewise.families.calibration.results import CalibrationResults, said
from lanewise.report.canvas import Picture
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline

CAPTIONS = {
    "ecdf": "Empirical cumulative distribution function (ECDF) of the ranks of the truths among the draws, minus that "
    "of uniform ranks. The grey band is simultaneous: in 95 of 100 calibrated campaigns the whole curve of a quantity "
    "stays inside. A curve outside at any place is a departure at the level of 5 %.",
    "ranks": "Histograms of the same ranks. The line is the expected number; the grey band is pointwise: each single "
    "bin stays inside with 95 %, so that some bins outside are expected. ∪: the posteriors are too narrow; ∩: too "
    "wide; a slope: shifted to one side.",
    "coverage": "Share of truths inside the central interval of the draws, minus the nominal share, at four levels. "
    "The bars are Clopper–Pearson intervals of 95 %, each for itself. The grey band at 68 % is the margin of the "
    "verdict.",
}


def render(results: CalibrationResults, summary: pd.DataFrame, figures: Mapping[str, Picture], context: Context) -> str:
    """The page.

    Args:
        results: from `results.evaluate`.
        summary: the table of `summary.csv`.
        figures: from `figures.figures`.
        context: what the numbers do not say.
    """
    page = environment("lanewise.families.calibration")
    page.filters |= {"said": said}
    methods = summary["method_used"].dropna().astype(str).value_counts().sort_index()
    return page.get_template("report.html.j2").render(
        r=results,
        context=context,
        plots=[Plot(CAPTIONS[name], inline(name, picture), wide=True) for name, picture in figures.items()],
        methods=", ".join(f"{method} ({n})" for method, n in methods.items()),
        rows_shown=ROWS_SHOWN,
    )

"""The report of a calibration campaign: one HTML file that needs no network, no script and no file beside it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lanewise.families.calibration.results import CalibrationResults, said
from lanewise.report.canvas import Picture
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline, percent

CAPTIONS = {
    "ecdf": "Where the truths stand among the draws: the ECDF of their ranks minus that of uniform ones. The grey band "
    "holds a calibrated posterior everywhere at once in 95 of 100 campaigns.",
    "ranks": "The same ranks in bins. Grey: where a single bin stays with 95 %. A ∪ says that posteriors are too "
    "narrow, a ∩ that they are too wide, a slope that they are off to one side.",
    "coverage": "How many truths lie in the central part of the draws, minus how many should, with intervals of 95 %.",
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
    page.filters |= {"percent": percent, "said": said}
    methods = summary["method_used"].dropna().astype(str).value_counts().sort_index()
    return page.get_template("report.html.j2").render(
        r=results,
        context=context,
        plots=[Plot(CAPTIONS[name], inline(name, picture), wide=True) for name, picture in figures.items()],
        methods=", ".join(f"{method} ({n})" for method, n in methods.items()),
        rows_shown=ROWS_SHOWN,
    )

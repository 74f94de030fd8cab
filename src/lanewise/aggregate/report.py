"""The report of a shear campaign, and what all reports share.

One HTML file that needs no network, no script and no file beside it.

It holds no clock, host, path or attempt, so that the same campaign gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lanewise.aggregate.figures import PALETTE
from lanewise.aggregate.regression import Measure
from lanewise.aggregate.results import BiasResults
from lanewise.aggregate.verdict import superscript, with_error

ROWS_SHOWN = 200  # of each list of realizations; the rest is in summary.csv


@dataclass(frozen=True)
class Context:
    """What the report says about the campaign besides its numbers.

    Attributes:
        campaign: its name.
        manifest: the manifest's text.
        reproduce: the command line that carries it out again.
        lanewise_version: that computed the numbers.
        versions: library → version.
    """

    campaign: str
    manifest: str
    reproduce: str
    lanewise_version: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Plot:
    """A plot in a page; a wide one has a row of its own."""

    caption: str
    svg: Markup
    wide: bool = False


_CRITERIA = {
    "completeness": "completeness",
    "exclusion_by_shear": "exclusion and shear",
    "shrinkage": "pull of the prior",
    "offset_1sigma": "offset below 1σ",
    "collapsed_offset": "offset",
}
_CAPTIONS = {
    "bias_g1": "Estimate minus truth of g1: a dot per realization, and the line m g + c with its 1σ band.",
    "bias_g2": "Estimate minus truth of g2, likewise.",
    "pulls": "Every realization's offset in units of its own width. Band: ±1; dashes: ±3.",
    "m_c": "c against m: thick to 1σ, thin to 3σ. Grey: allowed m; dashes: allowed c, where bounds are set.",
}


def render(results: BiasResults, summary: pd.DataFrame, figures: Mapping[str, bytes], context: Context) -> str:
    """The page.

    Args:
        results: from `results.evaluate`.
        summary: the table that they came from.
        figures: from `figures.figures`; a name without a caption here is shown under its name.
        context: what the numbers do not say.
    """
    page = environment()
    page.filters |= {"measure": _measure, "percent": percent}
    plots = [Plot(_CAPTIONS.get(name, name), inline(name, svg)) for name, svg in figures.items()]
    methods = summary["method_used"].dropna().astype(str).value_counts().sort_index()
    return page.get_template("report.html.j2").render(
        r=results,
        context=context,
        plots=plots,
        criteria=_CRITERIA,
        methods=", ".join(f"{method} ({n})" for method, n in methods.items()),
        rows_shown=ROWS_SHOWN,
    )


def environment() -> Environment:
    """Where the templates of reports are found, and how they write numbers."""
    found = Environment(
        loader=PackageLoader("lanewise.aggregate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number}
    return found


def _measure(measure: Measure | None) -> str:
    return "–" if measure is None else with_error(measure.value, measure.error)


def number(value: float | None, form: str = ".3g") -> str:
    """A number as people write it; a dash where there is none."""
    if value is None:
        return "–"
    mantissa, _, power = format(value, form).partition("e")
    return mantissa.replace("-", "−") + (f" × 10{superscript(int(power))}" if power else "")


def percent(value: float | None) -> str:
    """A share as people write it; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.3g} %"


def inline(name: str, svg: bytes) -> Markup:
    """A plot as part of the page: in its colours and its type, as wide as its column, ids its own."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 role="img" aria-hidden="true"', text, count=1)
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("'DejaVu Sans', 'Helvetica', 'Arial', sans-serif", "var(--sans)")
    for role, colour in PALETTE.items():
        text = text.replace(colour, f"var(--{role})")
    return Markup(text)

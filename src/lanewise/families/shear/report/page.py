"""The report of a shear campaign, and what all reports share.

One HTML file that needs no network, no script and no file beside it.

It holds no clock, host, path or attempt, so that the same campaign gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lanewise.families.shear.report.checks import checks
from lanewise.families.shear.report.gallery import Chains, Outlier
from lanewise.families.shear.statistics.results import BiasResults, Convergence
from lanewise.report.canvas import PALETTE
from lanewise.statistics.regression import Measure
from lanewise.statistics.verdict import superscript, with_error

ROWS_SHOWN = 200  # of each list of realizations; the rest is in summary.csv


@dataclass(frozen=True)
class MissingChunk:
    """A chunk of which the results have nothing, or not all.

    Attributes:
        n: realizations that are missing.
        shears: their true (g1, g2), each once; empty where none is known.
        cause: the error that its last attempt ended with; empty if none is on record.
    """

    chunk: int
    n: int
    shears: tuple[tuple[float, float], ...]
    cause: str


@dataclass(frozen=True)
class RetriedRow:
    """A realization that was tried again, and what came of it."""

    run_id: str
    retries: int
    status: str
    method: str


@dataclass(frozen=True)
class Context:
    """What the report says about the campaign besides its numbers.

    Attributes:
        campaign: its name.
        manifest: the manifest's text.
        reproduce: the command line that carries it out again.
        lanewise_version: that computed the numbers.
        versions: library → version.
        missing_chunks, retried: what is not computed, and what was computed more than once.
    """

    campaign: str
    manifest: str
    reproduce: str
    lanewise_version: str
    versions: Mapping[str, str]
    missing_chunks: tuple[MissingChunk, ...] = ()
    retried: tuple[RetriedRow, ...] = ()


@dataclass(frozen=True)
class Plot:
    """A plot in a page; a wide one has a row of its own."""

    caption: str
    svg: Markup
    wide: bool = False


_CRITERIA = {
    "completeness": "completeness",
    "exclusion_by_shear": "exclusion and shear",
    "exclusion_by_sign": "exclusion and sign",
    "shrinkage": "pull of the prior",
    "offset_1sigma": "offset below 1σ",
    "collapsed_offset": "offset",
    "finite_draws": "half the draws",
}
_CAPTIONS = {
    "m_c": "c against m: thick to 1σ, thin to 3σ. Grey: allowed m; dashes: allowed c; dots: what surveys ask of m.",
    "points": "Mean minus truth at each true shear, thick to 1σ and thin to 3σ, and the lines m g + c.",
    "pairs": "m of every ±g pair by itself.",
    "bias_g1": "Estimate minus truth of g1: a dot per realization, and the line m g + c with its 1σ band.",
    "bias_g2": "Estimate minus truth of g2, likewise.",
    "pulls": "Every realization's offset in units of its own width. Band: ±1; dashes: ±3.",
}


def render(results: BiasResults, summary: pd.DataFrame, figures: Mapping[str, bytes], context: Context) -> str:
    """The page.

    Args:
        results: from `results.evaluate`, looked at by `gallery.look` or not.
        summary: the table that they came from.
        figures: from `figures.figures` and `gallery.look`.
        context: what the numbers do not say.
    """
    page = environment("lanewise.families.shear.report")
    page.filters |= {"measure": _measure, "percent": percent}
    shown = {name: inline(name, svg) for name, svg in figures.items()}
    methods = summary["method_used"].dropna().astype(str).value_counts().sort_index()
    return page.get_template("report.html.j2").render(
        r=results,
        context=context,
        plots=[Plot(_CAPTIONS[name], svg) for name, svg in shown.items() if name in _CAPTIONS],
        stamps=[Plot(_outlier(one), shown[f"stamps_{one.run_id}"]) for one in results.outliers],
        chains=[Plot(_chains(results.chains), shown["chains"])] if results.chains else [],
        again={(one.number, one.component): one.resampled for one in results.joint.resampled},
        checks=checks(results),
        convergence=_convergence(results.convergence),
        criteria=_CRITERIA,
        methods=", ".join(f"{method} ({n})" for method, n in methods.items()),
        rows_shown=ROWS_SHOWN,
    )


def _outlier(one: Outlier) -> str:
    return (
        f"{one.run_id}: {one.component} is {number(one.pull, '+.2f')} σ from its truth; "
        f"χ² {number(one.chi2, '.0f')} over {one.n_pixels} pixels."
    )


def _chains(one: Chains) -> str:
    draws = f"{number(one.ess, '.0f')} effective of {one.n_chains} × {one.n_draws} draws"
    return (
        f"{one.run_id}: the chains that agree least, R̂ {number(one.rhat, '.4f')}, {draws}. Left: traces; right: how "
        "often each chain holds each rank."
    )


def _convergence(found: Convergence) -> list[tuple[str, str, str]]:
    """Name, value and run id of every diagnostic that there is."""
    named = (
        ("largest R̂", found.rhat, ".4f"),
        ("fewest effective draws", found.ess, ".0f"),
        ("largest k̂", found.khat, ".2f"),
    )
    rows = [(name, number(one.value, form), one.run_id) for name, one, form in named if one is not None]
    return rows + ([("divergences", str(found.divergences), "")] if found.divergences is not None else [])


def environment(package: str) -> Environment:
    """Where the templates of reports are found, and how they write numbers.

    Args:
        package: of the family whose page it is; what pages share is found beside it.
    """
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), PackageLoader("lanewise.report", ".")]),
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

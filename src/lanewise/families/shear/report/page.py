"""The report of a shear campaign."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from lanewise.families.shear.report import shears
from lanewise.families.shear.report.checks import checks, measure, of_populations
from lanewise.families.shear.statistics.results import BiasResults, Chains, ConvergenceExtremes, Outlier
from lanewise.report.canvas import Picture
from lanewise.report.page import ROWS_SHOWN, Context, Plot, environment, inline
from lanewise.statistics.numbers import number

_CRITERIA = {
    "completeness": "completeness",
    "exclusion_by_shear": "exclusion and shear",
    "exclusion_by_sign": "exclusion and sign",
    "galaxies_by_sign": "galaxies and sign",
    "shrinkage": "pull of the prior",
    "noise_bias": "noise bias",
    "bound": "bound of the manifest",
    "offset_1sigma": "offset below 1σ",
    "chi2": "scatter about the line",
    "not_tested": "not measured",
    "collapsed_offset": "offset",
    "finite_draws": "half the draws",
}
_CAPTIONS = {
    "m_c": "Additive bias c against multiplicative bias m of each component of the shear. The ellipses hold 68.3 % and "
    "95.4 % of the joint normal error of both; the bars reach to 3σ of each number alone, which the verdict uses. Grey "
    "band: |m| that the manifest allows; dashed lines: |c| that it allows; dotted lines: |m| that surveys require.",
    "points": "Mean estimate minus truth at each true shear. Thick bars reach to 1σ, thin bars to 3σ; the lines are m "
    "g + c.",
    "pairs": "Histogram of the m of each ±g pair: (ĝ₊ − ĝ₋) / 2g − 1.",
    "bias_g1": "Estimate minus truth of g1. Each dot is a realization; the line is m g + c, with its 1σ band.",
    "bias_g2": "Estimate minus truth of g2. Each dot is a realization; the line is m g + c, with its 1σ band.",
    "pulls": "Pull of each realization: (estimate − truth) / width of its posterior. The grey band is ±1; the dashed "
    "lines are at ±3.",
}


def render(results: BiasResults, summary: pd.DataFrame, figures: Mapping[str, Picture], context: Context) -> str:
    """The page.

    Args:
        results: from `results.evaluate`, looked at by `gallery.look` or not.
        summary: the table that they came from.
        figures: from `figures.figures` and `gallery.look`.
        context: what the numbers do not say.
    """
    page = environment("lanewise.families.shear.report")
    page.filters |= {"measure": measure}
    shown = {name: inline(name, picture) for name, picture in figures.items()}
    methods = summary["method_used"].dropna().astype(str).value_counts().sort_index()
    return page.get_template("report.html.j2").render(
        r=results,
        context=context,
        plots=[Plot(_CAPTIONS[name], svg) for name, svg in shown.items() if name in _CAPTIONS],
        stamps=[Plot(_outlier(one), shown[f"stamps_{one.run_id}"]) for one in results.outliers],
        chains=[Plot(_chains(results.chains), shown["chains"])] if results.chains else [],
        again={(one.number, one.component): one.resampled for one in results.joint.resampled},
        shears=shears.unknown(summary),
        checks=[*checks(results), *of_populations(summary)],
        convergence=_convergence(results.convergence),
        criteria=_CRITERIA,
        methods=", ".join(f"{method} ({n})" for method, n in methods.items()),
        rows_shown=ROWS_SHOWN,
    )


def _outlier(one: Outlier) -> str:
    return (
        f"{one.run_id}: {one.component} is {number(one.pull, '+.2f')} σ from its truth; "
        f"χ² is {number(one.chi2, '.0f')} over {one.n_pixels} pixels. Left: the image; middle: the model at the "
        "posterior mean; "
        "right: their difference over the noise σ."
    )


def _chains(one: Chains) -> str:
    draws = f"{number(one.ess, '.0f')} effective of {one.n_chains} × {one.n_draws} draws"
    return (
        f"{one.run_id}: the chains that agree least, with R̂ = {number(one.rhat, '.4f')} and {draws}. Left: the "
        "draws of each "
        "chain; right: how many draws of each chain have a rank among all chains (flat if they agree)."
    )


def _convergence(found: ConvergenceExtremes) -> list[tuple[str, str, str]]:
    """Name, value and run id of every diagnostic that there is."""
    named = (
        ("largest R̂", found.rhat, ".4f"),
        ("fewest effective draws", found.ess, ".0f"),
        ("largest k̂", found.khat, ".2f"),
        ("smallest p of a fit", found.misfit_p, ".2g"),
        ("largest residual [σ]", found.peak_sigma, ".1f"),
    )
    rows = [(name, number(one.value, form), one.run_id) for name, one, form in named if one is not None]
    return rows + ([("divergences", str(found.divergences), "")] if found.divergences is not None else [])

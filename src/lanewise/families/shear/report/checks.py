"""Additional numbers in the report of a shear campaign, each with a short explanation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lanewise.families.shear.population_config import HYPER
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.families.shear.statistics.selection import COMPONENTS
from lanewise.statistics.numbers import number, percent, with_error
from lanewise.statistics.regression import Measure
from lanewise.statistics.resampling import Resampled

_ESTIMATORS = {"posterior": "mean of the posterior", "score": "score at zero shear", "known": "known distributions"}


@dataclass(frozen=True)
class Check:
    """A number with its name, formatted value and explanation."""

    name: str
    value: str
    meaning: str


def checks(results: BiasResults) -> list[Check]:
    """All checks for which the campaign has numbers."""
    return [*_pairs(results), *_line(results), *_joint(results)]


def of_populations(summary: pd.DataFrame) -> Iterator[Check]:
    """What became of the galaxies of populations; nothing for single images."""
    if "galaxies" not in summary:
        return
    n, n_failed = (int(summary[name].fillna(0).sum()) for name in ("galaxies", "galaxies_failed"))
    yield Check("galaxies", f"{n}", f"in {len(summary)} populations; {n_failed} failed or have k̂ ≥ 0.7")
    n_selected = int(summary["galaxies_selected"].fillna(0).sum())
    # Of a campaign without a usable galaxy there is no more to say.
    if summary["size_min"].isna().all():
        return
    if n_selected < n:
        yield Check(
            "galaxies that pass the cut", f"{n_selected}", f"{percent(n_selected / n, '.1f')}; see population.selection"
        )
    meaning = "of a galaxy's draws, at the shear of the likelihood's range where it is smallest"
    yield Check("smallest effective number", f"{summary['size_min'].min():.1f}", meaning)
    for name in COMPONENTS:
        known = summary[summary[f"{name}_jackknife"].notna()]
        if known.empty:
            continue
        meaning = "error by the jackknife over galaxies, over the posterior's width: 1 where the distribution is right"
        yield Check(f"scatter of galaxies, {name}", f"{_ratio(known, name, 'jackknife', 'std'):.3f}", meaning)
        if known[f"{name}_expansion_std"].notna().any():
            scatter = _ratio(known, name, "expansion_jackknife", "expansion_std")
            meaning = "the same for the score at zero shear, over its width by the information"
            yield Check(f"scatter of galaxies, {name}, score", f"{scatter:.3f}", meaning)
        off = (known[f"{name}_expansion"] - known[f"{name}_mean"]).abs().max()
        meaning = "largest offset of the estimate by an expansion at zero shear, which leaves out g²/σ_e²"
        yield Check(f"expansion of {name}", number(off, ".2g"), meaning)
    for free in HYPER:
        if f"{free}_mean" in summary:
            mean, width = (summary[f"{free}_{what}"].mean() for what in ("mean", "std"))
            meaning = "a free parameter: mean over the populations, and the mean width of its posteriors"
            yield Check(free, with_error(float(mean), float(width), sign=""), meaning)
    if "cut_error" in summary and summary["cut_error"].notna().any():
        meaning = "largest error of a mean from the probability of the cut, over the posterior's width"
        yield Check("error of the cut's probability", number(summary["cut_error"].max(), ".2g"), meaning)
        meaning = "smallest effective number of galaxies that this probability comes from"
        yield Check("galaxies behind it", f"{summary['cut_size'].min():.0f}", meaning)


def _ratio(table: pd.DataFrame, component: str, over: str, under: str) -> float:
    """Root mean square of a column over that of another."""
    squares = [(table[f"{component}_{name}"] ** 2).mean() for name in (over, under)]
    return float(np.sqrt(squares[0] / squares[1]))


def _pairs(results: BiasResults) -> Iterator[Check]:
    for bias in results.components:
        found = bias.pairs
        if found is None:
            continue
        what = f"{found.n_pairs} pairs of {found.n_groups} seeds"
        yield Check(f"m of {bias.component}, by pairs", measure(found.m), f"(ĝ₊ − ĝ₋)/2g − 1 over {what}")
        yield Check(f"c of {bias.component}, by pairs", measure(found.c), f"(ĝ₊ + ĝ₋)/2 over {what}")
        if found.correlation is not None:
            meaning = "of the noise of +g and −g: near 1, pairs help m and hurt c"
            yield Check(f"correlation in pairs, {bias.component}", _plain(found.correlation), meaning)
        if found.ring_correlation is not None:
            meaning = "of the offsets of a galaxy and the same turned by 90°: −1 where shape noise is all"
            yield Check(f"correlation in rings, {bias.component}", _plain(found.ring_correlation), meaning)


def _line(results: BiasResults) -> Iterator[Check]:
    for bias in results.components:
        if bias.cubic is not None:
            yield Check(f"g³ of {bias.component}", measure(bias.cubic), "coefficient of g³; 0 where a line is enough")


def _joint(results: BiasResults) -> Iterator[Check]:
    joint = results.joint
    for entry in joint.matrix:
        name = f"m{entry.estimate[1]}{entry.truth[1]}"
        yield Check(name, _resampled(entry.m), f"response of {entry.estimate} to a true {entry.truth}")
    for found in joint.finite_draws:
        value = with_error(found.shift.value, found.shift.jackknife)
        meaning = "m from half of the draws, less m from all: what more of them would still change"
        yield Check(f"half the draws, {found.component}", value, meaning)
    for other in joint.others:
        shift = with_error(other.shift.value, other.shift.jackknife)
        meaning = f"by another estimator over the same galaxies; less the m of the verdict: {shift}"
        yield Check(f"m of {other.component}, {_ESTIMATORS[other.estimator]}", _resampled(other.m), meaning)
    if joint.leakage is not None:
        meaning = "c over the shape of the PSF, if all of c is leakage"
        yield Check("PSF leakage α", measure(joint.leakage.alpha), meaning)


def measure(found: Measure | None) -> str:
    """A number with its error, or a dash."""
    return "–" if found is None else with_error(found.value, found.error)


def _resampled(resampled: Resampled) -> str:
    return with_error(resampled.value, resampled.jackknife)


def _plain(value: float) -> str:
    return number(value, "+.3f")

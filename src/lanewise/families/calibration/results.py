"""From ranks to the content of `stats/calibration_results.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats

from lanewise.families.calibration.ranks import LOG_LIKELIHOOD, Ranks
from lanewise.families.calibration.sizing import JUDGED, POWER, central, margin_of
from lanewise.families.shear.statistics.tally import Excluded, Tally, excluded, tally
from lanewise.manifest.manifest import Acceptance, Realizations
from lanewise.manifest.protocols import DamagedChunk
from lanewise.statistics import coverage as coverages
from lanewise.statistics import uniformity
from lanewise.statistics.coverage import Margin
from lanewise.statistics.numbers import number, percent
from lanewise.statistics.verdict import RANK, Decision, Judgement, Verdict, completeness, lines

FORMAT_VERSION = 2
RANK_P_MIN = 0.01
LEVELS = (0.5, 0.68, 0.9, 0.95)
# Wrong posteriors whose chance to pass is stated: width and offset in units of the right width.
DEPARTURES = ((0.7, 0.0), (0.8, 0.0), (1.25, 0.0), (1.4, 0.0), (1.0, 0.3), (1.0, 0.6))
# Smallest number that detects a posterior width wrong by a factor of two (tests/families/calibration).
FEWEST = 100


@dataclass(frozen=True)
class Missing:
    """A planned realization that is not computed yet, or whose chunk is damaged."""

    run_id: str
    seed: int


@dataclass(frozen=True)
class Coverage:
    """How often the truth is inside the central interval of the draws.

    Attributes:
        level: requested probability of the interval.
        nominal: probability closest to `level` that L + 1 ranks allow; the coverage of a calibrated posterior.
        n_inside: number of truths inside.
        value: fraction of truths inside.
        low, high: 95 % Clopper–Pearson interval of `value`.
        p: two-sided p-value of the binomial test against `nominal`.
    """

    level: float
    nominal: float
    n_inside: int
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Departure:
    """A wrong posterior of one latent, and how often a campaign of this size passes all the same.

    Attributes:
        width: of the posteriors, in units of the right one.
        offset: of the posteriors, in units of the right width.
        p_pass: upper bound of the probability, for Gaussian posteriors: the less likely of passing the test of
            coverage and passing that of the ECDF.
    """

    width: float
    offset: float
    p_pass: float


@dataclass(frozen=True)
class RankTest:
    """Uniformity tests of one quantity's ranks.

    Attributes:
        quantity: a latent, or the log likelihood.
        counts: ranks per bin.
        chi2, p_chi2: Pearson's test of the bins, with (bins − 1) degrees of freedom.
        p_ecdf: p-value of the largest deviation of the ECDF, over all steps.
        p: twice the smaller of the two p-values, at most 1.
        mean: of (rank + ½)/(L + 1); below ½, the draws are too large on average.
        coverage: at 50, 68, 90 and 95 %; empty for the log likelihood, whose central interval has no meaning.
    """

    quantity: str
    counts: tuple[int, ...]
    chi2: float
    p_chi2: float
    p_ecdf: float
    p: float
    mean: float
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True)
class CalibrationResults:
    """Results of a calibration campaign; the content of `stats/calibration_results.json`.

    Attributes:
        rank_p_min, coverage_margin, max_excluded_frac: limits from the manifest.
        coverage_level: confidence of the intervals of coverage that must lie within the margin; above 95 % for an
            extended campaign.
        p_shown: probability that this many realizations of calibrated posteriors show the coverage of all latents.
        departures: what this many realizations would let pass; empty without ranks.
        n_ranks: L + 1.
        n_bins, n_steps: bins of χ² and steps of the ECDF.
        band_gamma: probability of being outside the simultaneous 95 % bands at a single step; None without ranks.
    """

    format_version: int
    verdict: Decision
    rank_p_min: float
    coverage_margin: float
    coverage_level: float
    max_excluded_frac: float
    tally: Tally
    n_ranks: int
    n_bins: int
    n_steps: int
    band_gamma: float | None
    quantities: tuple[RankTest, ...]
    p_shown: float | None
    departures: tuple[Departure, ...]
    excluded: tuple[Excluded, ...]
    missing: tuple[Missing, ...]
    damaged: tuple[DamagedChunk, ...]

    def __repr__(self) -> str:
        """The verdict and its reasons."""
        return "\n".join(lines(self.verdict))


def evaluate(
    summary: pd.DataFrame,
    ranks: Ranks,
    *,
    acceptance: Acceptance,
    missing: Sequence[Missing] = (),
    damaged: Sequence[DamagedChunk] = (),
    asked: Realizations | None = None,
) -> CalibrationResults:
    """Numbers and verdict of a calibration campaign.

    Args:
        summary: the table of `summary.csv`.
        ranks: of the realizations that count.
        acceptance: the manifest's bounds.
        missing: planned realizations that are not in the table.
        damaged: committed chunks that cannot be read; their realizations are missing.
        asked: the manifest's realizations, whose extensions are further looks at the campaign; None: the first look.
    """
    n = len(ranks.table)
    p_min = RANK_P_MIN if acceptance.rank_p_min is None else acceptance.rank_p_min
    bins, steps = uniformity.n_bins(n, ranks.n_ranks), uniformity.n_steps(ranks.n_ranks)
    tests = tuple(rank_test(name, ranks, bins, steps) for name in ranks.quantities) if n else ()
    lost = summary[~summary["run_id"].isin(set(ranks.table["run_id"]))]
    whole = completeness(used=n, excluded=len(lost), missing=len(missing), limit=acceptance.max_excluded_frac)
    margin = margin_of(acceptance, ranks.n_ranks, asked)
    n_latents = sum(bool(test.coverage) for test in tests)
    return CalibrationResults(
        format_version=FORMAT_VERSION,
        verdict=_decide(whole, tests, n, p_min, margin),
        rank_p_min=p_min,
        coverage_margin=margin.margin,
        coverage_level=margin.level,
        max_excluded_frac=acceptance.max_excluded_frac,
        tally=tally(summary, n_used=n, n_missing=len(missing)),
        n_ranks=ranks.n_ranks,
        n_bins=bins,
        n_steps=steps,
        band_gamma=uniformity.band(n, steps) if n else None,
        quantities=tests,
        p_shown=margin.p_shown(n) ** n_latents if n else None,
        departures=_departures(n, steps, margin, p_min / 2 / len(tests)) if n else (),
        excluded=excluded(lost, ["" if pd.isna(reason) else str(reason) for reason in lost["reason"]]),
        missing=tuple(missing),
        damaged=tuple(damaged),
    )


@cache
def _departures(n: int, steps: int, margin: Margin, p_min: float) -> tuple[Departure, ...]:
    gamma, share = uniformity.band(n, steps, p_min), np.arange(1, steps) / steps

    def p_pass(width: float, offset: float) -> float:
        covered = margin.p_shown(n, coverages.coverage_of(width, offset, margin.nominal))
        return min(covered, 1 - uniformity.outside(n, steps, gamma, coverages.rank_distribution(width, offset, share)))

    return tuple(Departure(width, offset, p_pass(width, offset)) for width, offset in DEPARTURES)


def rank_test(name: str, ranks: Ranks, bins: int, steps: int) -> RankTest:
    """Test the ranks of one quantity for uniformity."""
    found = ranks.table[name].to_numpy(np.int64)
    counts = uniformity.histogram(found, ranks.n_ranks, bins)
    chi2, p_chi2 = uniformity.chi2(counts)
    p_ecdf = uniformity.ecdf_p(found, ranks.n_ranks, steps)
    return RankTest(
        quantity=name,
        counts=tuple(int(k) for k in counts),
        chi2=chi2,
        p_chi2=p_chi2,
        p_ecdf=p_ecdf,
        p=min(1.0, 2 * min(p_chi2, p_ecdf)),
        mean=float(np.mean((found + 0.5) / ranks.n_ranks)),
        coverage=tuple(coverage(found, ranks.n_ranks, level) for level in LEVELS) if name != LOG_LIKELIHOOD else (),
    )


def coverage(rank: uniformity.Ranks, n_ranks: int, level: float) -> Coverage:
    """Coverage of the central interval of probability `level`, rounded to an equal number of ranks at each end."""
    outer, nominal = central(n_ranks, level)
    inside, n = int(np.sum((rank >= outer) & (rank < n_ranks - outer))), len(rank)
    (low,), (high,) = coverages.interval(np.array([inside]), n)
    p = float(stats.binomtest(inside, n, nominal).pvalue)
    return Coverage(level, nominal, inside, inside / n, float(low), float(high), p)


def _decide(whole: Judgement, tests: Sequence[RankTest], n: int, p_min: float, margin: Margin) -> Decision:
    covers = [_covers(test, cover, n, margin) for test in tests for cover in test.coverage if cover.level == JUDGED]
    judgements = [whole, *(_judge(test, len(tests), p_min) for test in tests), *covers]
    if tests and n < FEWEST:
        text = f"{n} realizations are too few to find a fault; at least {FEWEST} are needed."
        judgements.append(
            Judgement("realizations", None, Verdict.INCONCLUSIVE, text, value=n, bound=FEWEST, n_needed=FEWEST)
        )
    verdict = next(v for v in RANK if any(j.verdict is v for j in judgements))
    deciding = [j for j in judgements if j.verdict is verdict]
    reasons = [j.sentence for j in deciding]
    needs = [j.n_needed for j in deciding]
    short = max((k for k in needs if k is not None), default=None) if None not in needs else None
    if verdict is Verdict.PASS:
        least = min(tests, key=lambda test: test.p)
        reasons = [
            f"The 68 % intervals of {len(covers)} latents hold the truth in {percent(margin.nominal)} ± "
            f"{percent(margin.margin)} of all cases, each with {percent(margin.level)} confidence.",
            f"The ranks of {len(tests)} quantities over {n} realizations are uniform; the least likely, "
            f"{said(least.quantity)}, has p = {number(min(1.0, least.p * len(tests)), '.2g')}, corrected for "
            "their number.",
        ]
    return Decision(verdict, _HEADLINE[verdict], tuple(reasons), short, short and short - n, tuple(judgements))


_HEADLINE = {
    Verdict.PASS: "The posteriors are calibrated within the margin.",
    Verdict.FAIL: "The posteriors are not calibrated.",
    Verdict.INCONCLUSIVE: "These realizations cannot decide.",
    Verdict.INVALID: "The numbers of this campaign must not be used.",
}


def _judge(test: RankTest, n_tests: int, p_min: float) -> Judgement:
    corrected = min(1.0, test.p * n_tests)
    failed = corrected < p_min
    verdict = Verdict.FAIL if failed else Verdict.PASS
    text = (
        f"The ranks of {said(test.quantity)} are {'not ' if failed else ''}uniform: p = {number(corrected, '.2g')} "
        f"(χ² {number(test.p_chi2, '.2g')}, ECDF {number(test.p_ecdf, '.2g')}), corrected for {n_tests} quantities; "
        f"the bound is {number(p_min, 'g')}."
    )
    return Judgement("ranks", test.quantity, verdict, text, value=corrected, bound=p_min)


def _covers(test: RankTest, cover: Coverage, n: int, margin: Margin) -> Judgement:
    """Compare the confidence interval of the coverage with the margin around its nominal value."""
    (low,), (high,) = coverages.interval(np.array([cover.n_inside]), n, margin.level)
    first, last = margin.nominal - margin.margin, margin.nominal + margin.margin
    needed = None
    what = f"The 68 % interval of {said(test.quantity)} holds the truth in {percent(cover.value)} of {n} cases"
    known = f"{percent(low)} to {percent(high)} with {percent(margin.level)} confidence"
    allowed = f"the {percent(first)} to {percent(last)} that are allowed"
    if first <= low and high <= last:
        verdict, text = Verdict.PASS, f"{what}, {known}, within {allowed}."
    elif high < first or low > last:
        verdict, text = Verdict.FAIL, f"{what}, {known}, outside {allowed}."
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"{what}, {known}: not within {allowed}"
        gap = min(abs(cover.value - first), abs(last - cover.value))
        planned = margin.n_needed(POWER)
        if gap**2 > cover.value * (1 - cover.value) / n:
            needed = max(n + 1, planned, math.ceil(n * ((high - low) / 2 / gap) ** 2))
        elif n < planned:
            needed = planned
        more = "too near to its edge to say how many" if needed is None else f"about {needed}"
        text = f"{text}; {more} realizations would decide."
    return Judgement("coverage", test.quantity, verdict, text, value=cover.value, bound=margin.margin, n_needed=needed)


def said(quantity: str) -> str:
    """Name of a quantity for a sentence: spaces instead of underscores."""
    return quantity.replace("_", " ")

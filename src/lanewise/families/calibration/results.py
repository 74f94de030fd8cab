"""From ranks to the content of `stats/calibration_results.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lanewise.families.calibration.ranks import LOG_LIKELIHOOD, Ranks
from lanewise.families.shear.statistics.tally import Excluded, Tally, excluded, tally
from lanewise.manifest.manifest import Acceptance
from lanewise.manifest.protocols import DamagedChunk
from lanewise.statistics import uniformity
from lanewise.statistics.verdict import RANK, Decision, Judgement, Verdict, completeness

FORMAT_VERSION = 1
RANK_P_MIN = 0.01
LEVELS = (0.5, 0.68, 0.9, 0.95)
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
        rank_p_min, max_excluded_frac: limits from the manifest.
        n_ranks: L + 1.
        n_bins, n_steps: bins of χ² and steps of the ECDF.
        band_gamma: probability of being outside the simultaneous 95 % bands at a single step; None without ranks.
    """

    format_version: int
    verdict: Decision
    rank_p_min: float
    max_excluded_frac: float
    tally: Tally
    n_ranks: int
    n_bins: int
    n_steps: int
    band_gamma: float | None
    quantities: tuple[RankTest, ...]
    excluded: tuple[Excluded, ...]
    missing: tuple[Missing, ...]
    damaged: tuple[DamagedChunk, ...]


def evaluate(
    summary: pd.DataFrame,
    ranks: Ranks,
    *,
    acceptance: Acceptance,
    missing: Sequence[Missing] = (),
    damaged: Sequence[DamagedChunk] = (),
) -> CalibrationResults:
    """Numbers and verdict of a calibration campaign.

    Args:
        summary: the table of `summary.csv`.
        ranks: of the realizations that count.
        acceptance: the manifest's bounds.
        missing: planned realizations that are not in the table.
        damaged: committed chunks that cannot be read; their realizations are missing.
    """
    n = len(ranks.table)
    p_min = RANK_P_MIN if acceptance.rank_p_min is None else acceptance.rank_p_min
    bins, steps = uniformity.n_bins(n, ranks.n_ranks), uniformity.n_steps(ranks.n_ranks)
    tests = tuple(rank_test(name, ranks, bins, steps) for name in ranks.quantities) if n else ()
    lost = summary[~summary["run_id"].isin(set(ranks.table["run_id"]))]
    whole = completeness(used=n, excluded=len(lost), missing=len(missing), limit=acceptance.max_excluded_frac)
    return CalibrationResults(
        format_version=FORMAT_VERSION,
        verdict=_decide(whole, tests, n, p_min),
        rank_p_min=p_min,
        max_excluded_frac=acceptance.max_excluded_frac,
        tally=tally(summary, n_used=n, n_missing=len(missing)),
        n_ranks=ranks.n_ranks,
        n_bins=bins,
        n_steps=steps,
        band_gamma=uniformity.band(n, steps) if n else None,
        quantities=tests,
        excluded=excluded(lost, ["" if pd.isna(reason) else str(reason) for reason in lost["reason"]]),
        missing=tuple(missing),
        damaged=tuple(damaged),
    )


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
    outer = round(n_ranks * (1 - level) / 2)
    nominal = 1 - 2 * outer / n_ranks
    inside, n = int(np.sum((rank >= outer) & (rank < n_ranks - outer))), len(rank)
    low, high = uniformity.clopper_pearson(inside, n)
    p = float(stats.binomtest(inside, n, nominal).pvalue)
    return Coverage(level, nominal, inside, inside / n, low, high, p)


def _decide(whole: Judgement, tests: Sequence[RankTest], n: int, p_min: float) -> Decision:
    judgements = [whole, *(_judge(test, len(tests), p_min) for test in tests)]
    if tests and n < FEWEST:
        text = f"{n} realizations are too few to find a fault; at least {FEWEST} are needed."
        judgements.append(
            Judgement("realizations", None, Verdict.INCONCLUSIVE, text, value=n, bound=FEWEST, n_needed=FEWEST)
        )
    short = FEWEST if 0 < n < FEWEST else None
    verdict = next(v for v in RANK if any(j.verdict is v for j in judgements))
    reasons = [j.sentence for j in judgements if j.verdict is verdict]
    if verdict is Verdict.PASS:
        least = min(tests, key=lambda test: test.p)
        reasons = [
            f"The ranks of {len(tests)} quantities over {n} realizations are uniform; the least likely, "
            f"{said(least.quantity)}, has p = {min(1.0, least.p * len(tests)):.2g}, corrected for their number."
        ]
    return Decision(verdict, _HEADLINE[verdict], tuple(reasons), short, short and short - n, tuple(judgements))


_HEADLINE = {
    Verdict.PASS: "The posteriors are calibrated, as far as these realizations can tell.",
    Verdict.FAIL: "The posteriors are not calibrated.",
    Verdict.INCONCLUSIVE: "These realizations cannot decide.",
    Verdict.INVALID: "The numbers of this campaign must not be used.",
}


def _judge(test: RankTest, n_tests: int, p_min: float) -> Judgement:
    corrected = min(1.0, test.p * n_tests)
    failed = corrected < p_min
    verdict = Verdict.FAIL if failed else Verdict.PASS
    text = (
        f"The ranks of {said(test.quantity)} are {'not ' if failed else ''}uniform: p = {corrected:.2g} "
        f"(χ² {test.p_chi2:.2g}, ECDF {test.p_ecdf:.2g}), corrected for {n_tests} quantities; "
        f"the bound is {p_min:g}."
    )
    return Judgement("ranks", test.quantity, verdict, text, value=corrected, bound=p_min)


def said(quantity: str) -> str:
    """Name of a quantity for a sentence: spaces instead of underscores."""
    return quantity.replace("_", " ")

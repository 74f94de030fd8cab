"""Campaigns that must not pass: few realizations, curved responses, lost realizations, what was not measured.

Rates are of toy campaigns whose bias is known. With a rate of .135 % (three errors, one side), more than the limit of
`_limit` passes have a probability below 1e-4.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import BiasResults, evaluate
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.regression import design, fit, measures
from lanewise.statistics.verdict import Verdict
from tables import MakeTable, Spoil, known

NARROW = GaussianPrior(0.0, 10.0)


def _evaluated(table: pd.DataFrame, **acceptance: object) -> BiasResults:
    return evaluate(table, priors=(NARROW, NARROW), acceptance=Acceptance(**acceptance))  # type: ignore[arg-type]


def _criteria(found: BiasResults) -> dict[str, Verdict | None]:
    return {judgement.criterion: judgement.verdict for judgement in found.verdict.judgements}


def _limit(n: int) -> float:
    return float(stats.binom.isf(1e-4, n, 0.00135))


@pytest.mark.parametrize("n_groups", [2, 3, 4, 6, 10])
@pytest.mark.parametrize("honest", [True, False], ids=["honest widths", "widths 100 times too small"])
def test_few_realizations_with_the_bias_on_the_bound_do_not_pass(n_groups: int, honest: bool) -> None:
    """One shear, so that c is the mean: with two realizations and narrow widths 3.5 % passed."""
    n, bound, rng = 4000, 0.01, np.random.default_rng(n_groups)
    width = np.full(n_groups, 1e-3 if honest else 1e-5)
    n_passed = 0
    for _ in range(n):
        value = bound + 1e-3 * rng.standard_normal(n_groups)
        c = measures(known(fit(np.ones((n_groups, 1)), value=value, width=width, seed=np.arange(n_groups))), None)[0]
        n_passed += c.error is not None and abs(c.value) + 3 * c.error < bound
    assert n_passed <= _limit(n)


@pytest.mark.parametrize("case", ["leverage", "noise"])
def test_uneven_leverage_or_noise_does_not_pass(case: str) -> None:
    """Eight of ten realizations say little about the slope; where two carry it, 2.7 % passed."""
    n, bound, rng = 4000, 0.1, np.random.default_rng(11)
    truth = np.array([0.0] * 7 + [0.05, 0.05, 0.05]) if case == "leverage" else np.tile([-0.05, 0.05], 5)
    sigma = np.full(10, 1e-3) if case == "leverage" else np.array([1e-4] * 7 + [2e-3] * 3)
    n_passed = 0
    for _ in range(n):
        value = (1 + bound) * truth + sigma * rng.standard_normal(10)
        line = known(fit(design(truth), value=value, width=sigma, seed=np.arange(10)))
        m = measures(line, None)[1]
        n_passed += m.error is not None and abs(m.value - 1) + 3 * m.error < bound
    assert n_passed <= _limit(n)


def test_one_realization_is_no_evidence(make_table: MakeTable) -> None:
    found = _evaluated(make_table([0.02], 1, g2=None, sigma=1e-5), max_abs_m=0.01)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE


def test_a_curved_response_is_judged_at_its_worst_end(make_table: MakeTable) -> None:
    """m = +2.8 % at |g| = .02 and −.1 % at .05: the mean slope is within 1 %, and passed."""
    table = make_table([-0.05, -0.02, 0.02, 0.05], 50, g2=None, sigma=1e-4, prior=(0.0, 10.0))
    k = -0.029 / (0.05**2 - 0.02**2)
    a = 0.028 - k * 0.02**2
    table["g1_mean"] += a * table["g1_true"] + k * table["g1_true"] ** 3
    found = _evaluated(table, max_abs_m=0.01)
    g1 = known(found.g1)
    assert abs(known(g1.m).value) < 0.01
    assert known(g1.cubic).error is not None
    assert [end.g for end in g1.m_ends] == [0.02, 0.05]
    assert [end.m.value for end in g1.m_ends] == pytest.approx([0.028, -0.001], abs=1e-3)
    assert found.verdict.verdict is Verdict.FAIL
    assert "at |g| = 0.02 (curved)" in found.verdict.reasons[0]
    straight = _evaluated(make_table([-0.05, -0.02, 0.02, 0.05], 50, g2=None, sigma=1e-4), max_abs_m=0.01)
    assert straight.verdict.verdict is Verdict.PASS


def test_posteriors_far_narrower_than_their_scatter_do_not_pass(make_table: MakeTable) -> None:
    table = make_table([-0.05, 0.05], 50, g2=None, sigma=1e-4, noise=2.5e-4)
    found = _evaluated(table, max_abs_m=0.01)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    assert "narrower than their scatter" in found.verdict.reasons[0]
    sound = _evaluated(make_table([-0.05, 0.05], 50, g2=None, sigma=1e-4), max_abs_m=0.01)
    assert sound.verdict.verdict is Verdict.PASS
    assert _criteria(sound)["chi2"] is None


def test_excluded_realizations_could_have_been_the_worst(make_table: MakeTable, spoil: Spoil) -> None:
    """4 of 100 lie anywhere within 3.29 of the scatter: m could be off by .04 · 3.29 · .01/.05 = .026."""
    table = make_table([-0.05, 0.05], 50, g2=None, sigma=0.01, prior=(0.0, 10.0))
    whole = _evaluated(table, max_abs_m=0.075)
    assert whole.verdict.verdict is Verdict.PASS
    found = _evaluated(spoil(table, [3, 7, 60, 80]), max_abs_m=0.075)
    assert known(known(found.g1).m_lost) == pytest.approx(0.04 * 3.29 * 0.01 / 0.05, rel=0.3)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    assert "the realizations that did not enter could change it" in found.verdict.reasons[0]
    assert _evaluated(spoil(table, [3, 7, 60, 80]), max_abs_m=0.2).verdict.verdict is Verdict.PASS


def test_a_named_requirement_needs_all_that_it_names(make_table: MakeTable) -> None:
    only_g1 = make_table([-0.05, 0.05], 50, g2=None, sigma=1e-6)
    found = _evaluated(only_g1, requirement="lsst")
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    assert "m of g2, c of g2" in found.verdict.reasons[0]
    told = _evaluated(only_g1, max_abs_m=1e-3)
    assert told.verdict.verdict is Verdict.PASS
    assert told.verdict.reasons[-1] == "Not measured: m of g2."
    one_shear = _evaluated(make_table([0.05], 50, g2=0.02, sigma=1e-6), requirement="lsst")
    assert one_shear.verdict.verdict is Verdict.INCONCLUSIVE
    assert "c of g1 apart from m" in one_shear.verdict.reasons[0]


def test_exclusion_of_rings_is_counted_by_group(make_table: MakeTable, spoil: Spoil) -> None:
    """Four arms of one seed are lost together: three lost seeds of 100 are no twelve independent losses."""
    rings = []
    for g in (0.02, 0.05):
        for turn in ("", "_r90"):
            table = make_table([-g, g], 50, g2=None)
            first = 42 if g == 0.02 else 1042
            table["seed"] = [*range(first, first + 50)] * 2
            table["run_id"] = [
                f"g1_{t:+.4f}_g2_+0.0000_s{s}{turn}" for t, s in zip(table["g1_true"], table["seed"], strict=True)
            ]
            rings.append(table)
    whole = pd.concat(rings, ignore_index=True)
    # All in one of the two shears: by arms p = 2e-4, by groups C(50, 3) / C(100, 3) · 2 = .24.
    found = _evaluated(spoil(whole, [0, 1, 2]), max_abs_m=0.1, max_excluded_frac=0.2)
    judged = next(j for j in found.verdict.judgements if j.criterion == "exclusion_by_shear")
    assert judged.verdict is Verdict.PASS
    assert known(judged.value) == pytest.approx(0.24, abs=0.02)
    assert found.tally.n_excluded == 12


def test_every_realization_is_in_every_tally(make_table: MakeTable, spoil: Spoil) -> None:
    table = spoil(make_table([-0.05, 0.05], 25, g2=0.0), [49])
    without = table.assign(g1_true=np.nan, g2_true=np.nan)
    found = _evaluated(without, max_abs_m=0.01)
    assert {one.status: one.n for one in found.tally.statuses if one.n} == {"ok": 49, "failed": 1}
    assert (found.tally.n_planned, found.tally.n_without_truth) == (50, 50)
    partly = table.copy()
    partly.loc[list(range(20)) + list(range(25, 45)), ["g1_true", "g2_true"]] = np.nan
    judged = _evaluated(partly, max_abs_m=0.01)
    assert (judged.tally.n_used, judged.tally.n_excluded, judged.tally.n_without_truth) == (9, 1, 40)
    assert "40 of 50 realizations have no known truth and do not enter." in judged.verdict.reasons

"""m and c against closed forms and simulated campaigns."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lanewise.families.shear.statistics.bias import ComponentBias, component_bias
from lanewise.families.shear.statistics.estimates import GaussianPrior, estimates
from lanewise.families.shear.statistics.selection import Component, ShearTruth, counts, inferred
from tables import MakeTable, known, plain


def bias_of(
    table: pd.DataFrame, prior: tuple[float, float] | None = (0.0, 0.05), component: Component = "g1"
) -> ComponentBias:
    return component_bias(component, estimates(table, component, GaussianPrior(*prior) if prior else None))


@pytest.mark.parametrize("sigma", [1e-4, 0.02, 0.045])
@pytest.mark.parametrize("mu", [0.0, 0.03, -0.4])
def test_prior_is_taken_out_exactly(make_table: MakeTable, sigma: float, mu: float) -> None:
    """Without noise the planted m and c come back to rounding, whatever the prior does to them."""
    table = make_table(m=0.02, c=3e-3, sigma=sigma, noise=0.0, prior=(mu, 0.05))
    found = bias_of(table, (mu, 0.05))
    lam = 1 / (1 + (sigma / 0.05) ** 2)
    assert known(found.shrinkage).lambda_hat == pytest.approx(lam, rel=1e-12)
    assert known(found.m).value == pytest.approx(0.02, abs=1e-12)
    assert known(found.c).value == pytest.approx(3e-3, abs=1e-12)
    assert found.raw_m == pytest.approx(lam * 1.02 - 1, abs=1e-12)
    assert found.raw_c == pytest.approx(lam * 3e-3 + (1 - lam) * mu, abs=1e-12)


def test_without_a_gaussian_prior_the_means_are_taken_as_they_are(make_table: MakeTable) -> None:
    table = make_table(m=0.02, c=3e-3, sigma=0.02, noise=0.0)
    found = bias_of(table, None)
    assert found.shrinkage is None
    assert (known(found.m).value, known(found.c).value) == (found.raw_m, found.raw_c)
    assert known(found.m).value == pytest.approx(1.02 / (1 + 0.4**2) - 1, abs=1e-12)


def test_equal_truths_leave_m_undefined(make_table: MakeTable) -> None:
    found = bias_of(make_table(g2=0.0, c=5e-4, noise=0.0), component="g2")
    assert found.m is None
    assert found.m_single_point is None
    assert found.raw_m is None
    assert known(found.c).value == pytest.approx(5e-4, abs=1e-12)


def test_one_nonzero_truth_gives_the_single_point_m(make_table: MakeTable) -> None:
    """ĝ/g − 1 at g = 0.02 with sixteen realizations of width σ: the predicted error is σ / (4 g)."""
    found = bias_of(make_table((0.02,), 16, m=0.1, sigma=1e-4, noise=0.0))
    assert found.m is None
    assert known(found.m_single_point).value == pytest.approx(0.1, abs=1e-10)
    assert known(found.m_single_point).error_predicted == pytest.approx(1e-4 / (4 * 0.02), rel=1e-4)
    assert known(found.c).value == pytest.approx(0.002, abs=1e-12)


def test_mean_of_independent_realizations_has_the_textbook_errors() -> None:
    rng = np.random.default_rng(3)
    value = 0.01 + 1e-3 * rng.standard_normal(9)
    c = known(component_bias("g1", plain(np.zeros(9), value, np.full(9, 2e-3), range(9))).c)
    assert c.error_realised == pytest.approx(np.std(value, ddof=1) / 3, rel=1e-12)
    assert c.error_predicted == pytest.approx(2e-3 / 3, rel=1e-12)
    assert c.error == c.error_predicted


def test_line_has_the_textbook_predicted_errors() -> None:
    truth, sigma = np.repeat([0.01, 0.02, 0.05], 3), 1e-3
    found = component_bias("g1", plain(truth, truth, np.full(9, sigma), range(9)))
    spread = np.sum((truth - truth.mean()) ** 2)
    assert known(found.m).error == pytest.approx(sigma / np.sqrt(spread), rel=1e-12)
    assert known(found.c).error == pytest.approx(sigma * np.sqrt(1 / 9 + truth.mean() ** 2 / spread), rel=1e-12)


def test_pairs_that_share_a_seed_have_the_errors_of_pair_differences() -> None:
    """±g with shared noise: m and c are differences and sums of pairs, with their scatter over pairs."""
    rng, g, n = np.random.default_rng(4), 0.02, 40
    common, own = 1e-3 * rng.standard_normal(n), 1e-5 * rng.standard_normal((2, n))
    plus, minus = g + common + own[0], -g + common + own[1]
    truth, value = np.repeat([g, -g], n), np.concatenate([plus, minus])
    found = component_bias("g1", plain(truth, value, np.full(2 * n, 1e-3), [*range(n), *range(n)]))
    m, c = (plus - minus) / (2 * g) - 1, (plus + minus) / 2
    assert found.n_clusters == n
    assert known(found.m).value == pytest.approx(m.mean(), rel=1e-9)
    assert known(found.m).error_realised == pytest.approx(np.std(m, ddof=1) / np.sqrt(n), rel=1e-9)
    assert known(found.c).error_realised == pytest.approx(np.std(c, ddof=1) / np.sqrt(n), rel=1e-9)
    assert known(found.m).error_predicted is None  # the widths do not know what the members of a pair share


def test_sandwich_equals_its_definition_with_explicit_matrices() -> None:
    """(XᵀX)⁻¹ Σ X_gᵀ A_g u_g u_gᵀ A_g X_g (XᵀX)⁻¹, A_g = (I − H_gg)^(−1/2), clusters of unequal size."""
    rng = np.random.default_rng(5)
    seed = np.array([0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 5])
    truth = rng.uniform(-0.05, 0.05, len(seed))
    value = truth + 1e-3 * rng.standard_normal(len(seed))
    x = np.stack([np.ones_like(truth), truth], axis=1)
    bread = np.linalg.inv(x.T @ x)
    residual = value - x @ (bread @ x.T @ value)
    meat = np.zeros((2, 2))
    for s in np.unique(seed):
        of = seed == s
        w, v = np.linalg.eigh(np.eye(of.sum()) - x[of] @ bread @ x[of].T)
        score = x[of].T @ (v @ np.diag(w**-0.5) @ v.T) @ residual[of]
        meat += np.outer(score, score)
    expected = np.sqrt(np.diag(bread @ meat @ bread))
    found = component_bias("g1", plain(truth, value, np.full(len(seed), 1e-3), seed))
    assert (known(found.c).error_realised, known(found.m).error_realised) == pytest.approx(tuple(expected), rel=1e-9)


def test_realised_error_alone_is_widened_by_students_t() -> None:
    """Five seeds, no width: three errors must hold 99.73 %, and at 4 degrees of freedom 6.62 of them do."""
    value = 1e-3 * np.random.default_rng(6).standard_normal(5)
    c = known(component_bias("g1", plain(np.zeros(5), value, np.zeros(5), range(5))).c)
    assert c.error_predicted is None
    assert 3 * known(c.error) == pytest.approx(6.620 * known(c.error_realised), rel=1e-3)


@pytest.mark.parametrize("predicted", [True, False])
def test_errors_cover_the_planted_bias(predicted: bool) -> None:
    """500 campaigns of 30 realizations: three errors hold m and c as often as they say.

    At 0.27 % per campaign, more misses than the limit have a probability below 1e-5. One error holds 68.3 %
    (predicted) or 67.4 % (realised, 28 degrees of freedom): 341 or 337 ± 10.5 campaigns; the bounds are 3.7 σ
    away or more.
    """
    rng, truth = np.random.default_rng(7), np.repeat([-0.05, 0.01, 0.05], 10)
    misses = {"m": 0, "c": 0}
    within = 0
    for _ in range(500):
        value = 1.01 * truth + 2e-3 + 1e-3 * rng.standard_normal(30)
        found = component_bias("g1", plain(truth, value, np.full(30, 1e-3 if predicted else 0.0), range(30)))
        m, c = known(found.m), known(found.c)
        misses["m"] += abs(m.value - 0.01) > 3 * known(m.error)
        misses["c"] += abs(c.value - 2e-3) > 3 * known(c.error)
        error = m.error_predicted if predicted else m.error_realised
        within += abs(m.value - 0.01) < known(error)
    assert max(misses.values()) <= stats.binom.isf(1e-5, 500, 0.0027)
    assert 298 <= within <= 380


def test_error_of_lambda_reaches_m() -> None:
    """No noise on ĝ, but posterior variances that scatter by 50 %: all of m's error is λ̂'s, and it covers m.

    λ = 0.8, 25 realizations, variances with a gamma(4) scatter: σ_m = 0.25 · 0.5 / 5 = 0.025. Of 250
    campaigns, those within one error number 171 ± 7.4; the bounds are 5 σ.
    """
    rng, prior, lam = np.random.default_rng(8), GaussianPrior(0.01, 0.05), 0.8
    truth = np.linspace(-0.05, 0.05, 25)
    values = lam * truth + (1 - lam) * prior.mean
    hits, offsets = 0, []
    for _ in range(250):
        variance = (1 - lam) * prior.sigma**2 * rng.gamma(4, 1 / 4, 25)
        table = pd.DataFrame(
            {"run_id": [f"r{i:02}" for i in range(25)], "g1_true": truth, "g2_true": 0.0, "g1_mean": values}
            | {"g1_std": np.sqrt(variance), "ess_g1": np.nan, "g2_mean": np.nan, "seed": range(25)}
            | {"g1_half_mean": np.nan, "g1_half_std": np.nan}
            | {"passed_convergence": True}
        )
        found = component_bias("g1", estimates(table, "g1", prior))
        m, shrinkage = known(found.m), known(found.shrinkage)
        offsets.append(m.value)
        hits += abs(m.value) < known(m.error_realised)
        assert m.error_realised == pytest.approx(known(shrinkage.error) / known(shrinkage.lambda_hat), rel=0.2)
    assert np.std(offsets) == pytest.approx(0.025, rel=0.2)  # one σ is 4.5 % with 250
    assert 134 <= hits <= 208


def test_error_of_lambda_moves_c_about_the_prior_mean() -> None:
    """An estimate at the prior mean is not moved by λ̂ at all, one at a distance d by d σ_λ / λ."""
    rng, prior = np.random.default_rng(10), GaussianPrior(0.03, 0.05)
    width = 0.02 * rng.uniform(0.5, 1.5, 20)
    for distance in (0.0, 0.04):
        table = pd.DataFrame(
            {"run_id": [f"r{i:02}" for i in range(20)], "g1_true": 0.0, "g2_true": 0.0, "ess_g1": np.nan}
            | {"g1_mean": prior.mean + distance, "g1_std": width, "g2_mean": np.nan, "seed": range(20)}
            | {"g1_half_mean": np.nan, "g1_half_std": np.nan}
            | {"passed_convergence": True}
        )
        found = component_bias("g1", estimates(table, "g1", prior))
        shrinkage = known(found.shrinkage)
        error, lam = known(shrinkage.error), known(shrinkage.lambda_hat)
        assert known(found.c).error_realised == pytest.approx(distance / lam * error / lam, rel=1e-9, abs=1e-12)


def test_one_seed_alone_at_a_shear_leaves_the_realised_error_undefined() -> None:
    """Its residual is zero whatever its noise: the scatter says nothing, and the widths alone are not believed."""
    truth, value = np.array([0.0, 0.0, 0.0, 0.05]), np.array([1e-4, -1e-4, 2e-4, 0.05])
    found = component_bias("g1", plain(truth, value, np.full(4, 1e-4), range(4)))
    m, c = known(found.m), known(found.c)
    assert (m.error_realised, c.error_realised) == (None, None)
    assert known(m.error_predicted) > 0
    assert m.error is None


def test_few_effective_draws_widen_the_error_of_lambda(make_table: MakeTable) -> None:
    """Equal widths do not scatter, yet each is known to 2σ⁴/ESS only: σ(λ̂) = (1 − λ) √(2 / (n ESS))."""
    table = make_table(sigma=0.03, noise=0.0)
    table["ess_g1"] = 20.0
    found = known(bias_of(table).shrinkage)
    assert found.error == pytest.approx((1 - known(found.lambda_hat)) * math.sqrt(2 / (12 * 20)), rel=1e-9)


def test_pulls_are_standard_normal_even_under_a_strong_prior(make_table: MakeTable) -> None:
    """402 pulls at λ = 0.61: their rms is 1 ± 0.035 (bounds 4 σ); those of the raw means have 0.78."""
    found = bias_of(make_table(n=134, sigma=0.04, prior=(0.02, 0.05)), (0.02, 0.05))
    assert known(found.pulls).n == 402
    assert known(found.pulls).rms == pytest.approx(1, abs=0.14)
    assert known(found.chi2) / found.dof == pytest.approx(1, abs=0.28)


def test_largest_pull_is_named(make_table: MakeTable) -> None:
    table = make_table()
    table.loc[[5], "g1_mean"] += 50e-4
    found = bias_of(table)
    assert known(found.pulls).max_abs_run_id == table.loc[5, "run_id"]
    assert known(found.pulls).max_abs == pytest.approx(50, abs=5)


def test_rows_that_did_not_converge_do_not_enter(make_table: MakeTable) -> None:
    table = make_table(noise=0.0)
    table.loc[2, ["g1_mean", "passed_convergence"]] = [0.9, False]
    found = bias_of(table)
    assert found.n == 11
    assert known(found.m).value == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("written", [[True, False], ["True", "False"], [np.True_, np.nan]])
def test_convergence_is_read_however_the_table_wrote_it(make_table: MakeTable, written: list[object]) -> None:
    table = make_table((0.01,), 2).assign(passed_convergence=pd.Series(written, dtype=object))
    assert counts(table).tolist() == [True, False]


def test_a_row_without_a_number_does_not_enter_whatever_it_claims(make_table: MakeTable) -> None:
    table = make_table((0.01,), 3)
    table.loc[1, "g2_mean"] = np.nan
    assert counts(table).tolist() == [True, False, True]


def test_a_component_held_fixed_excludes_nothing(make_table: MakeTable) -> None:
    table = make_table(g2=None)
    assert inferred(table) == ("g1",)
    assert counts(table).all()


def test_lambda_below_zero_leaves_the_bias_undefined(make_table: MakeTable) -> None:
    """Posteriors wider than the prior (draws can do that): there is nothing left to divide by."""
    found = bias_of(make_table(sigma=1.0), (0.0, 0.01))
    assert known(known(found.shrinkage).lambda_hat) < 0
    assert (found.m, found.c, found.pulls) == (None, None, None)


def test_a_pair_that_lost_an_arm_is_left_out_whole(make_table: MakeTable) -> None:
    table = make_table([0.02, -0.02], 4)
    table["seed"] = [1, 2, 3, 4, 1, 2, 3, 4]
    table.loc[5, "passed_convergence"] = False
    assert counts(table).tolist() == [True, False, True, True, True, False, True, True]


def _paired(make_table: MakeTable) -> pd.DataFrame:
    table = make_table([0.02, -0.02], 4)
    table["seed"] = [1, 2, 3, 4, 1, 2, 3, 4]
    return table


def test_a_pair_of_which_an_arm_is_missing_is_left_out_whole(make_table: MakeTable) -> None:
    table = _paired(make_table)
    missing = [ShearTruth("x", g1, 0.0, seed) for g1, seed in ((-0.02, 1), (0.02, 2), (-0.02, 9))]
    left = table.drop(index=[4, 1])
    expected = {0: False, 2: True, 3: True, 5: False, 6: True, 7: True}
    assert counts(left, missing).to_dict() == expected
    # Of a bare table nobody knows the plan, but pairs there are.
    assert counts(left).to_dict() == expected


def test_arms_of_which_every_partner_is_missing_do_not_count(make_table: MakeTable) -> None:
    table = _paired(make_table)
    missing = [ShearTruth("x", -0.02, 0.0, seed) for seed in (1, 2, 3, 4)]
    assert not counts(table[:4], missing).any()


def test_zero_shear_and_seeds_of_their_own_need_no_partner(make_table: MakeTable) -> None:
    table = make_table([-0.02, 0.0, 0.02], 2)
    missing = [ShearTruth("x", 0.02, 0.0, 900)]
    assert counts(table[:5], missing).all()

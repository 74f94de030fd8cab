"""The estimators against problems whose answer is known in closed form: linear, Gaussian, and planted biases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from families.shear.statistics.population import log_ratio, peak
from lanewise.families.shear.shears import TURNED
from lanewise.families.shear.statistics.bias import component_bias
from lanewise.families.shear.statistics.estimates import Estimates, GaussianPrior, estimates
from lanewise.families.shear.statistics.joint import joint
from lanewise.families.shear.statistics.pairs import pairs
from lanewise.families.shear.statistics.selection import COMPONENTS, Component, counts, signs
from lanewise.statistics.resampling import Resampled
from tables import known, plain

PRIOR, INTRINSIC, NOISE = 0.05, 0.2, 0.1


def arms(
    n: int,
    *,
    g: tuple[float, ...] = (0.02,),
    m: float = 0.0,
    c: float = 0.0,
    common: float = 0.0,
    own: float = 0.01,
    seed: int = 1,
    ring: float | None = None,
    prior: float = 1e3,
    cross: float = 0.0,
) -> pd.DataFrame:
    """A paired campaign in the columns that the statistics read: n pairs at each |g|, in both components.

    Args:
        common: noise that the arms of a pair share. own: noise of each arm.
        ring: shape noise of opposite sign in a galaxy and the same one turned; None for no rings.
        prior: width of the Gaussian prior on g, which pulls the means.
        cross: of g2 on the estimate of g1.
    """
    random, rows = np.random.default_rng(seed), []
    width = float(np.hypot(np.hypot(common, own), ring or 0.0))
    lam = prior**2 / (prior**2 + width**2)
    for at, size in enumerate(g):
        for number in range(n):
            shared, shape = common * random.standard_normal(2), (ring or 0.0) * random.standard_normal(2)
            for turn in (1,) if ring is None else (1, -1):
                for sign in (1, -1):
                    truth = sign * size * np.array([1.0, -0.5 if at % 2 else 0.5])
                    value = (1 + m) * truth + c + shared + turn * shape + own * random.standard_normal(2)
                    value[0] += cross * truth[1]
                    name = f"a{at}_{number}_{sign}" + (TURNED if turn < 0 else "")
                    rows.append((name, at * n + number, *truth, *(lam * value)))
    table = pd.DataFrame(rows, columns=["run_id", "seed", "g1_true", "g2_true", "g1_mean", "g2_mean"])
    for k in ("g1", "g2"):
        table[f"{k}_std"], table[f"ess_{k}"] = np.sqrt(lam) * width, np.nan
        table[f"{k}_half_mean"] = table[f"{k}_half_std"] = np.nan
    return table.assign(passed_convergence=True)


def component(table: pd.DataFrame, k: Component = "g1", prior: float | None = None) -> Estimates:
    return estimates(table, k, None if prior is None else GaussianPrior(0.0, prior))


@pytest.mark.parametrize("paired", [True, False])
def test_posterior_means_are_shrunk_by_lambda_and_pooling_frees_them(paired: bool) -> None:
    """σ_L² = .2² + .1², λ = .0476: the naive m is λ − 1 = −.952, with pairs and without; the pooled one is 0.

    20 000 pairs at g = .05: σ_m of the freed slope is .224 / (.05 √40 000) = .022, of the raw one λ times that; 4 σ.
    """
    lam = PRIOR**2 / (PRIOR**2 + INTRINSIC**2 + NOISE**2)
    table = arms(20_000, g=(0.05,), common=0.0, own=float(np.hypot(INTRINSIC, NOISE)), prior=PRIOR)
    if not paired:
        table["seed"] = np.arange(len(table))
    found = component_bias("g1", component(table, prior=PRIOR))
    assert found.shrinkage is not None
    assert found.m is not None
    assert found.shrinkage.lambda_hat == pytest.approx(lam, rel=1e-9)
    assert found.raw_m == pytest.approx(lam - 1, abs=4 * lam * 0.0224)
    assert found.m.error == pytest.approx(0.0224, rel=0.1)
    assert abs(found.m.value) < 4 * 0.0224


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_pairs_help_m_and_hurt_c_as_the_law_says(rho: float) -> None:
    """Var m = s²(1 − ρ)/(2 g² Np), Var c = s²(1 + ρ)/(2 Np): over 300 campaigns, their scatter of 8 % times 4."""
    s, g, n = 0.01, 0.02, 50
    random = np.random.default_rng(2)
    seed, truth = np.tile(np.arange(n), 2), np.repeat([g, -g], n)
    found = []
    for _ in range(300):
        shared = np.sqrt(rho) * s * np.tile(random.standard_normal(n), 2)
        value = truth + shared + np.sqrt(1 - rho) * s * random.standard_normal(2 * n)
        one = pairs(plain(truth, value, seed=seed))
        assert one is not None
        found.append((one.m.value, one.c.value, one.m.error_realised, one.c.error_realised, one.correlation))
    m, c, m_error, c_error, correlation = np.array(found, dtype=float).T
    assert np.var(m) == pytest.approx(s**2 * (1 - rho) / (2 * g**2 * n), rel=0.33)
    assert np.var(c) == pytest.approx(s**2 * (1 + rho) / (2 * n), rel=0.33)
    assert np.mean(m_error**2) == pytest.approx(s**2 * (1 - rho) / (2 * g**2 * n), rel=0.05)
    assert np.mean(c_error**2) == pytest.approx(s**2 * (1 + rho) / (2 * n), rel=0.05)
    assert np.mean(correlation) == pytest.approx(rho, abs=0.03)


def test_a_ring_takes_the_shape_noise_out() -> None:
    """Shape noise .2 of opposite sign in e and −e, own noise .001: σ_c of 25 rings is .001/√100, not .2/√50."""
    table = arms(25, own=1e-3, ring=0.2)
    found = component_bias("g1", component(table))
    assert found.c is not None
    assert found.pairs is not None
    assert (found.n, found.n_clusters, found.pairs.n_pairs, found.pairs.n_groups) == (100, 25, 50, 25)
    assert found.c.error_realised == pytest.approx(1e-4, rel=0.5)  # one σ of an error from 25 groups is 14 %
    assert found.pairs.ring_correlation == pytest.approx(-1, abs=1e-3)
    assert found.pairs.c.error_realised == pytest.approx(found.c.error_realised, rel=0.05)


@pytest.mark.slow
def test_planted_biases_come_back_from_pairs_with_arms_missing_at_random() -> None:
    """m = .01, c = .05, one arm in ten lost; jackknife errors hold them 68 ± 5 % of 200 campaigns.

    Of two components in 200 campaigns there are 800 intervals of m and c; 5 % are 3 σ of their number.
    """
    random, hits, found = np.random.default_rng(3), [], []
    for campaign in range(200):
        table = arms(40, g=(0.02, 0.05), m=0.01, c=0.05, common=0.01, own=1e-3, seed=campaign)
        table["passed_convergence"] = random.random(len(table)) > 0.1
        whole = counts(table).groupby([table["seed"], table["g1_true"].abs()]).sum()
        assert set(whole) <= {0, 2}
        data = {k: component(table, k) for k in COMPONENTS}
        biases = {k: component_bias(k, d) for k, d in data.items()}
        for again in joint(data, biases).resampled:
            planted = {"m": 0.01, "c": 0.05}[again.number]
            hits.append(abs(again.resampled.value - planted) < again.resampled.jackknife)
            found.append((again.number, again.resampled.value - planted, again.resampled.jackknife))
            ratio = again.resampled.bootstrap / again.resampled.jackknife
            assert 0.6 < ratio < 1.5
    assert np.mean(hits) == pytest.approx(0.68, abs=0.05)
    for number in ("m", "c"):
        offsets = np.array([offset for name, offset, _ in found if name == number])
        assert abs(offsets.mean()) < 4 * offsets.std() / np.sqrt(len(offsets))


def test_jackknife_of_a_mean_is_its_textbook_error() -> None:
    table = arms(30)
    table["g1_true"] = table["g2_true"] = 0.0
    table["seed"] = np.arange(len(table))
    data: dict[Component, Estimates] = {"g1": component(table)}
    found = joint(data, {"g1": component_bias("g1", data["g1"])}).resampled
    assert [again.number for again in found] == ["c"]
    assert found[0].resampled.value == pytest.approx(table["g1_mean"].mean(), rel=1e-9)
    assert found[0].resampled.jackknife == pytest.approx(table["g1_mean"].std(ddof=1) / np.sqrt(60), rel=1e-9)


def test_jackknife_knows_the_error_of_lambda_without_counting_it_twice() -> None:
    """Means that carry no noise, widths that scatter: all of m's error is that of λ̂, as in the sandwich."""
    table = arms(100, own=0.05, prior=0.1)
    lam = 0.8
    table[["g1_mean", "g2_mean"]] = lam * table[["g1_true", "g2_true"]].to_numpy()
    table["seed"] = np.arange(len(table))
    share = (1 - lam) * np.random.default_rng(5).gamma(4, 1 / 4, len(table))
    table["g1_std"] = 0.1 * np.sqrt(share)
    data: dict[Component, Estimates] = {"g1": component(table, prior=0.1)}
    bias = component_bias("g1", data["g1"])
    found = joint(data, {"g1": bias}).resampled[0].resampled
    assert bias.m is not None
    assert found.jackknife == pytest.approx(bias.m.error_realised, rel=0.02)
    assert found.value == pytest.approx(bias.m.value, abs=0.1 * found.jackknife)


def test_a_response_to_the_other_component_is_found() -> None:
    """m12 = .03 planted, errors 1e-3/(.02 √…) or so; the diagonal stays at its own m."""
    table = arms(100, g=(0.02, 0.05), m=0.01, own=1e-3, cross=0.03)
    data = {k: component(table, k) for k in COMPONENTS}
    matrix = joint(data, {k: component_bias(k, d) for k, d in data.items()}).matrix
    found: dict[tuple[str, str], Resampled] = {(entry.estimate, entry.truth): entry.m for entry in matrix}
    for place, planted in {("g1", "g1"): 0.01, ("g1", "g2"): 0.03, ("g2", "g1"): 0.0, ("g2", "g2"): 0.01}.items():
        assert found[place].jackknife < 0.006
        assert abs(found[place].value - planted) < 4 * found[place].jackknife


def test_truths_on_one_line_give_no_matrix() -> None:
    table = arms(20)
    data = {k: component(table, k) for k in COMPONENTS}
    assert joint(data, {k: component_bias(k, d) for k, d in data.items()}).matrix == ()


def test_leakage_is_c_over_the_shape_of_the_psf() -> None:
    """c = α e with e = (.03, −.04): α from both components by least squares, its error that of c over |e|."""
    table = arms(400, own=1e-3)
    table["g1_mean"] += 0.02 * 0.03
    table["g2_mean"] -= 0.02 * 0.04
    data = {k: component(table, k) for k in COMPONENTS}
    biases = {k: component_bias(k, d) for k, d in data.items()}
    leakage = joint(data, biases, (0.03, -0.04)).leakage
    assert leakage is not None
    assert leakage.alpha.error == pytest.approx(1e-3 / np.sqrt(800) / 0.05, rel=0.1)
    assert abs(leakage.alpha.value - 0.02) < 4 * known(leakage.alpha.error)
    assert joint(data, biases, (0.0, 0.0)).leakage is None


def test_a_cubic_term_is_told_from_the_slope() -> None:
    truth = np.repeat([-0.1, -0.05, -0.02, 0.02, 0.05, 0.1], 50)
    value = truth + 0.8 * truth**3 + 1e-6 * np.random.default_rng(6).standard_normal(300)
    found = component_bias("g1", plain(truth, value, 1e-6))
    assert found.cubic is not None
    assert found.cubic.error == pytest.approx(1e-6 / 1e-3 / np.sqrt(300) * 5, rel=0.5)
    assert abs(found.cubic.value - 0.8) < 4 * known(found.cubic.error)
    assert found.chi2 is not None
    assert found.chi2 > 10 * found.dof  # the straight line alone does not hold


def test_product_of_likelihoods_is_the_mean_free_of_the_prior() -> None:
    """Equal widths: each likelihood counts the same, so the peak is the mean of (mean/λ), its width σ_L/√n."""
    from lanewise.families.shear.statistics.bias import point_estimate

    table = arms(200, own=0.05, prior=0.1)
    table["seed"] = np.arange(len(table))
    data = component(table, prior=0.1)
    here = data.at(data.truth > 0)
    found = point_estimate(here)
    assert found is not None
    assert found.product is not None
    assert found.product.value == pytest.approx(found.mean.value, rel=1e-9)
    assert found.product.error == pytest.approx(0.05 / np.sqrt(200), rel=1e-9)


def test_half_the_draws_show_what_more_of_them_would_change() -> None:
    """m from half of the draws is .02 off and that from all .01: at 1/draws, none is left."""
    table = arms(100, own=1e-4, m=0.01)
    for k in ("g1", "g2"):
        table[f"{k}_half_mean"] = table[f"{k}_mean"] + 0.01 * table[f"{k}_true"]
        table[f"{k}_half_std"] = table[f"{k}_std"]
    data: dict[Component, Estimates] = {"g1": component(table)}
    found = joint(data, {"g1": component_bias("g1", data["g1"])}).finite_draws[0]
    assert found.shift.value == pytest.approx(0.01, rel=1e-6)
    assert found.shift.jackknife < 1e-9  # the halves differ by no noise of their own here
    assert abs(found.extrapolated) < 4 * 1e-4 / (0.02 * np.sqrt(200))


def test_failures_of_one_sign_are_counted() -> None:
    table = arms(100)
    table.loc[(table["g1_true"] > 0) & (table["seed"] < 12), "passed_convergence"] = False
    table.loc[(table["g1_true"] < 0) & (table["seed"] < 2), "passed_convergence"] = False
    found = signs(table)
    assert found is not None
    assert (found.n_pairs, found.n_only_plus, found.n_only_minus) == (100, 10, 0)
    assert found.p == pytest.approx(2 * 0.5**10)
    assert signs(table[table["g1_true"] > 0]) is None


def response(n: int, n_draws: int, seed: int) -> float:
    """m of a linear population: e = g + N(0, σ_e²), observed with N(0, σ_m²), drawn under an interim prior of .3."""
    interim, g = 0.3, 0.05
    random = np.random.default_rng(seed)
    e, noise = INTRINSIC * random.standard_normal(n), NOISE * random.standard_normal(n)
    z = random.standard_normal((n, n_draws))
    precision = NOISE**-2 + interim**-2
    found = []
    for sign in (1, -1):
        draws = ((e + sign * g + noise) / NOISE**2 / precision)[:, None] + z / np.sqrt(precision)

        def ratios(x: float, draws: np.ndarray = draws) -> np.ndarray:
            return -0.5 * ((draws - x) / INTRINSIC) ** 2 + 0.5 * (draws / interim) ** 2

        found.append(peak(sign * g + np.linspace(-0.02, 0.02, 9), ratios).value)
    return (found[0] - found[1]) / (2 * g) - 1


def test_finitely_many_draws_bias_a_population_by_their_inverse() -> None:
    """m = −0.12/K (± .01/K, that of two digits), and 2 m_K − m_{K/2} is ten times nearer to zero.

    Six populations of 8000 galaxies, with the same noise at ±g: their mean at K = 10 is known to 2e-4.
    """
    mean = {k: np.mean([response(8000, k, seed) for seed in range(6)]) for k in (5, 10, 20)}
    for k in (10, 20):
        assert mean[k] * k == pytest.approx(-0.12, abs=0.01)
        assert abs(2 * mean[k] - mean[k // 2]) < abs(mean[k]) / 10


def test_the_ellipticity_of_a_sheared_population_is_normalised() -> None:
    """∫ p(e | g) d²e = 1 over the disc, and shear moves its mean by g: a Gaussian of .1 in each component."""
    sigma, g = 0.1, 0.03 + 0.02j
    axis = np.linspace(-0.99, 0.99, 400)
    e = axis[:, None] + 1j * axis[None, :]
    inside = np.abs(e) < 0.99

    def log_intrinsic(e: np.ndarray) -> np.ndarray:
        value: np.ndarray = -0.5 * np.abs(e) ** 2 / sigma**2 - np.log(2 * np.pi * sigma**2)
        return value

    density = np.where(inside, np.exp(log_ratio(e, g, log_intrinsic, np.zeros(e.shape))), 0) * (axis[1] - axis[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=1e-6)
    # ⟨(e + g)/(1 + g* e)⟩ = g for an isotropic population, exactly.
    assert np.sum(density * e) == pytest.approx(g, abs=1e-6)


def test_a_ring_that_lost_an_arm_is_left_out_whole() -> None:
    """One of four arms fails, of another ring one is missing from a bare table: neither ring counts, the third does."""
    table = arms(3, ring=0.2)
    turned = table["run_id"].str.endswith(TURNED)
    table.loc[(table["seed"] == 0) & turned & (table["g1_true"] > 0), "g1_mean"] = np.nan
    gone = (table["seed"] == 1) & ~turned & (table["g1_true"] < 0)
    left = table[~gone]
    assert counts(left).groupby(left["seed"]).sum().to_dict() == {0: 0, 1: 0, 2: 4}

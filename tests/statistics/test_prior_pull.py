"""Priors that are not Gaussian: their pull is removed from posterior means, or the campaign is INVALID."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from conftest import Write, load
from lanewise.families.shear.priors import Prior, uniform
from lanewise.families.shear.statistics import summary
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import evaluate
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.prior_pull import HasQuantiles, freed
from lanewise.statistics.regression import Array
from lanewise.statistics.verdict import Verdict
from tables import MakeTable, known


class _Of:
    """A prior of SciPy."""

    def __init__(self, distribution: stats.rv_continuous) -> None:
        self._of = distribution

    def quantile(self, share: float) -> float:
        return float(self._of.ppf(share))


def _posterior(prior: stats.rv_continuous, x: float, sigma: float) -> tuple[float, float]:
    """Mean and variance by the trapezoidal rule on prior × likelihood."""
    low, high = max(prior.support()[0], x - 12 * sigma), min(prior.support()[1], x + 12 * sigma)
    at = np.linspace(low, high, 20_001)
    density = prior.pdf(at) * np.exp(-0.5 * ((at - x) / sigma) ** 2)
    density /= np.trapezoid(density, at)
    mean = float(np.trapezoid(density * at, at))
    return mean, float(np.trapezoid(density * (at - mean) ** 2, at))


PRIORS = {
    "uniform": stats.uniform(-0.25, 0.5),
    "heavy tails": stats.t(4, 0, 0.1),
    "cut": stats.truncnorm(-1, 2, 0.05, 0.1),
    "lopsided": stats.skewnorm(4, -0.1, 0.2),
    "normal": stats.norm(0.02, 0.1),
}


@pytest.mark.long
@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("sigma", [0.001, 0.03])
def test_posterior_means_give_back_the_likelihoods(name: str, sigma: float) -> None:
    prior, x = PRIORS[name], np.linspace(-0.03, 0.13, 9)
    moments = np.array([_posterior(prior, at, sigma) for at in x])
    found = known(freed(_Of(prior), moments[:, 0], moments[:, 1], moments[:4, 0]))
    assert found.width == pytest.approx(sigma, rel=2e-3)
    # The response of the posterior mean is the posterior's variance over that of the likelihood.
    np.testing.assert_allclose(found.response, moments[:, 1] / sigma**2, atol=0.02)
    np.testing.assert_allclose(found.value, x, atol=0.02 * sigma)
    np.testing.assert_allclose(found.other, x[:4], atol=0.02 * sigma)


def test_the_response_of_the_issues_example() -> None:
    """Uniform ± .2, likelihoods of .07, g = ± .02: .863 by quadrature over data and prior."""
    prior, truth = stats.uniform(-0.2, 0.4), np.repeat([-0.02, 0.02], 400)
    x = truth + 0.07 * stats.norm.ppf((np.tile(np.arange(400), 2) + 0.5) / 400)
    moments = np.array([_posterior(prior, at, 0.07) for at in x])
    raw = np.polyfit(truth, moments[:, 0], 1)[0]
    assert raw == pytest.approx(0.863, abs=0.005)
    found = known(freed(_Of(prior), moments[:, 0], moments[:, 1], moments[:, 0]))
    assert found.response.mean() == pytest.approx(raw, abs=0.005)
    assert np.polyfit(truth, found.value, 1)[0] == pytest.approx(1, abs=0.005)


def test_a_posterior_as_wide_as_the_prior_has_no_likelihood() -> None:
    wide = np.full(5, 0.3**2)
    assert freed(uniform(-0.25, 0.25), np.zeros(5), wide, np.zeros(5)) is None


def _verdict(
    make_table: MakeTable, prior: HasQuantiles, of: stats.rv_continuous, m: float, sigma: float, n: int = 150
) -> tuple[Verdict, float | None]:
    """A campaign at ± .1 with exact posteriors of 1000 draws, bound .02."""
    table = make_table([-0.1, 0.1], n, g2=None, m=m, sigma=sigma, prior=(0.0, 1e6))
    rng = np.random.default_rng(5)
    moments: Array = np.array([_posterior(of, at, sigma) for at in table["g1_mean"]])
    table["g1_mean"] = moments[:, 0] + np.sqrt(moments[:, 1] / 1000) * rng.standard_normal(len(table))
    table["g1_std"] = np.sqrt(moments[:, 1] * rng.chisquare(999, len(table)) / 999)
    found = evaluate(table, priors=(None, None), unlike={"g1": prior}, acceptance=Acceptance(max_abs_m=0.02))
    return found.verdict.verdict, None if found.g1 is None or found.g1.m is None else found.g1.m.value


@pytest.mark.long
@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.05, 0.07])
@pytest.mark.parametrize("m", [0.0, 0.09])
def test_under_a_uniform_prior_a_bias_never_passes_and_none_never_fails(
    make_table: MakeTable, m: float, sigma: float
) -> None:
    """Uniform ± .25: the pull of the edges hid m = .09, and made m = −.082 of none."""
    verdict, value = _verdict(make_table, uniform(-0.25, 0.25), PRIORS["uniform"], m, sigma)
    if m == 0:
        assert verdict is not Verdict.FAIL
    else:
        assert verdict is not Verdict.PASS
    # σ_m = σ / (.1 √300), 4.5 of them; the table's noise is the same for both m.
    assert known(value) == pytest.approx(m, abs=4.5 * sigma / 0.1 / 300**0.5)
    if sigma <= 0.01:
        assert verdict is (Verdict.PASS if m == 0 else Verdict.FAIL)
    if sigma >= 0.07:
        assert verdict is Verdict.INVALID


@pytest.mark.parametrize(("n_far", "verdict"), [(0, Verdict.PASS), (1, Verdict.PASS), (30, Verdict.INVALID)])
def test_likelihoods_that_the_prior_cuts_count_as_lost(make_table: MakeTable, n_far: int, verdict: Verdict) -> None:
    """One image of 400 far outside the prior is no reason to refuse the others; PASS includes its worst case."""
    prior, sigma = stats.uniform(-0.6, 1.2), 0.08
    table = make_table([-0.1, 0.1], 200, g2=None, sigma=sigma, prior=(0.0, 1e6))
    table.loc[: n_far - 1, "g1_mean"] = -0.75
    moments: Array = np.array([_posterior(prior, at, sigma) for at in table["g1_mean"]])
    table["g1_mean"], table["g1_std"] = moments[:, 0], np.sqrt(moments[:, 1])
    found = evaluate(
        table, priors=(None, None), unlike={"g1": uniform(-0.6, 0.6)}, acceptance=Acceptance(max_abs_m=0.4)
    )
    g1 = known(found.g1)
    assert known(g1.response).n_cut == n_far
    assert known(g1.response).cut_frac == n_far / 400
    assert (known(g1.m_lost) > 0) == (n_far > 0)
    assert found.verdict.verdict is verdict, found.verdict.reasons


def test_one_cut_likelihood_of_a_small_campaign_is_not_invalid(make_table: MakeTable) -> None:
    """6 % of 16 images, but one group: 3 % of the toy campaigns with four groups and outliers were refused."""
    prior, sigma = stats.uniform(-0.6, 1.2), 0.02
    table = make_table([-0.1, 0.1], 8, g2=None, sigma=sigma, prior=(0.0, 1e6))
    table.loc[0, "g1_mean"] = -0.65
    moments: Array = np.array([_posterior(prior, at, sigma) for at in table["g1_mean"]])
    table["g1_mean"], table["g1_std"] = moments[:, 0], np.sqrt(moments[:, 1])
    found = evaluate(
        table, priors=(None, None), unlike={"g1": uniform(-0.6, 0.6)}, acceptance=Acceptance(max_abs_m=0.1)
    )
    response = known(known(found.g1).response)
    assert (response.n_cut, response.cut_frac) == (1, 1 / 16)
    assert found.verdict.verdict is Verdict.INCONCLUSIVE


def test_a_pull_of_more_than_a_tenth_is_invalid(make_table: MakeTable) -> None:
    """At S/N 10, λ̂ = .67: m of images came out at −.06, also with a Gaussian prior."""
    wide = make_table([-0.1, 0.1], 500, g2=None, sigma=0.21, prior=(0.0, 0.3))
    found = evaluate(wide, priors=(GaussianPrior(0.0, 0.3), None), acceptance=Acceptance(max_abs_m=1.0))
    assert found.verdict.verdict is Verdict.INVALID
    assert "below 0.9: the prior is too narrow against the noise" in found.verdict.reasons[0]


def test_likelihoods_whose_noise_bias_could_exceed_the_bound_are_invalid(make_table: MakeTable) -> None:
    """At S/N 10 under a prior of .7, λ̂ = .93 and m = −.14 ± .016: a wide prior does not help there."""
    wide, prior = make_table([-0.1, 0.1], 500, g2=None, sigma=0.2, prior=(0.0, 0.9)), GaussianPrior(0.0, 0.9)
    found = {
        bound: evaluate(wide, priors=(prior, None), acceptance=Acceptance(max_abs_m=bound)).verdict
        for bound in (0.1, 1.0)
    }
    assert {bound: one.verdict for bound, one in found.items()} == {0.1: Verdict.INVALID, 1.0: Verdict.PASS}
    assert "use images with a higher S/N" in found[0.1].reasons[0]


def test_a_campaign_names_its_priors_that_are_not_gaussian(write: Write) -> None:
    campaign = load(write(config__gal__shear={"g1": {"type": "Uniform", "min": -0.3, "max": 0.3}, "g2": 0.0}))
    assert summary.unlike(campaign.record) == {"g1": uniform(-0.3, 0.3)}
    assert summary.priors(campaign.record) == (None, None)
    assert summary.unlike(load(write()).record) == {}
    assert isinstance(uniform(-0.3, 0.3), Prior)

import warnings

import numpy as np
import pytest

from lanewise import diagnostics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz


def _chains(n_chains: int, n_draws: int, memory: float, heavy: bool) -> np.ndarray:
    """AR(1) chains of four quantities, made of fixed random numbers; `heavy` gives them a long tail."""
    noise = np.random.default_rng(7).normal(size=(4, n_chains, n_draws))
    draws = np.zeros_like(noise)
    draws[..., 0] = noise[..., 0]
    for t in range(1, n_draws):
        draws[..., t] = memory * draws[..., t - 1] + noise[..., t]
    return np.exp(draws) if heavy else draws


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(
    ("n_chains", "n_draws", "memory"), [(2, 100, 0.9), (4, 1000, -0.5), (4, 501, 0.3), (3, 50, 0.99), (2, 8, 0.0)]
)
def test_rhat_and_ess_equal_arviz(n_chains: int, n_draws: int, memory: float, heavy: bool) -> None:
    draws = _chains(n_chains, n_draws, memory, heavy)
    for ours, theirs in (
        (diagnostics.rhat(draws), [arviz.rhat(one) for one in draws]),
        (diagnostics.ess_bulk(draws), [arviz.ess(one, method="bulk") for one in draws]),
        (diagnostics.ess_tail(draws), [arviz.ess(one, method="tail", prob=(0.05, 0.95)) for one in draws]),
    ):
        np.testing.assert_allclose(ours, np.array(theirs, float), rtol=1e-9)


def test_bfmi_of_independent_energies_is_two_and_of_a_random_walk_near_zero() -> None:
    noise = np.random.default_rng(3).normal(size=(2, 20000))
    # The mean square difference of independent draws is twice their variance; its standard error here is 2 %.
    np.testing.assert_allclose(diagnostics.bfmi(noise), 2.0, rtol=0.1)
    assert (diagnostics.bfmi(np.cumsum(noise, axis=-1)) < 0.01).all()


def test_one_chain_that_drifts_has_a_large_rhat() -> None:
    draws = np.linspace(0, 5, 400) + np.random.default_rng(1).normal(size=(1, 400))
    assert diagnostics.rhat(draws) > 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_constant_or_non_finite_draws_have_no_diagnostics(bad: float) -> None:
    draws = np.random.default_rng(0).normal(size=(3, 2, 40))
    draws[0] = 1.0
    draws[1, 0, 3] = bad
    for found in (diagnostics.rhat(draws), diagnostics.ess_bulk(draws), diagnostics.ess_tail(draws)):
        assert np.isnan(found).tolist() == [True, True, False]

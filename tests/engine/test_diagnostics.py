"""Diagnostics against ArviZ, quantity by quantity."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lanewise.engine import diagnostics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

FIELDS = ("rhat", "ess", "ess_tail", "ess_sd", "mcse_mean", "mcse_sd")


def _chains(n_chains: int, n_draws: int, memory: float, kind: str) -> np.ndarray:
    """AR(1) chains of four quantities, made of fixed random numbers.

    Args:
        kind: `heavy` gives them a long tail; `stuck` repeats draws, as a sampler does that refuses steps.
    """
    rng = np.random.default_rng(7)
    noise = rng.normal(size=(4, n_chains, n_draws))
    draws = np.zeros_like(noise)
    draws[..., 0] = noise[..., 0]
    for t in range(1, n_draws):
        draws[..., t] = memory * draws[..., t - 1] + noise[..., t]
    if kind == "stuck":
        refused = rng.random(draws.shape) < 0.3
        refused[..., 0] = False
        at = np.maximum.accumulate(np.where(refused, 0, np.arange(n_draws)), axis=-1)
        draws = np.take_along_axis(draws, at, axis=-1)
    return np.exp(draws) if kind == "heavy" else draws


@pytest.mark.parametrize("kind", ["normal", "heavy", "stuck"])
@pytest.mark.parametrize(
    ("n_chains", "n_draws", "memory"), [(2, 100, 0.9), (4, 1000, -0.5), (4, 501, 0.3), (3, 50, 0.99), (2, 8, 0.0)]
)
def test_summary_equals_arviz(n_chains: int, n_draws: int, memory: float, kind: str) -> None:
    draws = _chains(n_chains, n_draws, memory, kind)
    found = diagnostics.summarise(draws)
    expected = {
        "rhat": [arviz.rhat(one) for one in draws],
        "ess": [arviz.ess(one, method="bulk") for one in draws],
        "ess_tail": [arviz.ess(one, method="tail", prob=(0.05, 0.95)) for one in draws],
        "ess_sd": [arviz.ess((one - one.mean()) ** 2, method="mean") for one in draws],
        "mcse_mean": [arviz.mcse(one, method="mean") for one in draws],
        "mcse_sd": [arviz.mcse(one, method="sd") for one in draws],
    }
    for name, theirs in expected.items():
        np.testing.assert_allclose(getattr(found, name), np.array(theirs, float), rtol=1e-10, err_msg=name)


def test_what_stands_beside_a_quantity_changes_none_of_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.concatenate([_chains(2, 200, memory, kind) for memory in (0.0, 0.95) for kind in ("normal", "stuck")])
    together = diagnostics.summarise(draws)
    alone = [diagnostics.summarise(one[None]) for one in draws]
    monkeypatch.setattr(diagnostics, "_BLOCK_DRAWS", 3 * 400)
    in_threes = diagnostics.summarise(draws)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(together, name), np.concatenate([getattr(one, name) for one in alone]))
        np.testing.assert_array_equal(getattr(together, name), getattr(in_threes, name))


def test_bfmi_of_independent_energies_is_two_and_of_a_random_walk_near_zero() -> None:
    noise = np.random.default_rng(3).normal(size=(2, 20000))
    # The mean square difference of independent draws is twice their variance; its standard error here is 2 %.
    np.testing.assert_allclose(diagnostics.bfmi(noise), 2.0, rtol=0.1)
    assert (diagnostics.bfmi(np.cumsum(noise, axis=-1)) < 0.01).all()


def test_one_chain_that_drifts_has_a_large_rhat() -> None:
    draws = np.linspace(0, 5, 400) + np.random.default_rng(1).normal(size=(1, 400))
    assert diagnostics.summarise(draws).rhat > 1.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_constant_or_non_finite_draws_have_no_diagnostics(bad: float) -> None:
    draws = np.random.default_rng(0).normal(size=(3, 2, 40))
    draws[0] = 1.0
    draws[1, 0, 3] = bad
    found = diagnostics.summarise(draws)
    for name in FIELDS:
        assert np.isnan(getattr(found, name)).tolist() == [True, True, False], name

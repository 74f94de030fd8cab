"""Pareto-smoothed weights against ArviZ's, and resampling."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest

from lanewise.engine import psis

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz


OTHER_FIT = not arviz.__version__.startswith("0.")


def _log_weights(n_draws: int, tail: float, seed: int = 3) -> np.ndarray:
    """Weights with a Pareto tail of a known shape."""
    return -tail * np.log(np.random.default_rng(seed).random((4, n_draws)))


@pytest.mark.skipif(OTHER_FIT, reason="ArviZ 1 fits the tail with another estimator; see the next test")
@pytest.mark.parametrize("n_draws", [100, 1000, 10_000])
@pytest.mark.parametrize("tail", [0.05, 0.4, 0.7, 1.5])
def test_weights_and_khat_are_arvizs(n_draws: int, tail: float) -> None:
    log_weights = _log_weights(n_draws, tail)
    weights, khat = psis.smooth(log_weights)
    expected, expected_khat = arviz.psislw(log_weights)
    # The same arithmetic in another order.
    np.testing.assert_allclose(khat, expected_khat, rtol=1e-9)
    np.testing.assert_allclose(weights, np.exp(expected), rtol=1e-8)


@pytest.mark.skipif(not OTHER_FIT, reason="ArviZ before 1 has the same estimator; see the test before")
@pytest.mark.parametrize("n_draws", [100, 1000, 10_000])
@pytest.mark.parametrize("tail", [0.05, 0.4, 0.7, 1.5])
def test_khat_agrees_with_arviz_1_within_its_error(n_draws: int, tail: float) -> None:
    of_arrays = importlib.import_module("arviz_stats.base").array_stats
    log_weights = _log_weights(n_draws, tail)
    _, khat = psis.smooth(log_weights)
    # It takes log likelihoods.
    _, expected = of_arrays.psislw(-log_weights)
    n_tail = min(0.2 * n_draws, 3 * np.sqrt(n_draws))
    assert np.all(np.abs(khat - expected) < (1 + khat) / np.sqrt(n_tail))


def test_the_tails_shape_is_found() -> None:
    # The fit of 949 tail draws has a standard error of (1 + k) / √949 = .05, and leans on its prior by less.
    _, khat = psis.smooth(_log_weights(100_000, 0.6))
    np.testing.assert_allclose(khat, 0.6, atol=5 * 0.052)


def test_a_lane_is_smoothed_as_if_alone() -> None:
    log_weights = _log_weights(500, 0.4)
    weights, khat = psis.smooth(log_weights)
    for at, one in enumerate(log_weights):
        alone, k = psis.smooth(one)
        assert alone.tobytes() == weights[at].tobytes()
        assert float(k) == khat[at]


def test_draws_without_density_have_no_weight() -> None:
    log_weights = _log_weights(1000, 0.3)[0]
    log_weights[::3] = -np.inf
    weights, khat = psis.smooth(log_weights)
    assert np.all(weights[::3] == 0)
    assert weights.sum() == pytest.approx(1)
    assert khat < 0.7


def test_weights_of_a_handful_of_draws_are_not_believed() -> None:
    log_weights = np.full(1000, -np.inf)
    log_weights[:4] = [0.0, -1.0, -2.0, -3.0]
    assert psis.smooth(log_weights)[1] == np.inf


def test_equal_weights_are_as_many_draws() -> None:
    weights, khat = psis.smooth(1e-14 * np.random.default_rng(1).normal(size=50))
    assert khat == 0
    assert psis.effective_size(weights) == pytest.approx(50)
    np.testing.assert_array_equal(psis.resample(weights, 0.5), np.arange(50))


@pytest.mark.parametrize("comb", [0.0, 0.3, 0.999999])
def test_every_draw_is_taken_as_often_as_its_weight_asks(comb: float) -> None:
    weights, _ = psis.smooth(_log_weights(1000, 0.3)[0])
    counts = np.bincount(psis.resample(weights, comb), minlength=1000)
    assert counts.sum() == 1000
    assert np.all(np.abs(counts - 1000 * weights) < 1)


@pytest.mark.parametrize(("n_draws", "expected"), [(100, 0.5), (1000, 2 / 3), (100_000, 0.7)])
def test_few_draws_carry_less(n_draws: int, expected: float) -> None:
    assert psis.threshold(n_draws) == pytest.approx(expected)

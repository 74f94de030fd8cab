from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from lanewise.engine import psis
from lanewise.families.shear.population import weights
from lanewise.machine import device


@pytest.mark.long
@pytest.mark.parametrize("n_draws", [64, 500])
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_smoothing_on_the_device_is_that_of_the_engine(n_draws: int, spread: float) -> None:
    device.prepare("cpu", "float64")
    log_weights = spread * np.random.default_rng(3).standard_t(5, size=n_draws)
    expected, shape = psis.smooth(log_weights)
    found, found_shape = weights.smooth(jnp.asarray(log_weights))
    np.testing.assert_allclose(np.exp(found) / np.exp(found).sum(), expected, rtol=1e-9)
    assert float(found_shape) == pytest.approx(float(shape), abs=1e-9)


def test_equal_weights_stay_equal() -> None:
    device.prepare("cpu", "float64")
    found, shape = weights.smooth(jnp.full(64, -3.0))
    assert float(shape) == 0
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


@pytest.mark.parametrize("shape", [2.0, 6.0])
def test_log_mean_of_few_weights_is_unbiased(shape: float) -> None:
    """Of gamma variables: E ln w̄ = ψ(n k) − ln n, below ln k; the correction leaves a tenth of the difference."""
    device.prepare("cpu", "float64")
    n, draws = 8, np.random.default_rng(4).gamma(shape, size=(8, 400_000))
    found = np.asarray(weights.log_mean(jnp.log(draws)))
    plain = special.digamma(n * shape) - np.log(n) - np.log(shape)
    error = found.std() / np.sqrt(found.size)
    assert 3 * error < abs(plain) / 10
    assert abs(found.mean() - np.log(shape)) < abs(plain) / 10


def test_a_ratio_that_is_the_same_for_all_draws_needs_no_correction() -> None:
    device.prepare("cpu", "float64")
    interim = jnp.asarray(np.random.default_rng(5).normal(size=40))
    found = weights.log_likelihood(jnp.full((40, 1), 0.7), interim)
    np.testing.assert_allclose(found, 0.7, rtol=1e-12)

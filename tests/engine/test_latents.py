"""The position that stands for latents within bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from lanewise.engine.latents import Interval, Latents


@pytest.fixture(autouse=True)
def _double() -> None:
    jax.config.update("jax_enable_x64", True)


INTERVAL = Interval(-1.0, 3.0)  # linear between -0.6 and 2.6
POSITIONS = np.array([-4.0, -1.0, -0.6, 0.0, 1.0, 2.59, 2.6, 2.61, 4.0, 6.0])


def test_an_interval_is_linear_inside_and_never_reaches_its_bounds() -> None:
    latents = INTERVAL(jnp.asarray(POSITIONS))
    np.testing.assert_array_equal(latents[2:7], POSITIONS[2:7])
    assert np.all(np.diff(latents) > 0)
    assert -1 < latents.min() < latents.max() < 3
    np.testing.assert_allclose(INTERVAL.inv(latents), POSITIONS, rtol=1e-6)


def test_the_jacobian_of_an_interval_is_its_derivative() -> None:
    positions = jnp.asarray(POSITIONS)
    slopes = jax.vmap(jax.grad(INTERVAL))(positions)
    np.testing.assert_allclose(
        INTERVAL.log_abs_det_jacobian(positions, INTERVAL(positions)), jnp.log(slopes), rtol=1e-9
    )


def test_an_interval_bends_without_a_jump() -> None:
    # Twice differentiable where tanh takes over: its second derivative starts at zero, with slope −2/(0.4)².
    bend = jax.grad(jax.grad(INTERVAL))
    assert abs(float(bend(2.6 + 1e-6))) < 2 / 0.4**2 * 1e-6 * 1.01


def test_a_prior_within_bounds_is_uniform_in_its_latent() -> None:
    latents = Latents({"x": dist.Uniform(-1.0, 3.0)})
    grid = jnp.linspace(-12.0, 14.0, 200_001)[:, None]
    density = jnp.exp(jax.vmap(lambda u: latents.log_prior(u) + latents.log_jacobian(u))(grid))
    # Trapezoids of 1.3e-4 on a density of curvature 1/0.16: an error of 1e-8.
    assert float(jnp.trapezoid(density, grid[:, 0])) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize(
    "prior",
    [dist.Uniform(-1.0, 3.0), dist.Beta(2.0, 3.0), dist.TruncatedNormal(0.3, 0.5, low=-1.0, high=3.0)],
    ids=["Uniform", "Beta", "TruncatedNormal"],
)
def test_priors_within_bounds_tell_at_least_their_width(prior: dist.Distribution) -> None:
    latents = Latents({"x": prior})
    width = float(prior.support.upper_bound - prior.support.lower_bound)
    for u in (-40.0, 0.2, 40.0):
        assert float(latents.precision(jnp.array([u]))[0]) >= 12 / width**2


def test_a_log_uniform_prior_is_uniform_in_the_logarithm_and_its_position() -> None:
    """Over three decades: density 1/(x log(high/low)), and a position that is log x far from the bounds."""
    low, high = 0.02, 20.0
    latents = Latents({"x": dist.LogUniform(low, high)})
    at = np.array([0.05, 0.3, 1.0, 12.0])
    position = jnp.stack([latents.position({"x": x}, jnp.float64)[0] for x in at])
    np.testing.assert_allclose(position[1:3], np.log(at[1:3]), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(jax.vmap(latents.constrain)(position[:, None])[:, 0], at, rtol=1e-12)
    prior = jax.vmap(latents.log_prior)(position[:, None])
    np.testing.assert_allclose(prior, -np.log(at * np.log(high / low)), rtol=1e-12)
    slope = jax.vmap(jax.jacfwd(latents.constrain))(position[:, None])[:, 0, 0]
    np.testing.assert_allclose(jax.vmap(latents.log_jacobian)(position[:, None]), np.log(slope), rtol=1e-9)
    assert float(latents.precision(position[1:2])[0]) == pytest.approx(12 / np.log(high / low) ** 2, rel=1e-12)

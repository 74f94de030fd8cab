"""Starts of chains: where the density does not exist, another one is drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.methods import chain

FIRST = jnp.array([1.5, -0.5])


@pytest.mark.parametrize("radius", [2.0, 0.5, 1e-6], ids=["usable", "drawn again", "the fit"])
def test_a_start_is_where_energy_and_gradient_are_finite(radius: float) -> None:
    def potential(w: jax.Array) -> jax.Array:
        return jnp.where(jnp.sum(w**2) < radius**2, 0.5 * jnp.sum(w**2), jnp.inf)

    w, energy, gradient = chain.started(jax.value_and_grad(potential), jax.random.key(1), FIRST, 2.0)
    assert np.linalg.norm(w) < radius
    assert (radius == 2) == bool(jnp.array_equal(w, FIRST))
    assert (radius < 1e-3) == bool(jnp.all(w == 0))
    assert energy == pytest.approx(0.5 * float(jnp.sum(w**2)))
    np.testing.assert_array_equal(gradient, w)


def test_a_density_that_exists_nowhere_gives_no_start() -> None:
    _, energy, _ = chain.started(jax.value_and_grad(lambda w: jnp.inf + 0 * w.sum()), jax.random.key(1), FIRST, 2.0)
    assert not jnp.isfinite(energy)

"""The search for the mode of a problem that has no curvature of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise.machine import device
from lanewise.methods import mode, whitening
from lanewise.methods.map import Map
from lanewise.methods.settings import MapSettings


class Simplex:
    """Counts of a multinomial with a flat Dirichlet prior: three latents, a position of two."""

    names = ("p[0]", "p[1]", "p[2]")
    model, finer = "", None
    remedy = "there is none"
    prior_widths: Mapping[str, float] = {}
    curvature = None

    def prepare(self, data: Any) -> Any:
        return data

    def start(self, data: Any) -> jax.Array:
        return jnp.array([2.0, -3.0])

    def constrain(self, position: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.append(position, 0.0))

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        return jnp.sum(jnp.log(self.constrain(position)))

    def log_density(self, position: jax.Array, data: Any) -> jax.Array:
        return jnp.sum(data["n"] * jnp.log(self.constrain(position))) + self.log_jacobian(position)

    def flaw(self, position: jax.Array, data: Any) -> jax.Array:
        return jnp.zeros(())


DATA = {"n": np.array([3.0, 5.0, 12.0])}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def test_the_mode_and_widths_of_a_simplex_are_those_of_its_dirichlet() -> None:
    problem, method = Simplex(), Map(MapSettings())
    state = jax.jit(lambda key: method.init(problem, key, DATA))(jax.random.key(0))
    advance = jax.jit(lambda state: method.advance(problem, state, DATA)[0])
    for _ in range(method.rounds):
        state = advance(state)
    status, whole = method.finish(problem, state, DATA)
    assert int(status) == 1
    # The mode of Dirichlet(n + 1), and the inverse Hessian there: that of a multinomial, (diag p − p pᵀ) / Σn.
    p = DATA["n"] / 20
    np.testing.assert_allclose(problem.constrain(whole["position"]), p, rtol=1e-6)
    np.testing.assert_allclose(whole["laplace_std"], np.sqrt(p * (1 - p) / 20), rtol=1e-6)


def test_the_whitening_is_that_of_the_hessian() -> None:
    fit = whitening.fit(Simplex(), DATA)
    hessian = -jax.hessian(lambda u: Simplex().log_density(u, DATA))(fit.whitening.centre)
    assert bool(fit.sane)
    np.testing.assert_allclose(fit.whitening.factor.T @ hessian @ fit.whitening.factor, np.eye(2), atol=1e-9)


@pytest.mark.parametrize("eigenvalues", [(3.0, 1.0), (3.0, -1.0), (-3.0, -1.0), (3.0, 0.0)])
def test_a_matrix_is_made_positive_by_absolute_eigenvalues(eigenvalues: tuple[float, float]) -> None:
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    matrix = jnp.asarray(turn @ np.diag(eigenvalues) @ turn.T)
    found = np.linalg.eigvalsh(np.asarray(mode.made_positive(matrix)))
    assert found.min() > 0
    if min(eigenvalues) > 0:
        np.testing.assert_allclose(mode.made_positive(matrix), matrix, rtol=1e-14)


def test_a_search_from_a_plateau_and_a_saddle_ends_in_the_mode() -> None:
    # Two wells along x; at the origin the Hessian of x has the wrong sign, and that of z vanishes.
    def log_density(u: jax.Array) -> jax.Array:
        return u[0] ** 2 - u[0] ** 4 / 4 - u[1] ** 2 / 2 - u[2] ** 4

    hill = mode.Hill(log_density, lambda u: mode.made_positive(-jax.hessian(log_density)(u)))
    found = mode.find(hill, jnp.array([1e-3, 4.0, 0.5]), 1e-6, 100)
    np.testing.assert_allclose(found.position[:2], [np.sqrt(2), 0.0], atol=1e-5)
    assert abs(float(found.position[2])) < 1e-3

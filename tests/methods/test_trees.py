"""Trajectories that grow step by step against NumPyro's, which are built in one call, and lanes that do not wait."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc_util import IntegratorState, build_tree, euclidean_kinetic_energy, velocity_verlet

from gaussian import NOISE, GaussianProblem
from lanewise.machine import device
from lanewise.manifest.status import LaneStatus
from lanewise.methods import trees
from lanewise.methods.nuts import STEPS_PER_ROUND, Nuts
from lanewise.methods.refilled import RefilledNuts
from lanewise.methods.settings import NutsSettings
from lanewise.methods.trees import Integrator, Point, Tree

DEPTH = 6


def bent(w: jax.Array) -> jax.Array:
    """A potential with a bent valley, where trajectories turn at many lengths and some diverge."""
    found: jax.Array = 0.5 * jnp.sum(w**2 / jnp.array([1.0, 4.0, 0.25])) + 2.0 * (w[1] - w[0] ** 2) ** 2
    return found


def whole(integrator: Integrator, start: Point, energy: jax.Array, key: jax.Array) -> Tree:
    """A trajectory grown to its end."""
    tree: Tree = jax.lax.while_loop(
        lambda tree: ~trees.ended(tree),
        lambda tree: trees.grow(integrator, tree),
        trees.plant(integrator, start, energy, key, DEPTH),
    )
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("step_size", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("dense", [False, True])
def test_a_trajectory_equals_numpyros(step_size: float, dense: bool) -> None:
    device.prepare("cpu", "float64")
    mass: Any = jnp.array([[1.0, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.3]])
    inverse_mass = mass if dense else jnp.diag(mass)
    potential = jax.value_and_grad(bent)

    def both(key: jax.Array) -> tuple[Tree, Any]:
        key_w, key_momentum, key_tree = jax.random.split(key, 3)
        w, momentum = jax.random.normal(key_w, (3,)), jax.random.normal(key_momentum, (3,))
        energy, gradient = potential(w)
        ours = whole(
            Integrator(potential, jnp.float64(step_size), inverse_mass), Point(w, momentum, gradient), energy, key_tree
        )
        theirs = build_tree(
            velocity_verlet(bent, euclidean_kinetic_energy)[1],
            euclidean_kinetic_energy,
            IntegratorState(w, momentum, energy, gradient),
            inverse_mass,
            step_size,
            key_tree,
            max_tree_depth=DEPTH,
        )
        return ours, theirs

    ours, theirs = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(3), 400))
    # Lengths of all kinds, so that every branch of the algorithm is compared.
    lengths = set(np.asarray(theirs.num_proposals).tolist())
    assert len(lengths) > 5
    assert step_size < 0.5 or np.any(theirs.diverging)
    assert step_size > 0.1 or 2**DEPTH - 1 in lengths
    branch = ours.branch
    np.testing.assert_array_equal(branch.steps, theirs.num_proposals)
    np.testing.assert_array_equal(branch.turning, theirs.turning)
    np.testing.assert_array_equal(branch.diverging, theirs.diverging)
    np.testing.assert_array_equal(ours.depth, theirs.depth)
    np.testing.assert_allclose(branch.proposal.w, theirs.z_proposal, rtol=1e-9)
    np.testing.assert_allclose(branch.proposal.total, theirs.z_proposal_energy, rtol=1e-9)
    np.testing.assert_allclose(branch.acceptance, theirs.sum_accept_probs, rtol=1e-9)
    np.testing.assert_allclose(branch.weight, theirs.weight, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("dense_mass", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lanes_that_are_refilled_have_the_draws_of_those_that_wait(dense_mass: bool) -> None:
    device.prepare("cpu", "float64")
    # The last round is half full; lanes are of different widths, so that their trajectories differ in length.
    settings = NutsSettings(warmup=STEPS_PER_ROUND, samples=STEPS_PER_ROUND // 2, dense_mass=dense_mass)
    problem, keys = GaussianProblem(), jax.random.split(jax.random.key(1), 3)
    data = {"y": jnp.asarray(np.random.default_rng(2).multivariate_normal(np.zeros(2), NOISE, 3))}

    def chains(method: Nuts) -> list[Any]:
        state = jax.jit(jax.vmap(lambda key, data: method.init(problem, key, data)))(keys, data)
        advance = jax.jit(jax.vmap(lambda state, data: method.advance(problem, state, data)))
        rounds = []
        for _ in range(method.rounds):
            state, records = advance(state, data)
            rounds.append(records)
        assert np.all(state.status == LaneStatus.OK)
        return rounds

    for waiting, refilled in zip(chains(Nuts(settings)), chains(RefilledNuts(settings)), strict=True):
        assert waiting.keys() == refilled.keys()
        for name, expected in waiting.items():
            assert expected.dtype == refilled[name].dtype, name
            kept = np.asarray(waiting["n_steps"] > 0)
            np.testing.assert_allclose(refilled[name][kept], expected[kept], rtol=1e-6, err_msg=name)

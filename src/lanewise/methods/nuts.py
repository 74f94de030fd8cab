"""`nuts`: one No-U-Turn sampler per lane, each with its own step size and metric, in Laplace-whitened coordinates.

The transition and the adaptation are NumPyro's building blocks (iterative NUTS with multinomial draws, dual
averaging, Welford windows); what is ours is that every lane runs its own, in rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.hmc_util import (
    IntegratorState,
    build_tree,
    euclidean_kinetic_energy,
    velocity_verlet,
    warmup_adapter,
)

from lanewise.lanes import LaneStatus
from lanewise.methods import mode
from lanewise.methods.base import Record
from lanewise.methods.settings import NutsSettings
from lanewise.problems.base import Data, Problem

_STEPS_PER_ROUND = 100
# The fit only sets the coordinates: a tenth of a standard deviation is near enough.
_MODE_GRADIENT_NORM, _MODE_ITERATIONS = 0.1, 50
# Starts are wider than the posterior, so that R̂ can tell chains that have not found it.
_START_SPREAD = 2.0


class NutsState(NamedTuple):
    """A chain between two transitions.

    Attributes:
        centre, factor: the coordinates: position = centre + factor @ w.
        w, energy, gradient: whitened position, potential energy and its gradient there.
        adapt: step size and metric with their adaptation.
        key: of the chain; transition t draws from fold_in(key, t).
    """

    status: jax.Array
    step: jax.Array
    centre: jax.Array
    factor: jax.Array
    w: jax.Array
    energy: jax.Array
    gradient: jax.Array
    adapt: Any
    key: jax.Array


class Nuts:
    """The No-U-Turn sampler (Hoffman & Gelman 2014; Betancourt 2017), one chain per lane."""

    sampler = True

    def __init__(self, settings: NutsSettings) -> None:
        self._settings = settings
        self._total = settings.warmup + settings.samples
        self._adapt_init, self._adapt_update = warmup_adapter(
            settings.warmup, dense_mass=settings.dense_mass, target_accept_prob=settings.target_accept
        )

    @property
    def units(self) -> int:
        """Chains per realization."""
        return self._settings.chains

    @property
    def rounds(self) -> int:
        """Rounds after which every chain is complete."""
        return -(-self._total // _STEPS_PER_ROUND)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> NutsState:
        """Fit the mode, whiten by its curvature, and start the chain around it."""
        fit = mode.find(problem, data, _MODE_GRADIENT_NORM, _MODE_ITERATIONS)
        # The sampled density is the position's: the Jacobian bends it too.
        bend = jax.hessian(problem.log_jacobian)(fit.position)
        precision = jnp.linalg.cholesky(problem.curvature(fit.position, data) - bend)
        n = fit.position.size
        factor = jax.scipy.linalg.solve_triangular(precision, jnp.eye(n, dtype=precision.dtype), lower=True).T
        key, key_start, key_adapt = jax.random.split(key, 3)
        w = _START_SPREAD * jax.random.normal(key_start, (n,), fit.position.dtype)
        energy, gradient = jax.value_and_grad(_potential(problem, data, fit.position, factor))(w)
        adapt = self._adapt_init(IntegratorState(w, None, energy, gradient), key_adapt, mass_matrix_size=n)
        sane = jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient)) & jnp.all(jnp.isfinite(factor))
        sane &= jnp.isfinite(fit.gradient_norm)
        status = jnp.where(sane, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
        return NutsState(status, jnp.int32(0), fit.position, factor, w, energy, gradient, adapt, key)

    def advance(self, problem: Problem, state: NutsState, data: Data) -> tuple[NutsState, Record]:
        """A hundred transitions; those past the chain's end change nothing."""
        potential = _potential(problem, data, state.centre, state.factor)
        _, leapfrog = velocity_verlet(potential, euclidean_kinetic_energy)

        def transition(state: NutsState, _: None) -> tuple[NutsState, Record]:
            moved: tuple[NutsState, Record] = jax.lax.cond(state.step < self._total, move, rest, state)
            return moved

        def move(state: NutsState) -> tuple[NutsState, Record]:
            key_momentum, key_tree = jax.random.split(jax.random.fold_in(state.key, state.step))
            noise = jax.random.normal(key_momentum, state.w.shape, state.w.dtype)
            root = state.adapt.mass_matrix_sqrt
            momentum = root @ noise if self._settings.dense_mass else root * noise
            tree = build_tree(
                leapfrog,
                euclidean_kinetic_energy,
                IntegratorState(state.w, momentum, state.energy, state.gradient),
                state.adapt.inverse_mass_matrix,
                state.adapt.step_size,
                key_tree,
                max_tree_depth=self._settings.max_tree_depth,
            )
            acceptance = tree.sum_accept_probs / tree.num_proposals
            w, energy, gradient = tree.z_proposal, tree.z_proposal_pe, tree.z_proposal_grad
            at = IntegratorState(w, None, energy, gradient)
            adapt = jax.lax.cond(
                state.step < self._settings.warmup,
                lambda: self._adapt_update(state.step, acceptance, at, state.adapt),
                lambda: state.adapt,
            )
            record = {
                "keep": state.step >= self._settings.warmup,
                "position": state.centre + state.factor @ w,
                "lp": -energy,
                "energy": tree.z_proposal_energy,
                "diverging": tree.diverging,
                "acceptance_rate": acceptance,
                "n_steps": tree.num_proposals,
                "step_size": state.adapt.step_size,
            }
            new = state._replace(step=state.step + 1, w=w, energy=energy, gradient=gradient, adapt=adapt)
            return new, record

        def rest(state: NutsState) -> tuple[NutsState, Record]:
            shapes = jax.eval_shape(move, state)[1]
            return state, {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}

        state, records = jax.lax.scan(transition, state, None, length=_STEPS_PER_ROUND)
        status = jnp.where(state.step >= self._total, LaneStatus.OK, LaneStatus.RUNNING).astype(jnp.int32)
        return state._replace(status=status), records

    def finish(self, problem: Problem, state: NutsState, data: Data) -> tuple[jax.Array, Record]:
        """Nothing beyond the draws."""
        return state.status, {}


def _potential(problem: Problem, data: Data, centre: jax.Array, factor: jax.Array) -> Callable[[jax.Array], jax.Array]:
    return lambda w: -problem.log_density(centre + factor @ w, data)

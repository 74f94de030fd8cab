"""`nuts`: one No-U-Turn sampler per lane, each with its own step size and metric, in Laplace-whitened coordinates.

The transition and the adaptation are NumPyro's building blocks (iterative NUTS with multinomial draws, dual
averaging, Welford windows). Here every lane runs them independently, in rounds.
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

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import chain, whitening
from lanewise.methods.base import Kind, Record
from lanewise.methods.settings import NutsSettings
from lanewise.methods.trees import Branch, Point, Proposal
from lanewise.methods.whitening import Whitening

STEPS_PER_ROUND = 100
# Starts are drawn wider than the posterior, so that R̂ shows chains that have not reached it.
_START_SPREAD = 2.0


class NutsState(NamedTuple):
    """State of a chain between two transitions.

    Attributes:
        step: transitions made so far.
        whitening: the coordinates of the chain.
        w, energy, gradient: whitened position, and potential energy and its gradient there.
        adapt: step size and metric, with the state of their adaptation.
        key: random key of the chain; transition t uses fold_in(key, t).
    """

    status: jax.Array
    step: jax.Array
    whitening: Whitening
    w: jax.Array
    energy: jax.Array
    gradient: jax.Array
    adapt: Any
    key: jax.Array


class Nuts:
    """The No-U-Turn sampler (Hoffman & Gelman 2014; Betancourt 2017), one chain per lane."""

    kind = Kind.CHAINS

    def __init__(self, settings: NutsSettings) -> None:
        self._settings = settings
        self._total = settings.warmup + settings.samples
        self._adapt_init, self._adapt_update = warmup_adapter(
            settings.warmup, dense_mass=settings.dense_mass, target_accept_prob=settings.target_accept
        )

    @property
    def units(self) -> int:
        """Number of lanes per realization: one per chain."""
        return self._settings.chains

    @property
    def rounds(self) -> int:
        """Rounds after which every chain is complete."""
        return -(-self._total // STEPS_PER_ROUND)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> NutsState:
        """Fit the whitening at the mode, and start the chain at twice the width of its Gaussian, where that exists."""
        fit = whitening.fit(problem, data)
        n = fit.whitening.centre.size
        key, key_start, key_adapt = jax.random.split(key, 3)
        w = _START_SPREAD * jax.random.normal(key_start, (n,), fit.whitening.centre.dtype)
        potential = jax.value_and_grad(fit.whitening.potential(problem, data))
        w, energy, gradient = chain.started(potential, key_start, w, _START_SPREAD)
        adapt = self._adapt_init(IntegratorState(w, None, energy, gradient), key_adapt, mass_matrix_size=n)
        sane = fit.sane & jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient))
        status = jnp.where(sane, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
        return NutsState(status, jnp.int32(0), fit.whitening, w, energy, gradient, adapt, key)

    def advance(self, problem: Problem, state: NutsState, data: Data) -> tuple[NutsState, Record]:
        """A hundred transitions; those after the chain's end change nothing and are not kept."""
        state, records = self._round(state.whitening.potential(problem, data), state)
        status = jnp.where(state.step >= self._total, LaneStatus.OK, LaneStatus.RUNNING).astype(jnp.int32)
        position = jax.vmap(state.whitening.position)(records.pop("w"))
        return state._replace(status=status), {**records, "position": position}

    def _round(
        self, potential: Callable[[jax.Array], jax.Array], state: NutsState
    ) -> tuple[NutsState, dict[str, jax.Array]]:
        """A round of transitions, and their rows; each trajectory is built as a whole."""
        _, leapfrog = velocity_verlet(potential, euclidean_kinetic_energy)

        def move(state: NutsState) -> tuple[NutsState, Record]:
            start, key = self._start(state)
            inverse_mass, step_size = state.adapt.inverse_mass_matrix, state.adapt.step_size
            at = IntegratorState(start.w, start.momentum, state.energy, start.gradient)
            depth = self._settings.max_tree_depth
            tree = build_tree(
                leapfrog, euclidean_kinetic_energy, at, inverse_mass, step_size, key, max_tree_depth=depth
            )
            end = Proposal(tree.z_proposal, tree.z_proposal_pe, tree.z_proposal_grad, tree.z_proposal_energy)
            sums = tree.weight, tree.r_sum, tree.sum_accept_probs, tree.num_proposals.astype(jnp.int32)
            branch = Branch(end, *sums, tree.turning, tree.diverging)
            return self._moved(state, branch), self._row(state, branch)

        state, records = chain.round_of(move, state, self._total, STEPS_PER_ROUND)
        return state, dict(records)

    def finish(self, problem: Problem, state: NutsState, data: Data) -> tuple[jax.Array, Record]:
        """The status; this method has no records beyond its draws."""
        return state.status, {}

    def _start(self, state: NutsState) -> tuple[Point, jax.Array]:
        """Start of the next trajectory, with a random momentum, and the trajectory's random key."""
        key_momentum, key_tree = jax.random.split(jax.random.fold_in(state.key, state.step))
        noise = jax.random.normal(key_momentum, state.w.shape, state.w.dtype)
        root = state.adapt.mass_matrix_sqrt
        return Point(state.w, root @ noise if self._settings.dense_mass else root * noise, state.gradient), key_tree

    def _moved(self, state: NutsState, trajectory: Branch) -> NutsState:
        """The chain after a transition, adapted during the warm-up."""
        w, energy, gradient, _ = trajectory.proposal
        at = IntegratorState(w, None, energy, gradient)
        adapt = jax.lax.cond(
            state.step < self._settings.warmup,
            lambda: self._adapt_update(state.step, _acceptance(trajectory), at, state.adapt),
            lambda: state.adapt,
        )
        return state._replace(step=state.step + 1, w=w, energy=energy, gradient=gradient, adapt=adapt)

    def _row(self, state: NutsState, trajectory: Branch) -> dict[str, jax.Array]:
        """What a transition records; `w` becomes the position after the round."""
        return {
            "keep": state.step >= self._settings.warmup,
            "w": trajectory.proposal.w,
            "lp": -trajectory.proposal.energy,
            "energy": trajectory.proposal.total,
            "diverging": trajectory.diverging,
            "acceptance_rate": _acceptance(trajectory),
            "n_steps": trajectory.steps,
            "step_size": state.adapt.step_size,
        }


def _acceptance(trajectory: Branch) -> jax.Array:
    """Mean acceptance probability of a trajectory's steps."""
    return trajectory.acceptance / trajectory.steps

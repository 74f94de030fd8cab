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
from lanewise.methods.whitening import Whitening

_STEPS_PER_ROUND = 100
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
        return -(-self._total // _STEPS_PER_ROUND)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> NutsState:
        """Fit the whitening at the mode, and start the chain at twice the width of its Gaussian."""
        fit = whitening.fit(problem, data)
        n = fit.whitening.centre.size
        key, key_start, key_adapt = jax.random.split(key, 3)
        w = _START_SPREAD * jax.random.normal(key_start, (n,), fit.whitening.centre.dtype)
        energy, gradient = jax.value_and_grad(_potential(problem, data, fit.whitening))(w)
        adapt = self._adapt_init(IntegratorState(w, None, energy, gradient), key_adapt, mass_matrix_size=n)
        sane = fit.sane & jnp.isfinite(energy) & jnp.all(jnp.isfinite(gradient))
        status = jnp.where(sane, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
        return NutsState(status, jnp.int32(0), fit.whitening, w, energy, gradient, adapt, key)

    def advance(self, problem: Problem, state: NutsState, data: Data) -> tuple[NutsState, Record]:
        """A hundred transitions; those after the chain's end change nothing."""
        potential = _potential(problem, data, state.whitening)
        _, leapfrog = velocity_verlet(potential, euclidean_kinetic_energy)

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
                "position": state.whitening.position(w),
                "lp": -energy,
                "energy": tree.z_proposal_energy,
                "diverging": tree.diverging,
                "acceptance_rate": acceptance,
                "n_steps": tree.num_proposals,
                "step_size": state.adapt.step_size,
            }
            new = state._replace(step=state.step + 1, w=w, energy=energy, gradient=gradient, adapt=adapt)
            return new, record

        return chain.round_of(move, state, self._total, _STEPS_PER_ROUND)

    def finish(self, problem: Problem, state: NutsState, data: Data) -> tuple[jax.Array, Record]:
        """The status; this method has no records beyond its draws."""
        return state.status, {}


def _potential(problem: Problem, data: Data, at: Whitening) -> Callable[[jax.Array], jax.Array]:
    log_density = at.log_density(problem, data)
    return lambda w: -log_density(w)

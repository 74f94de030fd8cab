"""`hmc`: Hamiltonian Monte Carlo of fixed length in Laplace-whitened coordinates; one lane computes all chains.

In these coordinates the posterior is close to a standard normal: the step size is known in advance, nothing is adapted,
and all trajectories have the same length, so that no lane waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import chain, whitening
from lanewise.methods.base import Kind, Record
from lanewise.methods.settings import HmcSettings
from lanewise.methods.trees import DIVERGENT
from lanewise.methods.whitening import Whitening

_STEPS_PER_ROUND = 50


class HmcState(NamedTuple):
    """State of all chains between two transitions.

    Attributes:
        step: transitions made so far.
        w, energy, gradient: whitened positions, and potential energies and gradients there; leading axis: chain.
        key: random key of the lane; transition t uses fold_in(key, t).
    """

    status: jax.Array
    step: jax.Array
    whitening: Whitening
    w: jax.Array
    energy: jax.Array
    gradient: jax.Array
    key: jax.Array


class Hmc:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011) with a jittered step size."""

    units = 1
    kind = Kind.CHAINS

    def __init__(self, settings: HmcSettings) -> None:
        self._settings = settings
        self._total = settings.burn_in + settings.samples

    @property
    def rounds(self) -> int:
        """Rounds after which every chain is complete."""
        return -(-self._total // _STEPS_PER_ROUND)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> HmcState:
        """Fit the whitening, and draw the starts from its Gaussian.

        Starts farther out may never move: a fixed step size can be too large there, so that every move is rejected.
        """
        fit = whitening.fit(problem, data)
        key, key_start = jax.random.split(key)
        shape = (self._settings.chains, fit.whitening.centre.size)
        w = jax.random.normal(key_start, shape, fit.whitening.centre.dtype)
        potential = jax.value_and_grad(fit.whitening.potential(problem, data))
        keys = jax.random.split(key_start, self._settings.chains)
        w, energy, gradient = jax.vmap(lambda own, at: chain.started(potential, own, at, 1.0))(keys, w)
        sane = fit.sane & jnp.all(jnp.isfinite(energy)) & jnp.all(jnp.isfinite(gradient))
        status = jnp.where(sane, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
        return HmcState(status, jnp.int32(0), fit.whitening, w, energy, gradient, key)

    def advance(self, problem: Problem, state: HmcState, data: Data) -> tuple[HmcState, Record]:
        """Fifty transitions of every chain; those after the chains' end change nothing."""
        potential = _potential(problem, data, state.whitening)

        def move(state: HmcState) -> tuple[HmcState, Record]:
            keys = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
            momentum = jax.random.normal(keys[0], state.w.shape, state.w.dtype)
            chains = state.energy.shape
            jitter = jax.random.uniform(keys[1], chains, state.w.dtype, -1.0, 1.0)
            step_size = self._settings.step_size * (1 + self._settings.jitter * jitter)
            end = self._trajectory(potential, _Point(state.w, momentum, state.energy, state.gradient), step_size)
            before = state.energy + 0.5 * jnp.sum(momentum**2, axis=1)
            # Reject a trajectory that ends in NaN.
            error = jnp.nan_to_num(end.energy + 0.5 * jnp.sum(end.momentum**2, axis=1) - before, nan=jnp.inf)
            acceptance = jnp.exp(-jnp.maximum(error, 0.0))
            accept = jax.random.uniform(keys[2], chains, state.w.dtype) < acceptance
            w = jnp.where(accept[:, None], end.w, state.w)
            energy = jnp.where(accept, end.energy, state.energy)
            record = {
                "keep": state.step >= self._settings.burn_in,
                "position": jax.vmap(state.whitening.position)(w),
                "lp": -energy,
                "energy": before + jnp.where(accept, error, 0.0),
                "diverging": error > DIVERGENT,
                "acceptance_rate": acceptance,
                "step_size": step_size,
            }
            gradient = jnp.where(accept[:, None], end.gradient, state.gradient)
            return state._replace(step=state.step + 1, w=w, energy=energy, gradient=gradient), record

        return chain.round_of(move, state, self._total, _STEPS_PER_ROUND)

    def finish(self, problem: Problem, state: HmcState, data: Data) -> tuple[jax.Array, Record]:
        """The status; this method has no records beyond its draws."""
        return state.status, {}

    def _trajectory(self, potential: _Potential, start: _Point, step_size: jax.Array) -> _Point:
        """The leapfrog trajectory of every chain; step_size has shape (chain,)."""
        step = step_size[:, None]

        def leap(_: int, at: _Point) -> _Point:
            momentum = at.momentum - 0.5 * step * at.gradient
            w = at.w + step * momentum
            energy, gradient = potential(w)
            return _Point(w, momentum - 0.5 * step * gradient, energy, gradient)

        end: _Point = jax.lax.fori_loop(0, self._settings.leapfrog_steps, leap, start)
        return end


class _Point(NamedTuple):
    """A point in phase space per chain, with potential energy and its gradient; leading axis: chain."""

    w: jax.Array
    momentum: jax.Array
    energy: jax.Array
    gradient: jax.Array


_Potential = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def _potential(problem: Problem, data: Data, at: Whitening) -> _Potential:
    """The function from whitened positions of all chains to potential energies and their gradients."""
    return jax.vmap(jax.value_and_grad(at.potential(problem, data)))

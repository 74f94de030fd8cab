"""`map`: the posterior mode, and the standard deviations of its Laplace approximation."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import mode
from lanewise.methods.base import Kind, Record
from lanewise.methods.settings import MapSettings

_STEPS_PER_ROUND = 10


class MapState(NamedTuple):
    """State of a lane: its status, and the search for the mode."""

    status: jax.Array
    mode: mode.Mode


class Map:
    """Posterior mode with respect to the latents; converged if the gradient norm is small and −Hessian positive."""

    units = 1
    kind = Kind.MODE

    def __init__(self, settings: MapSettings) -> None:
        self._settings = settings

    @property
    def rounds(self) -> int:
        """Number of rounds after which every lane has stopped."""
        return -(-self._settings.max_iterations // _STEPS_PER_ROUND)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> MapState:
        """The state at `problem.start`; the key is not used."""
        begin = mode.start(mode.of_latents(problem, data), problem.start(data))
        status = jnp.where(jnp.isfinite(begin.value), LaneStatus.RUNNING, LaneStatus.NON_FINITE)
        return MapState(status.astype(jnp.int32), begin)

    def advance(self, problem: Problem, state: MapState, data: Data) -> tuple[MapState, Record]:
        """Up to ten damped steps; no records."""
        target = mode.of_latents(problem, data)

        def unfinished(carry: tuple[jax.Array, mode.Mode]) -> jax.Array:
            count, at = carry
            return (count < _STEPS_PER_ROUND) & self._searching(at)

        def one(carry: tuple[jax.Array, mode.Mode]) -> tuple[jax.Array, mode.Mode]:
            count, at = carry
            return count + 1, mode.step(target, at)

        _, at = jax.lax.while_loop(unfinished, one, (jnp.int32(0), state.mode))
        converged = at.gradient_norm <= self._settings.gradient_norm
        status = jnp.select(
            [jnp.isnan(at.gradient_norm), self._searching(at), converged],
            [LaneStatus.NON_FINITE, LaneStatus.RUNNING, LaneStatus.OK],
            LaneStatus.NOT_CONVERGED,
        )
        return MapState(status.astype(jnp.int32), at), {}

    def finish(self, problem: Problem, state: MapState, data: Data) -> tuple[jax.Array, Record]:
        """The mode as one draw, and Laplace standard deviations of the latents from the exact Hessian."""
        at = state.mode.position
        hessian = -jax.hessian(mode.of_latents(problem, data).log_density)(at)
        factor = jnp.linalg.cholesky(hessian)
        positive = jnp.all(jnp.isfinite(factor))
        # The Jacobian transforms the covariance from the position to the latents.
        jacobian = jax.jacfwd(problem.constrain)(at)
        half = jax.scipy.linalg.solve_triangular(factor, jacobian.T, lower=True)
        width = jnp.sqrt(jnp.sum(half**2, axis=0))
        status = jnp.where((state.status == LaneStatus.OK) & ~positive, LaneStatus.NOT_CONVERGED, state.status)
        return status, {
            "position": at,
            "laplace_std": width,
            "gradient_norm": state.mode.gradient_norm,
            "hessian_positive": positive,
            "lp": state.mode.value,
            "n_steps": state.mode.iterations,
        }

    def _searching(self, at: mode.Mode) -> jax.Array:
        return (at.gradient_norm > self._settings.gradient_norm) & (at.iterations < self._settings.max_iterations)

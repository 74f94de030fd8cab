"""The posterior mode in the latents' own coordinates, by damped second-order steps (Levenberg–Marquardt)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.problems.base import Data, Problem

# Nielsen's start for well-scaled problems; the diagonal scaling makes it free of units.
_DAMPING = 1e-3
_DAMPING_MIN, _DAMPING_MAX = 1e-12, 1e12


class Mode(NamedTuple):
    """Where the search stands.

    Attributes:
        position: unconstrained position, shape (n,).
        value: log density with respect to the latents there.
        damping: of the next step.
        gradient_norm: √(gᵀ H⁻¹ g): the length of the remaining Newton step in units of the posterior's width; 1e-3
            means that the
            mode is off by a thousandth of a standard deviation.
        iterations: steps taken, accepted or not.
    """

    position: jax.Array
    value: jax.Array
    damping: jax.Array
    gradient_norm: jax.Array
    iterations: jax.Array


def objective(problem: Problem, position: jax.Array, data: Data) -> jax.Array:
    """Log posterior density with respect to the latents, as a function of the position."""
    return problem.log_density(position, data) - problem.log_jacobian(position)


def start(problem: Problem, data: Data) -> Mode:
    """The search before its first step."""
    position = problem.start(data)
    value = objective(problem, position, data)
    infinite = jnp.asarray(jnp.inf, value.dtype)
    return Mode(position, value, jnp.asarray(_DAMPING, value.dtype), infinite, jnp.int32(0))


def step(problem: Problem, mode: Mode, data: Data) -> Mode:
    """One damped step; refused, with ten times the damping, where the density would fall."""
    gradient = jax.grad(lambda u: objective(problem, u, data))(mode.position)
    curvature = problem.curvature(mode.position, data)
    scale = jnp.diag(curvature)
    # Clipped: rounding can push gᵀH⁻¹g of a converged lane below zero.
    norm = jnp.sqrt(jnp.maximum(gradient @ jnp.linalg.solve(curvature, gradient), 0.0))
    move = jnp.linalg.solve(curvature + mode.damping * jnp.diag(scale), gradient)
    position = mode.position + move
    value = objective(problem, position, data)
    # Near the mode the gain drowns in the rounding of the value itself: a step may lose that much.
    slack = 8 * float(np.finfo(value.dtype).eps) * jnp.abs(mode.value)
    accept = jnp.isfinite(value) & (value >= mode.value - slack)
    damping = jnp.clip(jnp.where(accept, mode.damping / 10, mode.damping * 10), _DAMPING_MIN, _DAMPING_MAX)
    return Mode(
        jnp.where(accept, position, mode.position),
        jnp.where(accept, value, mode.value),
        damping,
        norm,
        mode.iterations + 1,
    )


def find(problem: Problem, data: Data, gradient_norm: float, max_iterations: int) -> Mode:
    """Step until the gradient norm before the last step is below `gradient_norm`, or the iterations run out."""

    def unfinished(mode: Mode) -> jax.Array:
        return (mode.gradient_norm > gradient_norm) & (mode.iterations < max_iterations) & jnp.isfinite(mode.value)

    return jax.lax.while_loop(unfinished, lambda mode: step(problem, mode, data), start(problem, data))

"""The mode of a density over the position, by damped second-order steps (Levenberg–Marquardt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.manifest.protocols import Data, Problem

# Nielsen's start for well-scaled problems; the diagonal scaling makes it free of units.
_DAMPING = 1e-3
_DAMPING_MIN, _DAMPING_MAX = 1e-12, 1e12


class Hill(NamedTuple):
    """What is climbed.

    Attributes:
        log_density: of a position, up to a constant.
        curvature: a positive semi-definite stand-in for its negative Hessian.
    """

    log_density: Callable[[jax.Array], jax.Array]
    curvature: Callable[[jax.Array], jax.Array]


class Mode(NamedTuple):
    """Where the search stands.

    Attributes:
        position: unconstrained position, shape (n,).
        value, gradient: of the log density there.
        scale: diagonal of the damping, shape (n,): the largest curvatures met so far.
        damping: of the next step.
        gradient_norm: √(gᵀ H⁻¹ g) before the last step: the length of the remaining Newton step in units of the
            posterior's width; 1e-3 means that the mode is off by a thousandth of a standard deviation.
        iterations: steps taken, accepted or not.
    """

    position: jax.Array
    value: jax.Array
    gradient: jax.Array
    scale: jax.Array
    damping: jax.Array
    gradient_norm: jax.Array
    iterations: jax.Array


def of_latents(problem: Problem, data: Data) -> Hill:
    """The posterior density with respect to the latents, whose mode does not depend on the position's coordinates."""
    return Hill(lambda u: problem.log_density(u, data) - problem.log_jacobian(u), lambda u: problem.curvature(u, data))


def of_position(problem: Problem, data: Data) -> Hill:
    """The posterior density with respect to the position, which samplers see: the Jacobian bends it too."""
    bend = jax.hessian(problem.log_jacobian)
    return Hill(lambda u: problem.log_density(u, data), lambda u: problem.curvature(u, data) - bend(u))


def start(hill: Hill, position: jax.Array) -> Mode:
    """The search before its first step."""
    value, gradient = jax.value_and_grad(hill.log_density)(position)
    infinite = jnp.asarray(jnp.inf, value.dtype)
    return Mode(
        position,
        value,
        gradient,
        jnp.zeros_like(position),
        jnp.asarray(_DAMPING, value.dtype),
        infinite,
        jnp.int32(0),
    )


def step(hill: Hill, mode: Mode) -> Mode:
    """One damped step; refused, with ten times the damping, where the density would fall."""
    curvature = hill.curvature(mode.position)
    # Moré's scaling: where a latent runs into its bound its curvature vanishes, and its step must stay bounded.
    scale = jnp.maximum(mode.scale, jnp.diag(curvature))
    # Clipped: rounding can push gᵀH⁻¹g of a converged lane below zero.
    norm = jnp.sqrt(jnp.maximum(mode.gradient @ jnp.linalg.solve(curvature, mode.gradient), 0.0))
    position = mode.position + jnp.linalg.solve(curvature + mode.damping * jnp.diag(scale), mode.gradient)
    value, gradient = jax.value_and_grad(hill.log_density)(position)
    # Near the mode the gain drowns in the rounding of the value itself: a step may lose that much.
    slack = 8 * float(np.finfo(value.dtype).eps) * jnp.abs(mode.value)
    accept = jnp.isfinite(value) & (value >= mode.value - slack)
    damping = jnp.clip(jnp.where(accept, mode.damping / 10, mode.damping * 10), _DAMPING_MIN, _DAMPING_MAX)
    return Mode(
        jnp.where(accept, position, mode.position),
        jnp.where(accept, value, mode.value),
        jnp.where(accept, gradient, mode.gradient),
        scale,
        damping,
        norm,
        mode.iterations + 1,
    )


def find(hill: Hill, position: jax.Array, gradient_norm: float, max_iterations: int) -> Mode:
    """Step until the gradient norm before the last step is below `gradient_norm`, or the iterations run out."""

    def unfinished(mode: Mode) -> jax.Array:
        return (mode.gradient_norm > gradient_norm) & (mode.iterations < max_iterations) & jnp.isfinite(mode.value)

    return jax.lax.while_loop(unfinished, lambda mode: step(hill, mode), start(hill, position))

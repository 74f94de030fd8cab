"""The mode of a density over the position, by damped second-order steps (Levenberg–Marquardt)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.manifest.problem import Data, Problem

# Initial damping of Nielsen for well-scaled problems; the diagonal scaling makes it dimensionless.
_DAMPING = 1e-3
_DAMPING_MIN, _DAMPING_MAX = 1e-12, 1e12


class Hill(NamedTuple):
    """The function to maximise.

    Attributes:
        log_density: position, shape (n,) → log density up to a constant.
        curvature: position → positive semi-definite approximation of the negative Hessian, shape (n, n).
    """

    log_density: Callable[[jax.Array], jax.Array]
    curvature: Callable[[jax.Array], jax.Array]


class Mode(NamedTuple):
    """State of the search.

    Attributes:
        position: unconstrained position, shape (n,).
        value, gradient: log density and its gradient at the position.
        scale: diagonal of the damping matrix, shape (n,): the largest curvatures so far.
        damping: damping of the next step.
        gradient_norm: √(gᵀ H⁻¹ g) before the last step: the length of the remaining Newton step in units of the
            posterior's width; 1e-3 means that the mode is off by a thousandth of a standard deviation.
        iterations: number of steps, accepted or not.
    """

    position: jax.Array
    value: jax.Array
    gradient: jax.Array
    scale: jax.Array
    damping: jax.Array
    gradient_norm: jax.Array
    iterations: jax.Array


def of_latents(problem: Problem, data: Data) -> Hill:
    """The posterior density with respect to the latents: its mode does not depend on the choice of the position."""

    def log_density(u: jax.Array) -> jax.Array:
        return problem.log_density(u, data) - problem.log_jacobian(u)

    curvature = problem.curvature
    return _by_hessian(log_density) if curvature is None else Hill(log_density, lambda u: curvature(u, data))


def of_position(problem: Problem, data: Data) -> Hill:
    """The posterior density with respect to the position, as for samplers; it includes the log Jacobian."""

    def log_density(u: jax.Array) -> jax.Array:
        return problem.log_density(u, data)

    curvature = problem.curvature
    if curvature is None:
        return _by_hessian(log_density)
    log_jacobian_hessian = jax.hessian(problem.log_jacobian)
    return Hill(log_density, lambda u: curvature(u, data) - log_jacobian_hessian(u))


def _by_hessian(log_density: Callable[[jax.Array], jax.Array]) -> Hill:
    hessian = jax.hessian(log_density)
    return Hill(log_density, lambda u: made_positive(-hessian(u)))


def made_positive(matrix: jax.Array) -> jax.Array:
    """A positive definite matrix in place of a symmetric one; the same up to rounding where it is safely positive.

    In units in which every diagonal element is ±1, each eigenvalue is replaced by its absolute value, at least √ε:
    a step then leads uphill also at a saddle, and stays finite on a plateau.

    Source:
        Dauphin et al. 2014, arXiv:1406.2572, for the absolute values.
    """
    diagonal = jnp.abs(jnp.diag(matrix))
    size = jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0))
    values, vectors = jnp.linalg.eigh(matrix / size / size[:, None])
    least = float(np.sqrt(np.finfo(matrix.dtype).eps))
    found: jax.Array = (vectors * jnp.maximum(jnp.abs(values), least)) @ vectors.T * size * size[:, None]
    return found


def start(hill: Hill, position: jax.Array) -> Mode:
    """The state of a search before its first step; its gradient norm is infinite."""
    value, gradient = jax.value_and_grad(hill.log_density)(position)
    damping, infinite = (jnp.asarray(number, value.dtype) for number in (_DAMPING, jnp.inf))
    return Mode(position, value, gradient, jnp.zeros_like(position), damping, infinite, jnp.int32(0))


def step(hill: Hill, mode: Mode) -> Mode:
    """One damped step; if the density would decrease, it is rejected and the damping multiplied by ten."""
    curvature = hill.curvature(mode.position)
    # Moré's scaling: the curvature of a latent vanishes at its bound, but its step must stay finite.
    scale = jnp.maximum(mode.scale, jnp.diag(curvature))
    # Clip at 0: by rounding, gᵀH⁻¹g of a converged lane can be negative.
    norm = jnp.sqrt(jnp.maximum(mode.gradient @ jnp.linalg.solve(curvature, mode.gradient), 0.0))
    position = mode.position + jnp.linalg.solve(curvature + mode.damping * jnp.diag(scale), mode.gradient)
    value, gradient = jax.value_and_grad(hill.log_density)(position)
    # Near the mode the gain is below the rounding error of the value, so a decrease of that size is allowed.
    slack = 8 * float(np.finfo(value.dtype).eps) * jnp.abs(mode.value)
    accept = jnp.isfinite(value) & (value >= mode.value - slack)
    damping = jnp.clip(jnp.where(accept, mode.damping / 10, mode.damping * 10), _DAMPING_MIN, _DAMPING_MAX)
    moved, stayed = (position, value, gradient), (mode.position, mode.value, mode.gradient)
    position, value, gradient = (jnp.where(accept, new, old) for new, old in zip(moved, stayed, strict=True))
    return Mode(position, value, gradient, scale, damping, norm, mode.iterations + 1)


def find(hill: Hill, position: jax.Array, gradient_norm: float, max_iterations: int) -> Mode:
    """Step until the gradient norm before the last step is at most `gradient_norm`, or to `max_iterations`."""

    def unfinished(mode: Mode) -> jax.Array:
        return (mode.gradient_norm > gradient_norm) & (mode.iterations < max_iterations) & jnp.isfinite(mode.value)

    return jax.lax.while_loop(unfinished, lambda mode: step(hill, mode), start(hill, position))

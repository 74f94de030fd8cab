"""Coordinates in which a posterior is close to a standard normal; all methods except `map` use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.methods import mode

# Steps converge quadratically: the distance from the mode after the last step is about the square of this, in standard
# deviations.
_GRADIENT_NORM, _ITERATIONS = 0.03, 100
# If a width from the Hessian is larger than this many times that from the approximate curvature, the Hessian has lost
# its curvature to rounding or to a plateau.
_MAX_WIDTH_RATIO = 3.0


class Whitening(NamedTuple):
    """The affine map position = centre + factor @ w.

    Attributes:
        centre: mode of the density over the position, shape (n,).
        factor: upper triangular root of the covariance from the curvature at the mode, shape (n, n).
    """

    centre: jax.Array
    factor: jax.Array

    def position(self, w: jax.Array) -> jax.Array:
        """The position at whitened coordinates w, both of shape (n,)."""
        return self.centre + self.factor @ w

    def log_density(self, problem: Problem, data: Data) -> Callable[[jax.Array], jax.Array]:
        """The log posterior density as a function of w, up to a constant."""
        return lambda w: problem.log_density(self.position(w), data)

    def potential(self, problem: Problem, data: Data) -> Callable[[jax.Array], jax.Array]:
        """The potential energy as a function of w: the negative log density."""
        return lambda w: -problem.log_density(self.position(w), data)


class GaussianFit(NamedTuple):
    """A whitening, and whether it is usable.

    Attributes:
        gradient_norm: distance from the mode before the last step of the search, see `mode.Mode`.
        sane: whether whitening, density and gradient are finite.
    """

    whitening: Whitening
    gradient_norm: jax.Array
    sane: jax.Array


def fit(problem: Problem, data: Data) -> GaussianFit:
    """Find the mode, and whiten by the Hessian there; by `problem.curvature` if the Hessian gives no covariance."""
    hill = mode.of_position(problem, data)
    at = mode.find(hill, problem.start(data), _GRADIENT_NORM, _ITERATIONS)
    approximate = _root(hill.curvature(at.position))
    exact = _root(-jax.hessian(hill.log_density)(at.position))
    width, approximate_width = (jnp.sum(factor**2, axis=1) for factor in (exact, approximate))
    factor = jnp.where(jnp.all(width <= _MAX_WIDTH_RATIO**2 * approximate_width), exact, approximate)
    sane = jnp.all(jnp.isfinite(factor)) & jnp.isfinite(at.value) & jnp.isfinite(at.gradient_norm)
    return GaussianFit(Whitening(at.position, factor), at.gradient_norm, sane & jnp.all(jnp.isfinite(at.gradient)))


def _root(precision: jax.Array) -> jax.Array:
    """Upper triangular root of the inverse of a precision matrix; NaN if it is not positive definite."""
    lower = jnp.linalg.cholesky(precision)
    unit = jnp.eye(len(precision), dtype=precision.dtype)
    return jax.scipy.linalg.solve_triangular(lower, unit, lower=True).T

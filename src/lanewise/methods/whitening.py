"""Coordinates in which a posterior is near a standard normal; every method but `map` works in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.protocols import Data, Problem
from lanewise.methods import mode

# Steps converge quadratically, so the last one leaves the square of this, in standard deviations.
_GRADIENT_NORM, _ITERATIONS = 0.03, 100
# A width beyond so many times that of the stand-in is curvature that the Hessian lost to rounding, or to a plateau.
_WIDEST = 3.0


class Whitening(NamedTuple):
    """position = centre + factor @ w.

    Attributes:
        centre: the mode of the density over the position, shape (n,).
        factor: root of the covariance that the curvature there tells, upper triangular, shape (n, n).
    """

    centre: jax.Array
    factor: jax.Array

    def position(self, w: jax.Array) -> jax.Array:
        """The position of w."""
        return self.centre + self.factor @ w

    def log_density(self, problem: Problem, data: Data) -> Callable[[jax.Array], jax.Array]:
        """The posterior's log density over w, up to a constant."""
        return lambda w: problem.log_density(self.position(w), data)


class Fit(NamedTuple):
    """A whitening, and whether there is one.

    Attributes:
        gradient_norm: how far the search was from the mode before its last step, see `mode.Mode`.
        sane: everything is finite.
    """

    whitening: Whitening
    gradient_norm: jax.Array
    sane: jax.Array


def fit(problem: Problem, data: Data) -> Fit:
    """Find the mode and the curvature there: the Hessian, Gauss–Newton where that is no covariance."""
    hill = mode.of_position(problem, data)
    at = mode.find(hill, problem.start(data), _GRADIENT_NORM, _ITERATIONS)
    stand_in = _root(hill.curvature(at.position))
    exact = _root(-jax.hessian(hill.log_density)(at.position))
    width, widest = (jnp.sum(factor**2, axis=1) for factor in (exact, stand_in))
    factor = jnp.where(jnp.all(width <= _WIDEST**2 * widest), exact, stand_in)
    sane = jnp.all(jnp.isfinite(factor)) & jnp.isfinite(at.value) & jnp.isfinite(at.gradient_norm)
    return Fit(Whitening(at.position, factor), at.gradient_norm, sane & jnp.all(jnp.isfinite(at.gradient)))


def _root(precision: jax.Array) -> jax.Array:
    """Root of the inverse, NaN where the precision is not positive."""
    lower = jnp.linalg.cholesky(precision)
    unit = jnp.eye(len(precision), dtype=precision.dtype)
    return jax.scipy.linalg.solve_triangular(lower, unit, lower=True).T

"""Densities of shards at common points, and the coordinates in which the points are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.lanes import over_lanes
from lanewise.families.heterodyne.cmc.consensus import Gaussian, Moments
from lanewise.manifest.problem import Data, Problem
from lanewise.methods import mode

# Points that are evaluated at a time.
_AT_ONCE = 256
# The mode need not be exact: it is the centre of a proposal.
_GRADIENT_NORM, _STEPS = 0.03, 100


class ShardProblem(Problem, Protocol):
    """A problem whose log density is log_likelihood + share · log_prior, where `share` is one of its data."""

    def log_likelihood(self, position: jax.Array, data: Data) -> jax.Array:
        """Of the data; shards add up to the whole, up to a constant."""

    def log_prior(self, position: jax.Array, data: Data) -> jax.Array:
        """With respect to the position, up to a constant."""


@dataclass(frozen=True)
class Scale:
    """Coordinates z in which the posterior of all data is near a standard normal: position = centre + root · z."""

    centre: np.ndarray
    root: np.ndarray

    @property
    def laplace(self) -> Gaussian:
        """The Laplace approximation of the posterior of all data."""
        d = len(self.centre)
        return Gaussian(np.zeros(d), np.eye(d))

    def positions(self, points: np.ndarray) -> np.ndarray:
        """Of points z, shape (…, d)."""
        return np.asarray(self.centre + points @ self.root.T)

    def moments(self, of: Moments) -> Moments:
        """Moments of positions, in z."""
        to_z = np.linalg.inv(self.root)
        return Moments(to_z @ (of.mean - self.centre), to_z @ of.covariance @ to_z.T, of.size)


class Fitted(NamedTuple):
    """The posterior of all shards near its mode.

    Attributes:
        position: the mode, shape (d,).
        likelihoods, posteriors: curvature there of each shard's likelihood, and of its posterior, shape (shard, d, d).
    """

    position: np.ndarray
    likelihoods: np.ndarray
    posteriors: np.ndarray

    @property
    def scale(self) -> Scale:
        """Coordinates in which the curvature of all shards is 1."""
        lower = np.linalg.cholesky(self.posteriors.sum(axis=0))
        return Scale(self.position, np.linalg.inv(lower).T)


def fitted(problem: ShardProblem, each: Sequence[Data]) -> Fitted:
    """The mode of the product of the shards' posteriors; their shares of the prior are scaled to the whole of it."""
    stacked = {**_stacked(each), "share": jnp.full(len(each), 1 / len(each))}
    none = {**stacked, "share": jnp.zeros(len(each))}
    hill = mode.Hill(
        lambda position: _log_density(position, stacked, problem=problem),
        lambda position: jnp.sum(_curvatures(position, stacked, problem=problem), axis=0),
    )
    # A loop here, because one in a program would compile the density and its derivatives several times.
    at = mode.start(hill, problem.start(each[0]))
    while at.iterations < _STEPS and at.gradient_norm > _GRADIENT_NORM and jnp.isfinite(at.value):
        at = mode.step(hill, at)
    likelihoods, posteriors = (np.asarray(_curvatures(at.position, one, problem=problem)) for one in (none, stacked))
    return Fitted(np.asarray(at.position), likelihoods, posteriors)


def log_likelihoods(
    problem: ShardProblem, each: Sequence[Data], *, sequential: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """From positions, shape (n, d), to the log likelihoods of these shards there, shape (shard, n)."""
    stacked = _stacked(each)

    def of(positions: np.ndarray) -> np.ndarray:
        parts = [
            _log_likelihoods(batch, stacked, problem=problem, sequential=sequential) for batch in _batches(positions)
        ]
        return np.concatenate([np.asarray(part) for part in parts], axis=1)[:, : len(positions)]

    return of


def log_priors(problem: ShardProblem, data: Data, positions: np.ndarray) -> np.ndarray:
    """Log prior at positions, shape (n, d) → (n,)."""
    parts = [_log_priors(batch, data, problem=problem) for batch in _batches(positions)]
    return np.concatenate([np.asarray(part) for part in parts])[: len(positions)]


def _stacked(each: Sequence[Data]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def _batches(positions: np.ndarray) -> list[jax.Array]:
    """Batches of one size; the last is filled up with the last position."""
    padded = np.pad(positions, ((0, -len(positions) % _AT_ONCE), (0, 0)), mode="edge")
    return [jnp.asarray(padded[at : at + _AT_ONCE]) for at in range(0, len(padded), _AT_ONCE)]


@partial(jax.jit, static_argnames="problem")
def _log_density(position: jax.Array, each: Any, *, problem: ShardProblem) -> jax.Array:
    return jnp.sum(jax.lax.map(lambda data: problem.log_density(position, data), each))


@partial(jax.jit, static_argnames="problem")
def _curvatures(position: jax.Array, each: Any, *, problem: ShardProblem) -> jax.Array:
    curvature = problem.curvature
    assert curvature is not None
    found: jax.Array = jax.lax.map(lambda data: curvature(position, data), each)
    return found


@partial(jax.jit, static_argnames=("problem", "sequential"))
def _log_likelihoods(positions: jax.Array, each: Any, *, problem: ShardProblem, sequential: bool) -> jax.Array:
    def of(data: Data) -> jax.Array:
        return jax.vmap(lambda position: problem.log_likelihood(position, data))(positions)

    found: jax.Array = over_lanes(of, sequential=sequential)(each)
    return found


@partial(jax.jit, static_argnames="problem")
def _log_priors(positions: jax.Array, data: Data, *, problem: ShardProblem) -> jax.Array:
    found: jax.Array = jax.vmap(lambda position: problem.log_prior(position, data))(positions)
    return found

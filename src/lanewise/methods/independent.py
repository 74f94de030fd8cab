"""`laplace` and `importance`: independent draws of a proposal at the mode. `vi` draws from its guide the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import whitening
from lanewise.methods.base import Kind, Record
from lanewise.methods.settings import ImportanceSettings, LaplaceSettings
from lanewise.methods.whitening import Whitening

DRAWS_PER_ROUND = 200
# A Student t with this many degrees of freedom bounds the weights for a posterior with Gaussian tails. For an exactly
# Gaussian posterior in six dimensions it reduces the effective sample size by a third.
_DEGREES = 8

Proposal = Callable[[Problem, Data, Whitening, jax.Array, int], Record]


class Drawing(NamedTuple):
    """State of a lane between two rounds.

    Attributes:
        drawn: number of draws made so far.
        gradient_norm: see `whitening.GaussianFit`.
        key: random key of the lane; the round after `drawn` draws uses fold_in(key, drawn).
    """

    status: jax.Array
    drawn: jax.Array
    whitening: Whitening
    gradient_norm: jax.Array
    key: jax.Array


@dataclass(frozen=True)
class Independent:
    """Independent draws of a proposal whose centre and scale come from the Laplace fit.

    Attributes:
        draw: one round of draws of the proposal.
        samples: number of draws per realization.
    """

    kind: Kind
    draw: Proposal
    samples: int
    units = 1

    @property
    def rounds(self) -> int:
        """Number of rounds after which every lane has its draws."""
        return rounds(self.samples)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> Drawing:
        """Fit the proposal at the mode; no draws yet."""
        return begin(problem, key, data)

    def advance(self, problem: Problem, state: Drawing, data: Data) -> tuple[Drawing, Record]:
        """One round of draws of the proposal, with their log weights."""
        return round_of(self.draw, problem, state, data, self.samples)

    def finish(self, problem: Problem, state: Drawing, data: Data) -> tuple[jax.Array, Record]:
        """The gradient norm at the mode, see `mode.Mode`.

        Draws that are to be resampled also have `comb`, the uniform random offset in [0, 1) of the systematic
        resampling.
        """
        record = {"gradient_norm": state.gradient_norm}
        if self.kind is Kind.WEIGHTED:
            key = jax.random.fold_in(state.key, state.drawn)
            record["comb"] = jax.random.uniform(key, (), state.gradient_norm.dtype)
        return state.status, record


def laplace(settings: LaplaceSettings) -> Independent:
    """The Laplace approximation of the density over the position; convergence is judged by k̂ of its weights."""
    return Independent(Kind.APPROXIMATION, gaussian, settings.samples)


def importance(settings: ImportanceSettings) -> Independent:
    """Pareto-smoothed importance sampling (Vehtari et al. 2024, arXiv:1507.02646) with a Student t as the proposal.

    Convergence is judged by k̂ of the weights, and by their effective sample size 1/Σw².
    """
    return Independent(Kind.WEIGHTED, student_t, settings.samples)


def rounds(n_draws: int) -> int:
    """Number of rounds for this many draws."""
    return -(-n_draws // DRAWS_PER_ROUND)


def begin(problem: Problem, key: jax.Array, data: Data) -> Drawing:
    """The state before the first draw, with the fitted whitening; NON_FINITE if the fit is not finite."""
    fit = whitening.fit(problem, data)
    status = jnp.where(fit.sane, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
    return Drawing(status, jnp.int32(0), fit.whitening, fit.gradient_norm, key)


def round_of(proposal: Proposal, problem: Problem, state: Drawing, data: Data, samples: int) -> tuple[Drawing, Record]:
    """One round of draws; those beyond `samples` are not kept.

    Returns:
        The new state: OK after `samples` draws, NON_FINITE if a log density is NaN or +∞ or all are −∞. The records.
    """
    # A single round makes only what is kept.
    n = min(samples, DRAWS_PER_ROUND)
    record = proposal(problem, data, state.whitening, jax.random.fold_in(state.key, state.drawn), n)
    keep = state.drawn + jnp.arange(n) < samples
    drawn = state.drawn + DRAWS_PER_ROUND
    # A log density of −∞ is a valid weight of 0. NaN and +∞ are faults, and so is −∞ for every draw around the mode.
    density = record["lp"]
    fault = jnp.any(jnp.isnan(density) | jnp.isposinf(density)) | jnp.all(jnp.isneginf(density))
    status = jnp.select(
        [fault, drawn >= samples],
        [LaneStatus.NON_FINITE, LaneStatus.OK],
        LaneStatus.RUNNING,
    )
    return state._replace(status=status.astype(jnp.int32), drawn=drawn), {"keep": keep, **record}


def gaussian(problem: Problem, data: Data, at: Whitening, key: jax.Array, n_draws: int) -> Record:
    """One round of draws of the Gaussian with the whitening's centre and covariance.

    Returns:
        `position`, shape (draw, n); `lp`, the log density, and `log_weight`, both of shape (draw,).
    """
    w = jax.random.normal(key, (n_draws, at.centre.size), at.centre.dtype)
    return _weighted(problem, data, at, w, -0.5 * jnp.sum(w**2, axis=1))


def student_t(problem: Problem, data: Data, at: Whitening, key: jax.Array, n_draws: int) -> Record:
    """One round of draws of a multivariate Student t with the whitening's centre and scale; records as `gaussian`."""
    n, dtype = at.centre.size, at.centre.dtype
    key_normal, key_scale = jax.random.split(key)
    normal = jax.random.normal(key_normal, (n_draws, n), dtype)
    # χ² with an even number of degrees of freedom is twice a sum of unit exponentials.
    chi2 = 2 * jnp.sum(jax.random.exponential(key_scale, (n_draws, _DEGREES // 2), dtype), axis=1)
    w = normal * jnp.sqrt(_DEGREES / chi2)[:, None]
    log_proposal = -0.5 * (_DEGREES + n) * jnp.log1p(jnp.sum(w**2, axis=1) / _DEGREES)
    return _weighted(problem, data, at, w, log_proposal)


def _weighted(problem: Problem, data: Data, at: Whitening, w: jax.Array, log_proposal: jax.Array) -> Record:
    position = jax.vmap(at.position)(w)
    # Vectorised over draws, also if lanes run one by one: twice as fast on the CPU as one draw at a time.
    log_density = jax.vmap(lambda u: problem.log_density(u, data))(position)
    return {"position": position, "lp": log_density, "log_weight": log_density - log_proposal}

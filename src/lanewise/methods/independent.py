"""State and rounds shared by the methods of independent draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import whitening
from lanewise.methods.base import Record
from lanewise.methods.proposal import DRAWS_PER_ROUND
from lanewise.methods.whitening import Whitening

Proposal = Callable[[Problem, Data, Whitening, jax.Array], Record]


class Drawing(NamedTuple):
    """State of a lane between two rounds.

    Attributes:
        drawn: number of draws made so far.
        gradient_norm: see `whitening.Fit`.
        key: random key of the lane; the round after `drawn` draws uses fold_in(key, drawn).
    """

    status: jax.Array
    drawn: jax.Array
    whitening: Whitening
    gradient_norm: jax.Array
    key: jax.Array


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
    record = proposal(problem, data, state.whitening, jax.random.fold_in(state.key, state.drawn))
    keep = state.drawn + jnp.arange(DRAWS_PER_ROUND) < samples
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

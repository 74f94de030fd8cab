"""A round of transitions, shared by all Markov chain methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Record, noughts

# A NamedTuple with the fields `status` and `step`.
State = TypeVar("State", bound=Any)


def round_of(
    transition: Callable[[State], tuple[State, Record]], state: State, total: int, length: int
) -> tuple[State, Record]:
    """`length` transitions; those after the chain's end at `total` change nothing and record zeros.

    Returns:
        The new state and the records. The status is OK at the end of the chain and RUNNING before. The first axis of
        the records is the transition.
    """

    # With jit, what is asked for its shapes and what runs are traced once.
    transition = jax.jit(transition)

    def rest(state: State) -> tuple[State, Record]:
        return state, noughts(transition, state)[1]

    def one(state: State, _: None) -> tuple[State, Record]:
        moved: tuple[State, Record] = jax.lax.cond(state.step < total, transition, rest, state)
        return moved

    state, records = jax.lax.scan(one, state, None, length=length)
    status = jnp.where(state.step >= total, LaneStatus.OK, LaneStatus.RUNNING).astype(jnp.int32)
    return state._replace(status=status), records

"""A round of transitions, shared by all Markov chain methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Record, noughts

# So often a chain's start is drawn again, the last time at the origin.
_DRAWN_AGAIN = 6
# A NamedTuple with the fields `status` and `step`.
State = TypeVar("State", bound=Any)


class _Start(NamedTuple):
    """A start after `n_drawn` draws, each of the others as in `started`."""

    n_drawn: jax.Array
    w: jax.Array
    energy: jax.Array
    gradient: jax.Array


def started(
    potential: Callable[[jax.Array], tuple[jax.Array, jax.Array]], key: jax.Array, first: jax.Array, spread: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A chain's start, where energy and gradient are finite if they are at the origin.

    A start without a finite energy or gradient is drawn again at half the distance, several times; the last is the
    origin itself, the mode of the fit.

    Args:
        potential: from a whitened position, shape (n,), to its potential energy and the gradient.
        first: the first start.
        spread: standard deviation that it was drawn with.

    Returns:
        Position, energy and gradient.
    """

    def drawn(carry: _Start) -> _Start:
        scale = jnp.where(carry.n_drawn < _DRAWN_AGAIN, spread * 0.5**carry.n_drawn, 0.0)
        again = scale * jax.random.normal(jax.random.fold_in(key, carry.n_drawn), first.shape, first.dtype)
        w = jnp.where(carry.n_drawn == 0, first, again.astype(first.dtype))
        return _Start(carry.n_drawn + 1, w, *potential(w))

    def unusable(carry: _Start) -> jax.Array:
        usable = jnp.isfinite(carry.energy) & jnp.all(jnp.isfinite(carry.gradient))
        return (carry.n_drawn <= _DRAWN_AGAIN) & ~usable

    # The first start is in the loop, too, so that the potential is compiled once.
    none = _Start(jnp.int32(0), first, jnp.full((), jnp.inf, first.dtype), first)
    found: _Start = jax.lax.while_loop(unusable, drawn, none)
    return found.w, found.energy, found.gradient


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

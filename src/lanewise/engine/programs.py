"""A method on lanes as compiled programs, and the device memory that they need."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from lanewise import methods
from lanewise.engine.lanes import SharedOut, over_lanes
from lanewise.manifest import registry
from lanewise.manifest.manifest import Config
from lanewise.manifest.problem import LaneInference, Problem, Reduce
from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Method, noughts

Result = TypeVar("Result")
# Lanes checked for flaws in parallel on an accelerator: the accurate model may need far more memory than the fast one.
_FLAW_LANES = 16
# Problems whose programs are kept: a campaign has one for each shape of its data.
_KEPT = 16


@dataclass(frozen=True)
class Program:
    """A method on lanes, compiled once; `data` is a dict of arrays with a leading lane axis.

    Attributes:
        joined: the records of all rounds, one after the other along the axis of the steps.
        reduce: from these records, the records of whole lanes, and data: the lanes' centres, see `Problem.flaw`, and
            what they leave in place of their draws. None if they leave their draws.
    """

    init: SharedOut
    advance: SharedOut
    finish: SharedOut
    constrain: Callable[..., Any]
    flaw: SharedOut
    joined: Callable[..., Any]
    reduce: SharedOut | None


@dataclass(frozen=True)
class Stage:
    """A method with its name and its program."""

    name: str
    method: Method[Any]
    program: Program


@functools.lru_cache(maxsize=_KEPT)
def of_family(kind: str, config: Config, sequential: bool) -> tuple[Problem, tuple[Stage, ...]]:
    """The problem and stages of a family; cached, so that campaigns with equal configs share compiled programs."""
    lanes = registry.lanes(kind)
    problem, membership = lanes.problem(config), lanes.membership(config)
    reduce = membership.reduce if membership else None
    return problem, stages(lanes.inference(config), problem, reduce, sequential=sequential)


@functools.lru_cache(maxsize=_KEPT)
def finer(
    problem: Problem, inference: LaneInference, reduce: Reduce | None, sequential: bool
) -> tuple[Problem, tuple[Stage, ...]] | None:
    """The problem with a more accurate model, and its stages; cached as `of_family`. None if there is none."""
    if (accurate := problem.finer) is None:
        return None
    return accurate, stages(inference, accurate, reduce, sequential=sequential)


def stages(
    inference: LaneInference, problem: Problem, reduce: Reduce | None = None, *, sequential: bool
) -> tuple[Stage, ...]:
    """The methods of a config, in the order in which they run; each is compiled at its first call."""
    built = [(name, methods.build(name, settings, sequential=sequential)) for name, settings in inference.stages]
    return tuple(Stage(name, method, build(method, problem, reduce, sequential=sequential)) for name, method in built)


def build(method: Method[Any], problem: Problem, reduce: Reduce | None = None, *, sequential: bool) -> Program:
    """Map the method over lanes; lanes that have stopped, and padding lanes, do not change."""

    # With jit, what is asked for its shapes and what runs are traced once.
    begin = jax.jit(lambda key, data: method.init(problem, key, data))
    move = jax.jit(lambda state, data: method.advance(problem, state, data))

    def init(key: jax.Array, data: Any, active: jax.Array) -> Any:
        state = jax.lax.cond(active, begin, lambda *arguments: noughts(begin, *arguments), key, data)
        # Padding lanes start with status OK.
        return state._replace(status=jnp.where(active, state.status, jnp.int32(LaneStatus.OK)))

    def advance(state: Any, data: Any) -> Any:
        def rest(state: Any, data: Any) -> Any:
            return state, noughts(move, state, data)[1]

        return jax.lax.cond(state.status == LaneStatus.RUNNING, move, rest, state, data)

    def flaw(position: jax.Array, data: Any, active: jax.Array) -> jax.Array:
        found: jax.Array = jax.lax.cond(
            active, lambda: jnp.asarray(problem.flaw(position, data), jnp.float32), lambda: jnp.zeros((), jnp.float32)
        )
        return found

    def left(records: Any, whole: Any, data: Any) -> Any:
        assert reduce is not None
        return _centre(records, whole), dict(reduce(problem, records, whole, data))

    return Program(
        init=SharedOut(over_lanes(init, sequential=sequential)),
        advance=SharedOut(over_lanes(advance, sequential=sequential)),
        finish=SharedOut(over_lanes(functools.partial(method.finish, problem), sequential=sequential)),
        constrain=jax.jit(jnp.vectorize(problem.constrain, signature="(n)->(m)")),
        flaw=SharedOut(over_lanes(flaw, sequential=sequential, at_once=_FLAW_LANES)),
        joined=jax.jit(_joined),
        reduce=SharedOut(over_lanes(left, sequential=sequential)) if reduce else None,
    )


def _joined(parts: Any) -> Any:
    # A program of its own, so that a block has the same bits whether or not its first rounds come from a checkpoint.
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays, axis=1), *parts)


def _centre(records: Any, whole: Any) -> jax.Array:
    """Representative position of a lane: its mode, or the mean of its draws."""
    if "position" in whole:
        mode: jax.Array = whole["position"]
        return mode
    draws, keep = records["position"], records["keep"]
    keep = jnp.reshape(keep, keep.shape + (1,) * (draws.ndim - keep.ndim))
    axes = tuple(range(draws.ndim - 1))
    return jnp.sum(jnp.where(keep, draws, 0), axis=axes) / jnp.sum(jnp.broadcast_to(keep, draws.shape), axis=axes)


def within_memory(call: Callable[[], Result]) -> Result | None:
    """Result of the call; None if the device or the host runs out of memory."""
    try:
        return call()
    except MemoryError:
        return None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


def footprint(stage: Stage, inputs: Any) -> tuple[int, int]:
    """Memory of a stage's compiled programs, from XLA's memory analysis.

    Args:
        inputs: keys, data and active flags of a block of lanes, or their shapes.

    Returns:
        Arguments, results and temporaries of the largest program, and records that stay on the device until they are
        reduced [bytes]; what all lanes leave on the host [bytes].
    """
    program, n_rounds, (_, data, _) = stage.program, stage.method.rounds, inputs
    state = jax.eval_shape(program.init, *inputs)
    _, records = jax.eval_shape(program.advance, state, data)
    _, whole = jax.eval_shape(program.finish, state, data)
    calls: list[tuple[Any, tuple[Any, ...], int]] = [
        (program.init, inputs, 0),
        (program.advance, (state, data), 0),
        (program.finish, (state, data), 0),
    ]
    left: Any = [records] * n_rounds
    if program.reduce is not None:
        every = jax.eval_shape(program.joined, left)
        # The rounds' own records live on beside the joined ones; only they do while a round runs.
        calls = [(call, arguments, _size(every)) for call, arguments, _ in calls]
        calls.append((program.reduce, (every, whole, data), _size(every)))
        _, left = jax.eval_shape(program.reduce, every, whole, data)
    peak = 0
    for function, arguments, beside in calls:
        found = function.lower(*arguments).compile().memory_analysis()
        used = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
        peak = max(peak, used + beside)
    return peak, _size(left)


def _size(tree: Any) -> int:
    """Size of arrays, or of their shapes [bytes]."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

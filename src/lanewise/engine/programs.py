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
from lanewise.manifest.problem import LaneInference, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Method, noughts

Result = TypeVar("Result")
# Lanes checked for flaws in parallel on an accelerator: the accurate model may need far more memory than the fast one.
_FLAW_LANES = 16


@dataclass(frozen=True)
class Program:
    """A method on lanes, compiled once; `data` is a dict of arrays with a leading lane axis."""

    init: SharedOut
    advance: SharedOut
    finish: SharedOut
    constrain: Callable[..., Any]
    flaw: SharedOut


@dataclass(frozen=True)
class Stage:
    """A method with its name and its program."""

    name: str
    method: Method[Any]
    program: Program


@functools.lru_cache(maxsize=4)
def of_family(kind: str, config: Config, sequential: bool) -> tuple[Problem, tuple[Stage, ...]]:
    """The problem and stages of a family; cached, so that campaigns with equal configs share compiled programs."""
    lanes = registry.lanes(kind)
    problem = lanes.problem(config)
    return problem, stages(lanes.inference(config), problem, sequential=sequential)


def stages(inference: LaneInference, problem: Problem, *, sequential: bool) -> tuple[Stage, ...]:
    """The methods of a config, in the order in which they run; each is compiled at its first call."""
    built = [(name, methods.build(name, settings)) for name, settings in inference.stages]
    return tuple(Stage(name, method, build(method, problem, sequential=sequential)) for name, method in built)


def build(method: Method[Any], problem: Problem, *, sequential: bool) -> Program:
    """Map the method over lanes; lanes that have stopped, and padding lanes, do not change."""

    def init(key: jax.Array, data: Any, active: jax.Array) -> Any:
        state = method.init(problem, key, data)
        # Padding lanes start with status OK.
        return state._replace(status=jnp.where(active, state.status, jnp.int32(LaneStatus.OK)))

    def advance(state: Any, data: Any) -> Any:
        def move(state: Any) -> Any:
            return method.advance(problem, state, data)

        def rest(state: Any) -> Any:
            return state, noughts(move, state)

        return jax.lax.cond(state.status == LaneStatus.RUNNING, move, rest, state)

    def flaw(position: jax.Array, data: Any, active: jax.Array) -> jax.Array:
        found: jax.Array = jax.lax.cond(
            active, lambda: jnp.asarray(problem.flaw(position, data), jnp.float32), lambda: jnp.zeros((), jnp.float32)
        )
        return found

    return Program(
        init=SharedOut(over_lanes(init, sequential=sequential)),
        advance=SharedOut(over_lanes(advance, sequential=sequential)),
        finish=SharedOut(over_lanes(functools.partial(method.finish, problem), sequential=sequential)),
        constrain=jax.jit(jnp.vectorize(problem.constrain, signature="(n)->(n)")),
        flaw=SharedOut(over_lanes(flaw, sequential=sequential, at_once=_FLAW_LANES)),
    )


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


def footprint(program: Program, inputs: Any) -> tuple[int, int]:
    """Memory of the compiled programs, from XLA's memory analysis.

    Args:
        inputs: keys, data and active flags of a block of lanes, or their shapes.

    Returns:
        Arguments, results and temporaries of the largest program [bytes]; records of all lanes in one round [bytes].
    """
    _, data, _ = inputs
    state = jax.eval_shape(program.init, *inputs)
    _, records = jax.eval_shape(program.advance, state, data)
    peak = 0
    for function, arguments in (
        (program.init, inputs),
        (program.advance, (state, data)),
        (program.finish, (state, data)),
    ):
        found = function.lower(*arguments).compile().memory_analysis()
        peak = max(peak, found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes)
    return peak, sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(records))

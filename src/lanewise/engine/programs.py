"""A method on lanes as compiled programs, and the memory that they take of a device."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from lanewise import methods
from lanewise.engine.lanes import LaneStatus, SharedOut, noughts, over_lanes
from lanewise.manifest import registry

if TYPE_CHECKING:
    import jax

    from lanewise.manifest.protocols import Problem
    from lanewise.methods.base import Method


Result = TypeVar("Result")
# Lanes whose flaw an accelerator tells side by side: a careful form may need far more room than the fast one.
_LOOKED_AT = 16


@dataclass(frozen=True)
class Program:
    """The method on lanes, compiled once; `data` is a dict of arrays with a leading lane axis."""

    init: SharedOut
    advance: SharedOut
    finish: SharedOut
    constrain: Callable[..., Any]
    flaw: SharedOut


@dataclass(frozen=True)
class Stage:
    """A method by its name, and its program."""

    name: str
    method: Method[Any]
    program: Program


@functools.lru_cache(maxsize=4)
def of_family(kind: str, config: Any, sequential: bool) -> tuple[Problem, tuple[Stage, ...]]:
    """The stages of a family's own posterior; campaigns of one config in one process share them."""
    problem = registry.lane_family(kind).problem(config)
    return problem, stages(config, problem, sequential=sequential)


def stages(config: Any, problem: Problem, *, sequential: bool) -> tuple[Stage, ...]:
    """The methods of a config, in the order in which they run; what is not run is not compiled."""
    built = [(name, methods.build(name, settings)) for name, settings in config.stages]
    return tuple(Stage(name, method, build(method, problem, sequential=sequential)) for name, method in built)


def build(method: Method[Any], problem: Problem, *, sequential: bool) -> Program:
    """Map the method over lanes; a lane that has stopped, or was never active, is left as it is."""
    import jax
    import jax.numpy as jnp

    def init(key: jax.Array, data: Any, active: jax.Array) -> Any:
        state = method.init(problem, key, data)
        # Padding counts as done before it begins.
        return state._replace(status=jnp.where(active, state.status, jnp.int32(LaneStatus.OK)))

    def advance(state: Any, data: Any) -> Any:
        def move(state: Any) -> Any:
            return method.advance(problem, state, data)

        def rest(state: Any) -> Any:
            return state, noughts(move, state)

        return jax.lax.cond(state.status == LaneStatus.RUNNING, move, rest, state)

    def finish(state: Any, data: Any) -> Any:
        return method.finish(problem, state, data)

    def flaw(position: jax.Array, data: Any, active: jax.Array) -> jax.Array:
        found: jax.Array = jax.lax.cond(
            active, lambda: jnp.asarray(problem.flaw(position, data), jnp.float32), lambda: jnp.zeros((), jnp.float32)
        )
        return found

    return Program(
        init=SharedOut(over_lanes(init, sequential=sequential)),
        advance=SharedOut(over_lanes(advance, sequential=sequential)),
        finish=SharedOut(over_lanes(finish, sequential=sequential)),
        constrain=jax.jit(jnp.vectorize(problem.constrain, signature="(n)->(n)")),
        flaw=SharedOut(over_lanes(flaw, sequential=sequential, at_once=_LOOKED_AT)),
    )


def within_memory(call: Callable[[], Result]) -> Result | None:
    """What the call returns; None if the device, or the host, has no room for it."""
    import jax

    try:
        return call()
    except MemoryError:
        return None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


def footprint(program: Program, inputs: Any) -> tuple[int, int]:
    """What the compiled programs take, by XLA's own analysis.

    Args:
        inputs: keys, data and activity of a block of lanes, or their shapes.

    Returns:
        Arguments, results and temporaries of the largest of them [bytes]; records of one round, all lanes [bytes].
    """
    import jax

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

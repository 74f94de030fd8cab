"""Kernels counted in the text of a compiled program, by the benchmarks' own module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import kernels

TEXT = """HloModule jit_f

%fused (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %sine = f32[8]{0} sine(%p), metadata={op_name="jit(f)/while/body/transpose(jvp())/mul"}
}

%other (q: f32[8]) -> f32[8] {
  ROOT %q = f32[8]{0} parameter(0)
}

%inner (i: (s32[], f32[8])) -> (s32[], f32[8]) {
  %i = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%i), index=1
  ROOT %one = (s32[], /*index=1*/f32[8]{0}) custom-call(%x), custom_call_target="turn"
}

%leap (c: (s32[], f32[8])) -> (s32[], f32[8]) {
  %c = (s32[], f32[8]{0}) parameter(0)
  %y = f32[8]{0} get-tuple-element(%c), index=1
  %gradient = f32[8]{0} fusion(%y), kind=kLoop, calls=%fused
  %moved = f32[8]{0} copy(%gradient)
  ROOT %turned = (s32[], f32[8]{0}) while(%c), condition=%less, body=%inner
}

%outer (d: (s32[], f32[8])) -> (s32[], f32[8]) {
  %d = (s32[], f32[8]{0}) parameter(0)
  %noise = f32[8]{0} fusion(%d), kind=kLoop, calls=%other
  ROOT %three = (s32[], f32[8]{0}) while(%d), condition=%less, body=%leap, backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  %fifty = (s32[], f32[8]{0}) while(%a), condition=%less, body=%outer, backend_config={"known_trip_count":{"n":"50"}}
  ROOT %r = f32[8]{0} get-tuple-element(%fifty), index=1
}
"""


def compiled(function: Callable[..., Any], *arguments: jax.Array) -> kernels.Program:
    text = jax.jit(function).lower(*arguments).compile().as_text()
    assert text is not None
    return kernels.Program(text)


def test_launches_are_counted_through_loops_and_those_of_the_gradients_step_by_themselves() -> None:
    program = kernels.Program(TEXT)
    assert [(loop.depth, loop.trips, loop.kernels) for loop in program.loops] == [(0, 50, 10), (1, 3, 3), (2, None, 1)]
    assert program.kernels == 500
    # The fused gradient, a copy, and one step of the loop inside.
    assert program.per_gradient() == 3


def test_a_compiled_program_is_read() -> None:
    def leap(_: object, x: jax.Array) -> jax.Array:
        slope: jax.Array = jax.grad(lambda at: jnp.sum(jnp.sin(at @ at.T)))(x)
        return x - 0.1 * slope

    def walk(x: jax.Array) -> jax.Array:
        end: jax.Array = jax.lax.fori_loop(0, 7, leap, x)
        return end

    program = compiled(walk, jnp.ones((8, 8)))
    (loop,) = program.loops
    assert (loop.depth, loop.trips, loop.derivative) == (0, 7, True)
    # A product for the value, and at least one for the gradient.
    assert 2 <= program.per_gradient() == loop.kernels < 30
    assert program.kernels >= 7 * loop.kernels


def test_a_program_without_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="no loop of the program takes a gradient"):
        compiled(jnp.sin, jnp.ones(8)).per_gradient()

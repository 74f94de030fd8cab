"""Levenberg–Marquardt from one start, in the coordinates, within the user's bounds."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg

from lanewise.engine.lanes import over_lanes
from lanewise.families.heterodyne.nlsq import fit_model, kernel, scaling
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitModel
from lanewise.families.heterodyne.nlsq.kernel import FramePairs
from lanewise.families.heterodyne.nlsq.scaling import Kind, Normal, ScalingBasis
from lanewise.families.heterodyne.nlsq.scene import Scene

_DAMPING_MIN, _DAMPING_MAX = 1e-12, 1e10
# Replaces 0 under a square root.
_TINY = 1e-300
# A descent has reached a known minimum if its χ² and the change of χ² per pass are within _SETTLED_CHI2 of it. After
# _TRIAL_PASSES it stops if _MORE_PASSES further passes at its pace would end more than _FAR_CHI2 above that minimum.
_SETTLED_CHI2 = 1.0
_TRIAL_PASSES, _MORE_PASSES, _FAR_CHI2 = 15, 20, 25.0
# Largest number of solves to find the bounds that a step reaches; each solve finds at least one, most find all.
_MAX_SOLVES = 4


class Anchor(NamedTuple):
    """Expected values of the coordinates and their spread, shape (n,); an infinite spread means no expectation."""

    centre: Any
    spread: Any


class FitProblem(NamedTuple):
    """The inputs that all starts of one fit share."""

    data: FramePairs
    scene: Scene
    gauge: Any
    box: Box
    scaling: ScalingBasis
    anchor: Anchor


class Search(NamedTuple):
    """State of the descent from one start.

    Attributes:
        x: coordinates, shape (n,).
        at: the least-squares problem at x; its ssr is infinite before the first pass over the data.
        candidate: coordinates that the next pass evaluates.
        promised: decrease of the sum of squares at the candidate that the linear model predicts.
        damping: damping of the step to the candidate.
        growth: factor by which the damping grows if the candidate is rejected.
        passes: passes over the data so far.
        done: whether the descent has ended before its limit of passes.
    """

    x: jax.Array
    at: Normal
    candidate: jax.Array
    promised: jax.Array
    damping: jax.Array
    growth: jax.Array
    passes: jax.Array
    done: jax.Array


class DescentStage(NamedTuple):
    """How far the descents of one call go.

    Attributes:
        n_blocks: number of data blocks to use; fewer than all are a sample.
        max_passes: limit of passes over the data.
        tolerance: a descent is done when the predicted and the actual gain of a step are below this fraction of the
            sum of squares.
        pull: weight of the anchor; 1 means one standard deviation of the data per spread. A descent on few data needs
            it, because it would end in regions that all data exclude, e.g. a rate that is 0 for half the window.
        known: sum of squares of the best minimum found so far, NaN if there is none. A descent ends early if it has
            reached that, or is too far above it at its pace.
    """

    n_blocks: jax.Array
    max_passes: jax.Array
    tolerance: jax.Array
    pull: jax.Array
    known: jax.Array


@partial(jax.jit, static_argnames=("kind", "model", "sequential"))
def descend(
    *,
    starts: jax.Array,
    damping: jax.Array,
    problem: FitProblem,
    stage: DescentStage,
    kind: Kind,
    model: FitModel,
    sequential: bool,
) -> Search:
    """Descend from each start, shape (n_starts, n).

    Args:
        damping: damping of the first step of each start, shape (n_starts,).
    """

    def one(start: jax.Array, damping: jax.Array) -> Search:
        first = fit_model.cut(start, model, problem.gauge, problem.box)
        initial = _initial(first, damping, problem.scaling.basis.shape[1])
        return jax.lax.while_loop(lambda s: ~s.done & (s.passes < stage.max_passes), step, initial)

    def step(s: Search) -> Search:
        gram = kernel.grams(s.candidate, problem.data, stage.n_blocks, problem.scene, problem.gauge, model)
        at = scaling.normal(gram, problem.scaling, kind)
        count = gram[:, kernel.ONE, kernel.ONE].sum()
        at = _anchored(at, s.candidate, problem.anchor, stage.pull / count)
        is_first = s.passes == 0
        gained = s.at.ssr - at.ssr
        accept = jnp.isfinite(at.ssr) & (gained > 0)
        ratio = jnp.where(is_first, 0.5, gained / jnp.where(s.promised > 0, s.promised, jnp.inf))
        # Nielsen's rule: the damping falls smoothly with the quality of an accepted step; each rejection doubles the
        # factor by which it grows.
        factor = jnp.where(accept, jnp.maximum(1 / 5, 1 - (2 * ratio - 1) ** 3), s.growth)
        damping = jnp.clip(s.damping * factor, _DAMPING_MIN, _DAMPING_MAX)
        x = jnp.where(accept, s.candidate, s.x)
        at = jax.tree.map(lambda new, old: jnp.where(accept, new, old), at, s.at)
        candidate, promised = _candidate(x, at, damping, model, problem)
        # Clipping to the bounds can make the predicted gain negative: such a step is rejected and proves no minimum.
        small = (s.promised >= 0) & (s.promised < stage.tolerance * at.ssr) & (gained < stage.tolerance * at.ssr)
        stuck = (damping >= _DAMPING_MAX) | ~jnp.isfinite(at.ssr)
        above = (at.ssr - stage.known) * count / stage.known
        pace = jnp.maximum(s.promised, gained) * count / stage.known
        settled = (above < _SETTLED_CHI2) & (jnp.abs(pace) < _SETTLED_CHI2)
        too_far = (s.passes >= _TRIAL_PASSES) & (above > _FAR_CHI2 + _MORE_PASSES * jnp.maximum(pace, 0.0))
        growth = jnp.where(accept, 2.0, 2 * s.growth)
        return Search(
            x, at, candidate, promised, damping, growth, s.passes + 1, ~is_first & (small | settled | too_far) | stuck
        )

    result: Search = over_lanes(one, sequential=sequential)(starts, damping)
    return result


@partial(jax.jit, static_argnames=("kind", "model"))
def screen(points: jax.Array, *, problem: FitProblem, kind: Kind, model: FitModel) -> tuple[jax.Array, jax.Array]:
    """The points cut to the box, and their sums of squares on the first block of the data."""

    def one(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = fit_model.cut(point, model, problem.gauge, problem.box)
        gram = kernel.look(x, problem.data, problem.scene, problem.gauge, model)
        return x, scaling.normal(gram, problem.scaling, kind).ssr

    found: tuple[jax.Array, jax.Array] = jax.vmap(one)(points)
    return found


def _anchored(at: Normal, x: jax.Array, anchor: Anchor, weight: jax.Array) -> Normal:
    """The problem with cost ssr · exp(weight Σz²), z = (x − centre)/spread; it does not need the noise."""
    z = (x - anchor.centre) / anchor.spread
    cost = at.ssr * jnp.exp(weight * z @ z)
    return at._replace(
        ssr=cost,
        gradient=at.gradient - weight * at.ssr * z / anchor.spread,
        curvature=at.curvature + jnp.diag(weight * at.ssr / anchor.spread**2),
    )


def _initial(start: jax.Array, damping: jax.Array, n_coefficients: int) -> Search:
    """State of a descent before its first pass over the data."""
    k = start.shape[0]
    size = k + 2 * n_coefficients
    unknown = Normal(
        jnp.asarray(jnp.inf, start.dtype),
        jnp.zeros(k, start.dtype),
        jnp.eye(k, dtype=start.dtype),
        jnp.zeros((2, n_coefficients), start.dtype),
        jnp.zeros((2, n_coefficients), bool),
        jnp.zeros((size, size), start.dtype),
    )
    number = partial(jnp.asarray, dtype=start.dtype)
    return Search(start, unknown, start, number(jnp.inf), damping, number(2.0), jnp.int32(0), jnp.asarray(False))


class _BoxStep(NamedTuple):
    """Iteration for a step within the box.

    Attributes:
        held: which box parameters are held at a bound, shape (n,).
        move: the step in units of each parameter's scale, shape (n,).
        solves: linear systems solved so far.
        changed: whether the last solve added parameters to `held`.
    """

    held: jax.Array
    move: jax.Array
    solves: jax.Array
    changed: jax.Array


def _candidate(
    x: jax.Array, at: Normal, damping: jax.Array, model: FitModel, problem: FitProblem
) -> tuple[jax.Array, jax.Array]:
    """The end of the damped Gauss–Newton step within the box, and the gain that the linear model predicts."""
    gauge, box = problem.gauge, problem.box
    p = model.to_box(x, gauge)
    to_x = fit_model.slopes(p, model, gauge, box)
    gradient = to_x.T @ at.gradient
    diagonal = jnp.diag(at.curvature)
    damped = at.curvature + damping * jnp.diag(jnp.maximum(diagonal, 1e-12 * diagonal.max()))
    matrix = to_x.T @ damped @ to_x
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.diag(matrix), _TINY))
    matrix, gradient = matrix * jnp.outer(scale, scale), gradient * scale
    # How far each parameter may move, in units of `scale`. Rounding may have left it just outside, hence the clipping.
    down, up = jnp.minimum(box.low - p, 0.0) / scale, jnp.maximum(box.high - p, 0.0) / scale

    def solve(s: _BoxStep) -> _BoxStep:
        held = s.held
        fixed = jnp.where(held, s.move, 0.0)
        right = jnp.where(held, fixed, gradient - matrix @ fixed)
        system = jnp.where(held[:, None] | held[None, :], 0.0, matrix) + jnp.diag(jnp.where(held, 1.0, 1e-14))
        move = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(system), right)
        now = held | (move < down) | (move > up)
        return _BoxStep(now, jnp.clip(move, down, up), s.solves + 1, jnp.any(now != held))

    # Parameters that would leave the box move to the bound and stay there; the step of the others is solved again.
    at_bound = (down >= 0) & (gradient <= 0) | (up <= 0) & (gradient >= 0)
    first = _BoxStep(at_bound | (box.low >= box.high), jnp.zeros_like(p), jnp.int32(0), jnp.asarray(True))
    move = jax.lax.while_loop(lambda s: s.changed & (s.solves < _MAX_SOLVES), solve, first).move
    move = to_x @ (scale * move)
    move = move / jnp.maximum(1.0, jnp.max(jnp.abs(move) / model.max_step(x)))
    candidate = fit_model.cut(x + move, model, gauge, box)
    moved = candidate - x
    return candidate, 2 * moved @ at.gradient - moved @ at.curvature @ moved

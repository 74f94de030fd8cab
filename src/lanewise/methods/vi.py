"""`vi`: a Gaussian fitted to each lane's posterior by its evidence lower bound."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.engine.lanes import LaneStatus, noughts
from lanewise.manifest.protocols import Data, Problem
from lanewise.methods import independent, proposal
from lanewise.methods.base import Kind, Record
from lanewise.methods.independent import Drawing
from lanewise.methods.settings import ViSettings
from lanewise.methods.whitening import Whitening

_STEPS_PER_ROUND = 250
# Draws of each step's ELBO: so many, and as many mirrored ones.
_PAIRS = 4
# Adam's own, Kingma & Ba 2015.
_DECAY, _DECAY_SQUARE, _FLOOR = 0.9, 0.999, 1e-8
# The ELBO has settled if its mean over the last quarter of the steps and over the quarter before differ by less: five
# percent of the evidence.
_SETTLED_NATS = 0.05


class Guide(NamedTuple):
    """w = location + (diag(exp(log_scale)) + lower) @ standard normal.

    Attributes:
        location, log_scale: shape (n,).
        lower: strictly lower triangle, shape (n, n); nought for a mean field.
    """

    location: jax.Array
    log_scale: jax.Array
    lower: jax.Array


class ViState(NamedTuple):
    """A lane between two rounds.

    Attributes:
        step: optimiser steps taken.
        frame: in which the guide stands.
        guide, mean, square: the guide and Adam's moments of its gradient.
        elbo: sums of the ELBO over the third and the last quarter of the steps, shape (2,).
        drawing: the draws, once the guide is fitted.
        key: of the fit; step t draws from fold_in(key, t).
    """

    status: jax.Array
    step: jax.Array
    frame: Whitening
    guide: Guide
    mean: Guide
    square: Guide
    elbo: jax.Array
    drawing: Drawing
    key: jax.Array


class Vi:
    """Automatic differentiation variational inference (Kucukelbir et al. 2017), started from the Laplace fit.

    The gradient leaves out the score of the guide (Roeder et al. 2017), so that it vanishes where the guide is exact.
    Converged: the ELBO has settled, and k̂ of the draws' weights (Yao et al. 2018).
    """

    units = 1
    kind = Kind.APPROXIMATION

    def __init__(self, settings: ViSettings) -> None:
        self._settings = settings
        self._full_rank = settings.guide == "full_rank"

    @property
    def rounds(self) -> int:
        """Rounds after which every lane has its draws."""
        return -(-self._settings.num_steps // _STEPS_PER_ROUND) + proposal.rounds(self._settings.num_samples)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> ViState:
        """Begin with the Laplace fit, or with the mean field that is nearest to it."""
        key, key_draws = jax.random.split(key)
        drawing = independent.begin(problem, key_draws, data)
        frame = drawing.whitening
        n, dtype = frame.centre.size, frame.centre.dtype
        if not self._full_rank:
            # The widths with all other latents held: the mean field that minimises KL(guide | Gaussian).
            inverse = jax.scipy.linalg.solve_triangular(frame.factor, jnp.eye(n, dtype=dtype))
            frame = Whitening(frame.centre, jnp.diag(1 / jnp.sqrt(jnp.sum(inverse**2, axis=0))))
        guide = Guide(jnp.zeros(n, dtype), jnp.zeros(n, dtype), jnp.zeros((n, n), dtype))
        return ViState(drawing.status, jnp.int32(0), frame, guide, guide, guide, jnp.zeros(2, dtype), drawing, key)

    def advance(self, problem: Problem, state: ViState, data: Data) -> tuple[ViState, Record]:
        """Steps of the optimiser until they are done, then a round of draws."""

        def fit() -> tuple[ViState, Record]:
            return self._fit(problem, state, data), noughts(draw)

        def draw() -> tuple[ViState, Record]:
            return self._draw(problem, state, data)

        advanced: tuple[ViState, Record] = jax.lax.cond(state.step < self._settings.num_steps, fit, draw)
        return advanced

    def finish(self, problem: Problem, state: ViState, data: Data) -> tuple[jax.Array, Record]:
        """The ELBO, whether it has settled, and how well the mode was found where the fit began."""
        quarters = jnp.diff(_quarters(self._settings.num_steps)).astype(state.elbo.dtype)
        before, after = state.elbo / jnp.maximum(quarters, 1)
        settled = jnp.abs(after - before) < _SETTLED_NATS
        status = jnp.where((state.status == LaneStatus.OK) & ~settled, LaneStatus.NOT_CONVERGED, state.status)
        # From w to the position, where the density is.
        stretch = jnp.sum(jnp.log(jnp.abs(jnp.diag(state.frame.factor))))
        record = {"elbo": after + stretch, "elbo_change": after - before, "gradient_norm": state.drawing.gradient_norm}
        return status, record

    def _fit(self, problem: Problem, state: ViState, data: Data) -> ViState:
        log_density = state.frame.log_density(problem, data)
        edges = _quarters(self._settings.num_steps)

        def elbo(guide: Guide, normal: jax.Array) -> jax.Array:
            held = jax.lax.stop_gradient(guide)

            def one(e: jax.Array) -> jax.Array:
                w = guide.location + self._root(guide) @ e
                back = jax.scipy.linalg.solve_triangular(self._root(held), w - held.location, lower=True)
                entropy = 0.5 * back @ back + jnp.sum(held.log_scale) + 0.5 * e.size * jnp.log(2 * jnp.pi)
                return log_density(w) + entropy

            return jnp.mean(jax.vmap(one)(jnp.concatenate([normal, -normal])))

        def step(state: ViState, _: None) -> tuple[ViState, None]:
            moved: ViState = jax.lax.cond(state.step < self._settings.num_steps, move, lambda s: s, state)
            return moved, None

        def move(state: ViState) -> ViState:
            key = jax.random.fold_in(state.key, state.step)
            normal = jax.random.normal(key, (_PAIRS, state.guide.location.size), state.elbo.dtype)
            value, gradient = jax.value_and_grad(elbo)(state.guide, normal)
            guide, mean, square = self._adam(state, gradient)
            quarter = (edges[:-1] <= state.step) & (state.step < edges[1:])
            sums = state.elbo + jnp.where(quarter, value, 0.0)
            return state._replace(step=state.step + 1, guide=guide, mean=mean, square=square, elbo=sums)

        state, _ = jax.lax.scan(step, state, None, length=_STEPS_PER_ROUND)
        finite = jnp.all(jnp.isfinite(state.elbo)) & jnp.all(jnp.isfinite(state.guide.log_scale))
        status = jnp.where(finite, LaneStatus.RUNNING, LaneStatus.NON_FINITE).astype(jnp.int32)
        # What is drawn from once the fit is done: the guide as a whitening of its own.
        root = state.frame.factor @ self._root(state.guide)
        fitted = Whitening(state.frame.position(state.guide.location), root)
        return state._replace(status=status, drawing=state.drawing._replace(whitening=fitted))

    def _adam(self, state: ViState, gradient: Guide) -> tuple[Guide, Guide, Guide]:
        """Guide and moments after one step uphill."""
        mean = jax.tree.map(lambda m, g: _DECAY * m + (1 - _DECAY) * g, state.mean, gradient)
        square = jax.tree.map(lambda s, g: _DECAY_SQUARE * s + (1 - _DECAY_SQUARE) * g**2, state.square, gradient)
        count = state.step + 1

        def move(at: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
            moved = at + self._settings.learning_rate * (m / (1 - _DECAY**count)) / (
                jnp.sqrt(s / (1 - _DECAY_SQUARE**count)) + _FLOOR
            )
            return moved.astype(at.dtype)

        return jax.tree.map(move, state.guide, mean, square), mean, square

    def _draw(self, problem: Problem, state: ViState, data: Data) -> tuple[ViState, Record]:
        drawing, record = independent.round_of(
            proposal.gaussian, problem, state.drawing, data, self._settings.num_samples
        )
        return state._replace(status=drawing.status, drawing=drawing), record

    def _root(self, guide: Guide) -> jax.Array:
        """Root of the guide's covariance, lower triangular."""
        diagonal = jnp.diag(jnp.exp(guide.log_scale))
        return diagonal + jnp.tril(guide.lower, -1) if self._full_rank else diagonal


def _quarters(num_steps: int) -> jax.Array:
    """First steps of the third and the last quarter, and the number of steps."""
    return jnp.array([num_steps // 2, num_steps - num_steps // 4, num_steps])

"""`vi`: a Gaussian fitted to each lane's posterior by maximising the evidence lower bound (ELBO)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data, Problem
from lanewise.manifest.status import LaneStatus
from lanewise.methods import independent
from lanewise.methods.base import Kind, Record, noughts
from lanewise.methods.independent import Drawing
from lanewise.methods.settings import ViSettings
from lanewise.methods.whitening import Whitening

_STEPS_PER_ROUND = 250
# Number of antithetic pairs of draws for the ELBO of each step.
_PAIRS = 4
# Standard constants of Adam, Kingma & Ba 2015.
_DECAY, _DECAY_SQUARE, _EPSILON = 0.9, 0.999, 1e-8
# The ELBO has settled if its means over the third and the last quarter of the steps differ by less than this [nat]: 5 %
# of the evidence.
_SETTLED_NATS = 0.05


class Guide(NamedTuple):
    """w = location + (diag(exp(log_scale)) + lower) @ standard normal.

    Attributes:
        location, log_scale: centre and logarithm of the scales, shape (n,).
        lower: strictly lower triangle, shape (n, n); 0 for a mean field.
    """

    location: jax.Array
    log_scale: jax.Array
    lower: jax.Array


class ViState(NamedTuple):
    """State of a lane between two rounds.

    Attributes:
        step: optimiser steps made so far.
        frame: the whitened coordinates in which the guide is defined.
        guide, mean, square: the guide, and Adam's first and second moments of its gradient.
        elbo: sums of the ELBO over the third and the last quarter of the steps, shape (2,).
        drawing: state of the draws that follow the fit.
        key: random key of the fit; step t uses fold_in(key, t).
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

    The gradient omits the score of the guide (Roeder et al. 2017), so that it vanishes if the guide is exact. The fit
    converged if the ELBO has settled and k̂ of the draws' weights is small (Yao et al. 2018).
    """

    units = 1
    kind = Kind.APPROXIMATION

    def __init__(self, settings: ViSettings) -> None:
        self._settings = settings
        self._full_rank = settings.guide == "full_rank"

    @property
    def rounds(self) -> int:
        """Number of rounds after which every lane has its draws."""
        return -(-self._settings.num_steps // _STEPS_PER_ROUND) + independent.rounds(self._settings.num_samples)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> ViState:
        """The state at the Laplace fit, or at the mean field that is closest to it."""
        key, key_draws = jax.random.split(key)
        drawing = independent.begin(problem, key_draws, data)
        frame = drawing.whitening
        n, dtype = frame.centre.size, frame.centre.dtype
        if not self._full_rank:
            # Conditional widths (all other latents fixed): they minimise KL(guide | Gaussian) for a mean field.
            inverse = jax.scipy.linalg.solve_triangular(frame.factor, jnp.eye(n, dtype=dtype))
            frame = Whitening(frame.centre, jnp.diag(1 / jnp.sqrt(jnp.sum(inverse**2, axis=0))))
        guide = Guide(jnp.zeros(n, dtype), jnp.zeros(n, dtype), jnp.zeros((n, n), dtype))
        return ViState(drawing.status, jnp.int32(0), frame, guide, guide, guide, jnp.zeros(2, dtype), drawing, key)

    def advance(self, problem: Problem, state: ViState, data: Data) -> tuple[ViState, Record]:
        """One round of optimiser steps, or of draws once all steps are done."""

        def fit() -> tuple[ViState, Record]:
            return self._fit(problem, state, data), noughts(draw)[1]

        def draw() -> tuple[ViState, Record]:
            return self._draw(problem, state, data)

        advanced: tuple[ViState, Record] = jax.lax.cond(state.step < self._settings.num_steps, fit, draw)
        return advanced

    def finish(self, problem: Problem, state: ViState, data: Data) -> tuple[jax.Array, Record]:
        """The ELBO, its change between the last two quarters, and the gradient norm of the initial mode search.

        The status is NOT_CONVERGED if the ELBO has not settled.
        """
        quarters = jnp.diff(_quarters(self._settings.num_steps)).astype(state.elbo.dtype)
        before, after = state.elbo / jnp.maximum(quarters, 1)
        settled = jnp.abs(after - before) < _SETTLED_NATS
        status = jnp.where((state.status == LaneStatus.OK) & ~settled, LaneStatus.NOT_CONVERGED, state.status)
        # The log Jacobian from w to the position, with respect to which the density is defined.
        log_jacobian = jnp.sum(jnp.log(jnp.abs(jnp.diag(state.frame.factor))))
        record = {
            "elbo": after + log_jacobian,
            "elbo_change": after - before,
            "gradient_norm": state.drawing.gradient_norm,
        }
        return status, record

    def _fit(self, problem: Problem, state: ViState, data: Data) -> ViState:
        log_density = state.frame.log_density(problem, data)
        edges = _quarters(self._settings.num_steps)

        def elbo(guide: Guide, normal: jax.Array) -> jax.Array:
            fixed = jax.lax.stop_gradient(guide)

            def one(e: jax.Array) -> jax.Array:
                w = guide.location + self._root(guide) @ e
                standardized = jax.scipy.linalg.solve_triangular(self._root(fixed), w - fixed.location, lower=True)
                entropy = (
                    0.5 * standardized @ standardized + jnp.sum(fixed.log_scale) + 0.5 * e.size * jnp.log(2 * jnp.pi)
                )
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
        # The draws use the guide, expressed as a whitening.
        root = state.frame.factor @ self._root(state.guide)
        fitted = Whitening(state.frame.position(state.guide.location), root)
        return state._replace(status=status, drawing=state.drawing._replace(whitening=fitted))

    def _adam(self, state: ViState, gradient: Guide) -> tuple[Guide, Guide, Guide]:
        """Guide, first and second moments after one Adam step that increases the ELBO."""
        mean = jax.tree.map(lambda m, g: _DECAY * m + (1 - _DECAY) * g, state.mean, gradient)
        square = jax.tree.map(lambda s, g: _DECAY_SQUARE * s + (1 - _DECAY_SQUARE) * g**2, state.square, gradient)
        count = state.step + 1

        def move(at: jax.Array, m: jax.Array, s: jax.Array) -> jax.Array:
            moved = at + self._settings.learning_rate * (m / (1 - _DECAY**count)) / (
                jnp.sqrt(s / (1 - _DECAY_SQUARE**count)) + _EPSILON
            )
            return moved.astype(at.dtype)

        return jax.tree.map(move, state.guide, mean, square), mean, square

    def _draw(self, problem: Problem, state: ViState, data: Data) -> tuple[ViState, Record]:
        drawing, record = independent.round_of(
            independent.gaussian, problem, state.drawing, data, self._settings.num_samples
        )
        return state._replace(status=drawing.status, drawing=drawing), record

    def _root(self, guide: Guide) -> jax.Array:
        """Lower triangular root of the guide's covariance, shape (n, n)."""
        diagonal = jnp.diag(jnp.exp(guide.log_scale))
        return diagonal + jnp.tril(guide.lower, -1) if self._full_rank else diagonal


def _quarters(num_steps: int) -> jax.Array:
    """The first step of the third and of the last quarter, and the number of steps, shape (3,)."""
    return jnp.array([num_steps // 2, num_steps - num_steps // 4, num_steps])

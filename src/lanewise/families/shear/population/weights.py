"""Importance weights of a galaxy's draws on the device: Pareto smoothing, and the likelihood of a shear from them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from lanewise.engine import psis


def smooth(log_weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `engine.psis.smooth`, for one set of draws, and with a tail of fixed size.

    Args:
        log_weights: of independent draws, up to a constant, shape (draw,).

    Returns:
        Smoothed log weights up to a constant, shape (draw,), and their Pareto shape k̂: 0 if the weights are equal.
    """
    n = log_weights.shape[-1]
    tail = math.ceil(min(n / 5, 3 * math.sqrt(n)))
    flat = log_weights - jnp.max(log_weights)
    order = jnp.argsort(flat)
    ordered = flat[order]
    cut = jnp.maximum(ordered[-tail - 1], jnp.log(np.finfo(flat.dtype).tiny))
    shape, scale = _fit(jnp.maximum(jnp.exp(ordered[-tail:]) - jnp.exp(cut), np.finfo(flat.dtype).tiny))
    middles = (jnp.arange(tail) + 0.5) / tail
    smoothed = jnp.log(scale * jnp.expm1(-shape * jnp.log1p(-middles)) / shape + jnp.exp(cut))
    # Smoothing must not raise a weight above the largest raw weight.
    end = jnp.where(jnp.isfinite(shape), jnp.minimum(smoothed, 0.0), ordered[-tail:])
    equal = -cut < psis.EQUAL_WITHIN
    found = flat.at[order[-tail:]].set(jnp.where(equal, ordered[-tail:], end))
    return found, jnp.where(equal, 0.0, shape)


def log_likelihood(log_ratio: jax.Array, log_weights: jax.Array) -> jax.Array:
    """The log likelihood of each shear, without the bias from the finite number of draws.

    Args:
        log_ratio: ln p(e | g) / p₀(e) of each draw of e, shape (draw, node).
        log_weights: of the draws against the interim posterior with the prior p₀, shape (draw,).

    Returns:
        ln L(g) up to a constant that is the same for all g, shape (node,).
    """
    return log_mean(log_ratio + log_weights[:, None]) - log_mean(log_weights[:, None])


def log_mean(log_weights: jax.Array) -> jax.Array:
    """Logarithm of the expectation of weights, from n independent ones, shape (draw, …) → (…).

    The logarithm of their mean is too small by Var / 2n mean² on average, and more if few weights dominate. The
    jackknife over the draws removes both: in a toy with ten draws it leaves less than a tenth of what the first term
    alone leaves.
    """
    n, total = log_weights.shape[0], logsumexp(log_weights, axis=0)
    share = jnp.exp(log_weights - total)
    without = jnp.mean(jnp.log1p(-jnp.minimum(share, 1 - np.finfo(share.dtype).epsneg)), axis=0)
    return total - n * math.log(n) + (n - 1) * (math.log(n - 1) - without)


def _fit(excess: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Shape and scale of the generalised Pareto distribution, as in `engine.psis`."""
    n = excess.shape[0]
    n_grid = psis.GRID + int(math.sqrt(n))
    grid = 1 - jnp.sqrt(n_grid / (jnp.arange(1, n_grid + 1) - 0.5))
    grid = grid / (psis.PRIOR_SCALE * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    shapes = jnp.log1p(-grid[:, None] * excess).mean(axis=-1)
    share = jax.nn.softmax(n * (jnp.log(-grid / shapes) - shapes - 1))
    share = jnp.where(share >= 10 * np.finfo(share.dtype).eps, share, 0.0)
    rate = jnp.sum(grid * share) / jnp.sum(share)
    shape = jnp.log1p(-rate * excess).mean()
    scale = -shape / rate
    return (n * shape + psis.PRIOR_DRAWS * psis.PRIOR_SHAPE) / (n + psis.PRIOR_DRAWS), scale

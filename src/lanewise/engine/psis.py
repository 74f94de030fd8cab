"""Pareto-smoothed importance weights, and resampling by them.

Vehtari, Simpson, Gelman, Yao & Gabry 2024 (arXiv:1507.02646), as ArviZ computes them; arrays are of shape (…, draw).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Smallest number of tail draws for a Pareto fit.
_MIN_TAIL = 5
# If the log weights of the tail differ by less than this, they are equal up to rounding: there is no tail to fit.
EQUAL_WITHIN = 1e-9
# Prior of the shape, equivalent to ten draws at 0.5, and the grid of the fit (Zhang & Stephens 2009).
PRIOR_DRAWS, PRIOR_SHAPE, PRIOR_SCALE, GRID = 10, 0.5, 3, 30


def smooth(log_weights: Array) -> tuple[Array, Array]:
    """Smoothed weights that sum to one, and their Pareto shape k̂.

    Args:
        log_weights: of independent draws, up to a constant, shape (…, draw); −∞ is a weight of zero.

    Returns:
        Weights, shape (…, draw), and k̂, shape (…): infinite if too few weights are in the tail, 0 if the weights are
            equal.
    """
    n = log_weights.shape[-1]
    flat = log_weights.reshape(-1, n).astype(np.float64)
    flat = flat - flat.max(axis=-1, keepdims=True)
    tail = int(np.ceil(min(n / 5, 3 * np.sqrt(n))))
    order = np.argsort(flat, axis=-1, kind="stable")
    ordered = np.take_along_axis(flat, order, axis=-1)
    cut = np.maximum(ordered[:, -tail - 1], np.log(np.finfo(float).tiny))
    shapes = np.full(len(flat), np.inf)
    for row, values in enumerate(ordered):
        if -cut[row] < EQUAL_WITHIN:
            shapes[row] = 0.0
            continue
        # Draws that tie with the cut are not in the tail.
        inside = np.searchsorted(values, cut[row], side="right")
        excess = np.exp(values[inside:]) - np.exp(cut[row])
        if excess.size < _MIN_TAIL:
            continue
        shapes[row], scale = _fit(excess)
        if np.isfinite(shapes[row]):
            middles = (np.arange(excess.size) + 0.5) / excess.size
            values[inside:] = np.log(_quantiles(middles, shapes[row], scale) + np.exp(cut[row]))
    # Smoothing must not raise a weight above the largest raw weight.
    np.put_along_axis(flat, order, np.minimum(ordered, 0.0), axis=-1)
    weights = np.exp(flat)
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.reshape(weights, log_weights.shape), shapes.reshape(log_weights.shape[:-1])


def effective_size(weights: Array) -> Array:
    """Effective sample size 1 / Σw² of weights that sum to one, shape (…)."""
    found: Array = 1 / np.sum(weights**2, axis=-1)
    return found


def threshold(n_draws: int) -> float:
    """k̂ below which S draws give reliable estimates: min(1 − 1 / log10 S, 0.7)."""
    return float(min(1 - 1 / np.log10(n_draws), 0.7))


def resample(weights: Array, comb: float) -> Array:
    """Indices of n resampled draws, shape (draw,); each draw occurs n·w times, to within one.

    Systematic resampling: points (i + comb) / n, with comb in [0, 1), on the cumulative weights.
    """
    n = weights.size
    found: Array = np.searchsorted(np.cumsum(weights), (np.arange(n) + comb) / n, side="right")
    # Rounding can leave the sum slightly below one.
    last: Array = np.minimum(found, n - 1)
    return last


def _fit(excess: Array) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution fitted to excesses in ascending order.

    Source:
        Zhang & Stephens 2009, with the weakly informative prior of Vehtari et al. 2024.
    """
    n = excess.size
    n_grid = GRID + int(np.sqrt(n))
    grid = 1 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    grid = grid / (PRIOR_SCALE * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
        share = 1 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    kept = share >= 10 * np.finfo(float).eps
    rate = np.sum(grid[kept] * share[kept]) / share[kept].sum()
    shape = float(np.log1p(-rate * excess).mean())
    scale = -shape / rate
    return (n * shape + PRIOR_DRAWS * PRIOR_SHAPE) / (n + PRIOR_DRAWS), float(scale)


def _quantiles(probability: Array, shape: float, scale: float) -> Array:
    if abs(shape) < np.finfo(float).eps:
        found: Array = -scale * np.log1p(-probability)
        return found
    found = scale * np.expm1(-shape * np.log1p(-probability)) / shape
    return found

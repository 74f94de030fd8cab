"""Pareto-smoothed importance weights, and resampling by them.

Vehtari, Simpson, Gelman, Yao & Gabry 2024 (arXiv:1507.02646), as ArviZ computes them; arrays are of shape (…, draw).
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# Of the tail's draws, the least that a Pareto distribution is fitted to.
_FEWEST = 5
# Log weights whose upper fifth is level to within this are equal: there is no tail, however rounding scatters them.
_LEVEL = 1e-9
# Prior of the shape, as of ten draws at one half; and of the fit's grid (Zhang & Stephens 2009).
_PRIOR_DRAWS, _PRIOR_SHAPE, _PRIOR_SCALE, _GRID = 10, 0.5, 3, 30


def smooth(log_weights: Array) -> tuple[Array, Array]:
    """Smoothed weights that sum to one, and k̂ of their tail.

    Args:
        log_weights: up to a constant, of independent draws; −∞ is a weight of nought.

    Returns:
        Weights, shape (…, draw), and k̂, shape (…): infinite where too few weights are left for a tail, 0 where they
            are equal.
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
        if -cut[row] < _LEVEL:
            shapes[row] = 0.0
            continue
        # Ties with the cut are no tail.
        inside = np.searchsorted(values, cut[row], side="right")
        excess = np.exp(values[inside:]) - np.exp(cut[row])
        if excess.size < _FEWEST:
            continue
        shapes[row], scale = _fit(excess)
        if np.isfinite(shapes[row]):
            middles = (np.arange(excess.size) + 0.5) / excess.size
            values[inside:] = np.log(_quantiles(middles, shapes[row], scale) + np.exp(cut[row]))
    # Smoothing may not raise a weight above the largest there was.
    np.put_along_axis(flat, order, np.minimum(ordered, 0.0), axis=-1)
    weights = np.exp(flat)
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.reshape(weights, log_weights.shape), shapes.reshape(log_weights.shape[:-1])


def effective_size(weights: Array) -> Array:
    """1 / Σw² of weights that sum to one; shape (…)."""
    found: Array = 1 / np.sum(weights**2, axis=-1)
    return found


def threshold(n_draws: int) -> float:
    """k̂ below which so many draws carry their estimates: min(1 − 1 / log10 S, 0.7)."""
    return float(min(1 - 1 / np.log10(n_draws), 0.7))


def resample(weights: Array, comb: float) -> Array:
    """Indices of as many draws, each as often as its weight asks for, to within one; shape (draw,).

    Systematic resampling: teeth at (i + comb) / n, comb in [0, 1), over the cumulative weights.
    """
    n = weights.size
    found: Array = np.searchsorted(np.cumsum(weights), (np.arange(n) + comb) / n, side="right")
    # Rounding can leave the sum a hair below one.
    last: Array = np.minimum(found, n - 1)
    return last


def _fit(excess: Array) -> tuple[float, float]:
    """Shape and scale of a generalised Pareto distribution, of excesses in ascending order.

    Source:
        Zhang & Stephens 2009, with the weakly informative prior of Vehtari et al. 2024.
    """
    n = excess.size
    n_grid = _GRID + int(np.sqrt(n))
    grid = 1 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    grid = grid / (_PRIOR_SCALE * excess[int(n / 4 + 0.5) - 1]) + 1 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_likelihood = n * (np.log(-grid / shapes) - shapes - 1)
        share = 1 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    kept = share >= 10 * np.finfo(float).eps
    rate = np.sum(grid[kept] * share[kept]) / share[kept].sum()
    shape = float(np.log1p(-rate * excess).mean())
    scale = -shape / rate
    return (n * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (n + _PRIOR_DRAWS), float(scale)


def _quantiles(probability: Array, shape: float, scale: float) -> Array:
    if abs(shape) < np.finfo(float).eps:
        found: Array = -scale * np.log1p(-probability)
        return found
    found = scale * np.expm1(-shape * np.log1p(-probability)) / shape
    return found

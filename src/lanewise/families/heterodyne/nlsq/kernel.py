"""One pass over the data: every sum of products that a least-squares step needs, block by block.

The correlation is offset + contrast · g. For each angle the pass returns the Gram matrix of the columns

    ∂g/∂x_1 … ∂g/∂x_n, g, 1, y

over the pairs of ages i < j, each datum once and times the root of its weight. In every scaling mode, cost, gradient
and curvature follow from these matrices. No residual vector is kept, so memory does not grow with the number of pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.scene import Ages, Scene

BLOCK = 256
# The last columns of a Gram matrix.
G, ONE, Y = -3, -2, -1


class FramePairs(NamedTuple):
    """The data, in blocks of pairs.

    Attributes:
        first, second: ages i < j of each pair, shape (n_blocks, BLOCK).
        root_weight: square root of each datum's weight, shape (n_blocks, n_phi, BLOCK); 0 for padding.
        y: data minus `centre`, shape (n_blocks, n_phi, BLOCK).
        centre: mean of the data; subtracted so that sums of squares do not lose precision.
    """

    first: Any
    second: Any
    root_weight: Any
    y: Any
    centre: Any


def pairs(matrices: np.ndarray, weights: np.ndarray, seed: int) -> FramePairs:
    """The data as blocks, in a random order that favours short lags: the first blocks are a sample of all pairs.

    A correlation that decays within a few frames affects few of all pairs, and the first block must contain it too.

    Args:
        matrices: correlations, shape (n_phi, N, N).
        weights: weight of each value, of the same shape; 0 leaves it out, even if it is not finite.
    """
    first, second = np.nonzero(np.triu(np.isfinite(matrices).all(axis=0), 1))
    lag = second - first
    # Weighted sampling without replacement: the smallest of exponential waiting times of rate 1/lag.
    order = np.argsort(np.random.default_rng(seed).exponential(size=len(lag)) * lag, kind="stable")
    first, second = first[order], second[order]
    used = weights[:, first, second] > 0
    centre = float(matrices[:, first, second][used].mean())
    y = np.where(used, matrices[:, first, second] - centre, 0.0)
    return blocked(first, second, np.sqrt(weights[:, first, second]), y, centre, -(-len(first) // BLOCK))


def blocked(
    first: np.ndarray, second: np.ndarray, root_weight: np.ndarray, y: np.ndarray, centre: float, n_blocks: int
) -> FramePairs:
    """Pairs in blocks, padded by pairs of weight 0.

    Args:
        first, second: ages of each pair, shape (n,), n ≤ n_blocks · BLOCK.
        root_weight, y: as in `FramePairs`, shape (n_phi, n).
    """
    padding = n_blocks * BLOCK - len(first)

    def blocks(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([values, np.zeros((*values.shape[:-1], padding), values.dtype)], axis=-1)
        return np.moveaxis(padded.reshape(*values.shape[:-1], n_blocks, BLOCK), -2, 0)

    return FramePairs(
        blocks(first.astype(np.int32)),
        # Padding uses the pair of ages 0 and 1, for which everything is finite.
        np.where(blocks(np.ones(len(first))) > 0, blocks(second.astype(np.int32)), 1).astype(np.int32),
        blocks(root_weight),
        blocks(y),
        centre,
    )


def grams(x: jax.Array, data: FramePairs, n_blocks: jax.Array, scene: Scene, gauge: Any, model: FitModel) -> jax.Array:
    """Gram matrices of the first `n_blocks` blocks, shape (n_phi, n + 3, n + 3)."""
    ages = model.ages(x, scene, gauge)
    size = x.shape[0] + 3

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        block = jax.tree.map(lambda a: a[k], FramePairs(*data[:4], data.y))
        columns = columns_of(ages, block, scene, model)
        return total + jnp.einsum("akb,alb->akl", columns, columns)

    total: jax.Array = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros((scene.phi.shape[0], size, size), x.dtype))
    return total


def look(x: jax.Array, data: FramePairs, scene: Scene, gauge: Any, model: FitModel) -> jax.Array:
    """Cheap `grams` of the first block, to screen a point: rows and columns of the derivatives are 0."""
    g = model.correlation(x, data.first[0], data.second[0], scene, gauge)
    columns = jnp.stack([g, jnp.ones_like(g), data.y[0]], axis=1) * data.root_weight[0][:, None]
    gram = jnp.einsum("akb,alb->akl", columns, columns)
    size = x.shape[0] + 3
    return jnp.zeros((len(gram), size, size), x.dtype).at[:, G:, G:].set(gram)


def columns_of(ages: Ages, block: FramePairs, scene: Scene, model: FitModel) -> jax.Array:
    """∂g/∂x, g, 1, y of one block, times the roots of the weights, shape (n_phi, n + 3, BLOCK); padding is 0."""
    # Without the barrier the compiler repeats the gathers for each column that uses them.
    at_i, at_j = jax.lax.optimization_barrier((ages.table[block.first].T, ages.table[block.second].T))
    columns = model.columns(at_i, at_j, ages, scene)
    one = jnp.ones_like(columns[:, :1])
    return jnp.asarray(jnp.concatenate([columns, one, block.y[:, None]], axis=1) * block.root_weight[:, None])

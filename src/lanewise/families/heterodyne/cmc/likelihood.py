"""The sum of squared residuals of coordinates, contrast and offset, with its gradient from the fit's own columns."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lanewise.families.heterodyne.nlsq import kernel
from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.kernel import ONE, FramePairs, G, Y
from lanewise.families.heterodyne.nlsq.scene import Scene


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def ssr(
    model: FitModel, x: jax.Array, contrast: jax.Array, offset: jax.Array, data: FramePairs, scene: Scene, gauge: Any
) -> jax.Array:
    """Weighted sum of squared residuals.

    Args:
        x: coordinates, shape (n,).
        contrast, offset: of each angle, shape (n_phi,); the offset is relative to `data.centre`.
    """

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        block = _block(data, k)
        g = model.correlation(x, block.first, block.second, scene, gauge)
        residual = block.root_weight * (contrast[:, None] * g + offset[:, None] - block.y)
        return total + jnp.sum(residual**2)

    total: jax.Array = jax.lax.fori_loop(0, data.first.shape[0], add, jnp.zeros((), x.dtype))
    return total


def _forward(
    model: FitModel, x: jax.Array, contrast: jax.Array, offset: jax.Array, data: FramePairs, scene: Scene, gauge: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    ages = model.ages(x, scene, gauge)
    n_phi = contrast.shape[0]

    def add(k: jax.Array, total: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        columns = kernel.columns_of(ages, _block(data, k), scene, model)
        residual = contrast[:, None] * columns[:, G] + offset[:, None] * columns[:, ONE] - columns[:, Y]
        return total[0] + jnp.sum(residual**2), total[1] + jnp.einsum("akb,ab->ak", columns, residual)

    begin = jnp.zeros((), x.dtype), jnp.zeros((n_phi, x.shape[0] + 3), x.dtype)
    total, products = jax.lax.fori_loop(0, data.first.shape[0], add, begin)
    return total, (2 * contrast @ products[:, :G], 2 * products[:, G], 2 * products[:, ONE])


def _backward(
    model: FitModel, slopes: tuple[jax.Array, jax.Array, jax.Array], by: jax.Array
) -> tuple[Any, Any, Any, None, None, None]:
    return slopes[0] * by, slopes[1] * by, slopes[2] * by, None, None, None


ssr.defvjp(_forward, _backward)


def joint(
    model: FitModel, x: jax.Array, contrast: jax.Array, basis: jax.Array, data: FramePairs, scene: Scene, gauge: Any
) -> jax.Array:
    """JᵀJ of coordinates, contrast and offset coefficients, as `scaling.Normal.joint`.

    Args:
        basis: `ScalingBasis.basis`.
    """
    gram = kernel.grams(x, data, jnp.int32(data.first.shape[0]), scene, gauge, model)
    n, m = x.shape[0], basis.shape[1]
    # From the unknowns to the columns of a Gram matrix, per angle.
    to_columns = jnp.zeros((basis.shape[0], n + 2 * m, n + 3), x.dtype)
    to_columns = to_columns.at[:, jnp.arange(n), jnp.arange(n)].set(contrast[:, None])
    to_columns = to_columns.at[:, n : n + m, G].set(basis).at[:, n + m :, ONE].set(basis)
    return jnp.einsum("aik,akl,ajl->ij", to_columns, gram, to_columns)


def _block(data: FramePairs, k: jax.Array) -> FramePairs:
    found: FramePairs = jax.tree.map(lambda part: part[k], FramePairs(*data[:4], data.y))
    return found

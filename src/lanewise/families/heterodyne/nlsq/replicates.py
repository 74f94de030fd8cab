"""Simulated speckle noise of a fitted model, as lanes of one program; each lane leaves small tables.

A replicate is the noise of a few pixels, to first order: with x = I/⟨I⟩ − 1 of a pixel and C = contrast · g,

    δ_ij = mean over pixels of x_i x_j − C_ij − C_ij (x_i + x_j).

Its covariance is that of c2 of P pixels times P, so few pixels are enough. Photons add √u e to the contrast part y of
x, where u = 1/flux and e has the variance I. Only covariances are used, so a Gaussian e is as good as Poisson counts.
δ = δ0 + √u δ1 + u δ2, and the mixed covariances of the three parts vanish: one simulation serves every flux.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.lanes import over_lanes
from lanewise.families.heterodyne import speckle
from lanewise.families.heterodyne.nlsq import frames, kernel
from lanewise.families.heterodyne.nlsq.fit_model import FitModel
from lanewise.families.heterodyne.nlsq.kernel import FramePairs
from lanewise.families.heterodyne.nlsq.scene import Scene

PIXELS = 16
N_PARTS = 3
_REPLICATES = 512
# A lane simulates several replicates, because variances of variances come from pairs of them. Its memory is that of
# some copies of these matrices.
_LANE_BYTES, _MAX_PER_LANE = 2**26, 8
# Lanes side by side on an accelerator.
_AT_ONCE = 8


class Fitted(NamedTuple):
    """A fit, as its replicates need it.

    Attributes:
        x: coordinates of the minimum, shape (n,).
        contrast: contrast of each angle, shape (n_phi,).
        modes: weight of each mode in the intensity, shape (n_modes,).
        root_weight: square root of the weight of each value, shape (n_phi, N, N); 0 for values that are left out.
        flow: the parts of the fitted model's field.
    """

    x: Any
    data: FramePairs
    scene: Scene
    gauge: Any
    contrast: Any
    modes: Any
    root_weight: Any
    flow: speckle.Flow


class Tables(NamedTuple):
    """What the lanes leave; a row is one part of one replicate.

    Attributes:
        scores: sums over pairs of weight · δ · (∂g/∂x, g, 1), shape (n_lanes, n_phi, per_lane, N_PARTS, n + 2).
        forms: for each two rows of a lane, the weighted scalar product of their δ, the mean product of third
            differences at near second frames, and of third differences themselves: shape
            (n_lanes, 3, n_phi, per_lane, N_PARTS, per_lane, N_PARTS).
    """

    scores: np.ndarray
    forms: np.ndarray


def flow(model: FitModel, parameters: np.ndarray, scene: Scene) -> speckle.Flow:
    """The parts of the model's field at its parameters."""
    t, dt, q, phi = (np.asarray(part) for part in (scene.t, scene.dt, scene.q, scene.phi))
    fields = model.physics.fields(parameters, t, q, float(dt), phi, model.definitions)
    return speckle.flow(fields, model.definitions.stretch * q)


def simulate(fitted: Fitted, used: jax.Array, key: jax.Array, model: FitModel, *, sequential: bool) -> Tables:
    """The tables of _REPLICATES replicates of `PIXELS` pixels.

    Args:
        used: third differences that count, shape (n_phi, N − 3, N); see `frames`.
        key: of the random numbers.
        sequential: whether lanes run one after the other.
    """
    per_lane = _per_lane(fitted)
    found = _lanes(_keys(key, per_lane), fitted, used, per_lane=per_lane, model=model, sequential=sequential)
    return Tables(*(np.asarray(part, dtype=np.float64) for part in found))


def shard_scores(
    fitted: Fitted, each: Sequence[FramePairs], key: jax.Array, model: FitModel, *, sequential: bool
) -> np.ndarray:
    """`Tables.scores` of the same replicates, each part of the data by itself.

    Args:
        each: parts of the data, of equal shapes.
        key, sequential: as for `simulate`.

    Returns:
        Shape (n_lanes, n_parts_of_data, n_phi, per_lane, N_PARTS, n + 2).
    """
    per_lane = _per_lane(fitted)
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *each)
    keys = _keys(key, per_lane)
    found = _shard_lanes(keys, fitted, stacked, per_lane=per_lane, model=model, sequential=sequential)
    return np.asarray(found, dtype=np.float64)


def _per_lane(fitted: Fitted) -> int:
    per_value = N_PARTS * np.asarray(fitted.root_weight).size * 4
    return int(np.clip(_LANE_BYTES // per_value, 2, _MAX_PER_LANE))


def _keys(key: jax.Array, per_lane: int) -> jax.Array:
    found: jax.Array = jax.random.split(key, _REPLICATES // per_lane)
    return found


@partial(jax.jit, static_argnames=("per_lane", "model", "sequential"))
def _lanes(
    keys: jax.Array, fitted: Fitted, used: jax.Array, *, per_lane: int, model: FitModel, sequential: bool
) -> tuple[jax.Array, jax.Array]:
    correlation = _correlation(fitted, model)

    def lane(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows, shape = _rows(key, fitted, correlation, per_lane)
        forms = _forms(rows, used).reshape(3, *shape, *shape[1:])
        return _scores(rows, fitted.data, fitted, model).reshape(*shape, -1), forms

    found: tuple[jax.Array, jax.Array] = over_lanes(lane, sequential=sequential, at_once=_AT_ONCE)(keys)
    return found


@partial(jax.jit, static_argnames=("per_lane", "model", "sequential"))
def _shard_lanes(
    keys: jax.Array, fitted: Fitted, each: FramePairs, *, per_lane: int, model: FitModel, sequential: bool
) -> jax.Array:
    correlation = _correlation(fitted, model)

    def lane(key: jax.Array) -> jax.Array:
        rows, shape = _rows(key, fitted, correlation, per_lane)
        found: jax.Array = jax.lax.map(lambda part: _scores(rows, part, fitted, model).reshape(*shape, -1), each)
        return found

    found: jax.Array = over_lanes(lane, sequential=sequential, at_once=_AT_ONCE)(keys)
    return found


def _rows(
    key: jax.Array, fitted: Fitted, correlation: jax.Array, per_lane: int
) -> tuple[jax.Array, tuple[int, int, int]]:
    """The weighted parts of δ of some replicates, shape (n_phi, n_rows, N, N), and (n_phi, per_lane, N_PARTS)."""
    root_weight = jnp.asarray(fitted.root_weight, jnp.float32)
    noise = partial(_noise, correlation=correlation, fitted=fitted)
    rows = jax.vmap(noise)(jax.random.split(key, per_lane)) * root_weight
    return jnp.moveaxis(rows.reshape(-1, *root_weight.shape), 1, 0), (len(root_weight), per_lane, N_PARTS)


def _correlation(fitted: Fitted, model: FitModel) -> jax.Array:
    """contrast · g of every pair of ages, shape (n_phi, N, N), float32."""
    frame = jnp.arange(fitted.scene.t.shape[0])
    g = model.correlation(fitted.x, frame[:, None], frame[None, :], fitted.scene, fitted.gauge)
    return jnp.asarray(fitted.contrast[:, None, None] * g, jnp.float32)


def _noise(key: jax.Array, *, correlation: jax.Array, fitted: Fitted) -> jax.Array:
    """The three parts of δ of one replicate, shape (N_PARTS, n_phi, N, N); their diagonals have no meaning."""
    for_fields, for_photons = jax.random.split(key)
    intensity = speckle.intensities(for_fields, fitted.flow, fitted.modes, PIXELS)
    # With few modes for a low contrast, the fluctuation is that of more modes, scaled.
    scale = jnp.sqrt(fitted.contrast / (fitted.modes**2).sum())
    y = jnp.asarray(scale[:, None, None] * (intensity - 1), jnp.float32)
    e = jnp.sqrt(jnp.maximum(1 + y, 0)) * jax.random.normal(for_photons, y.shape, jnp.float32)
    mean_y, mean_e = y.mean(axis=1), e.mean(axis=1)

    def products(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.einsum("api,apj->aij", one, other) / PIXELS

    def twice(matrix: jax.Array) -> jax.Array:
        return matrix + jnp.swapaxes(matrix, 1, 2)

    return jnp.stack(
        [
            products(y, y) - correlation * (1 + twice(jnp.broadcast_to(mean_y[:, None], correlation.shape))),
            twice(products(y, e) - correlation * mean_e[:, None]),
            products(e, e),
        ]
    )


def _scores(rows: jax.Array, data: FramePairs, fitted: Fitted, model: FitModel) -> jax.Array:
    """Sums over pairs of each row times the columns of the Jacobian, shape (n_phi, n_rows, n + 2)."""
    ages = model.ages(fitted.x, fitted.scene, fitted.gauge)

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        block = jax.tree.map(lambda a: a[k], FramePairs(*data[:4], data.y))
        columns = kernel.columns_of(ages, block, fitted.scene, model)[:, : kernel.Y]
        return total + jnp.einsum("arp,akp->ark", rows[:, :, block.first, block.second], columns)

    empty = jnp.zeros((*rows.shape[:2], fitted.x.shape[0] + 2), fitted.x.dtype)
    total: jax.Array = jax.lax.fori_loop(0, data.first.shape[0], add, empty)
    return total


def _forms(rows: jax.Array, used: jax.Array) -> jax.Array:
    """The three scalar products of every two rows, shape (3, n_phi, n_rows, n_rows)."""

    def product(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.einsum("arij,asij->ars", one, other)

    whole = product(jnp.triu(rows, 1), rows)
    differences = frames.third_differences(rows) * used[:, None]
    pairs, count = (jnp.maximum(n.sum(axis=(1, 2)), 1)[:, None, None] for n in (used * frames.near(used), used))
    mixed = product(differences, frames.near(differences))
    products = (mixed + jnp.swapaxes(mixed, 1, 2)) / (2 * pairs)
    return jnp.stack([whole, products, product(differences, differences) / count])

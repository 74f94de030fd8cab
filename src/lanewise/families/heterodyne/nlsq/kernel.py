"""One pass over the data: every sum of products that a least-squares step needs, block by block.

The correlation is offset + contrast · g. For each angle the pass returns the Gram matrix of the columns

    ∂g/∂x_1 … ∂g/∂x_13, g, 1, y

over the pairs of ages i < j, each datum once and times the root of its weight. In every scaling mode, cost, gradient
and curvature follow from these 16×16 matrices. No residual vector is kept, so memory does not grow with the number of
pairs.

Each derivative is the product of a factor per pair and a factor per age: for a coordinate x of a rate with integral C,
∂g/∂x = ∂g/∂ΔC · (∂C_j/∂x − ∂C_i/∂x). Two exponentials per pair serve all angles; the cosines of the phases of a pair
follow from those of its ages by the addition theorem.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import FractionClip
from lanewise.families.heterodyne.nlsq import coordinates
from lanewise.families.heterodyne.nlsq.coordinates import N_COORDINATES, Gauge, Profiles, profiles

BLOCK = 256
G, ONE, Y = N_COORDINATES, N_COORDINATES + 1, N_COORDINATES + 2


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


class Scene(NamedTuple):
    """Conditions of the measurement: ages [s], their spacing [s], q [1/Å], angles [degree]."""

    t: Any
    dt: Any
    q: Any
    phi: Any


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
    n_blocks = -(-len(lag) // BLOCK)
    padding = n_blocks * BLOCK - len(lag)
    used = weights[:, first, second] > 0
    centre = float(matrices[:, first, second][used].mean())

    def blocks(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([values, np.zeros((*values.shape[:-1], padding), values.dtype)], axis=-1)
        return np.moveaxis(padded.reshape(*values.shape[:-1], n_blocks, BLOCK), -2, 0)

    return FramePairs(
        blocks(first.astype(np.int32)),
        # Padding uses the pair of ages 0 and 1, for which everything is finite.
        np.where(blocks(np.ones(len(lag))) > 0, blocks(second.astype(np.int32)), 1).astype(np.int32),
        blocks(np.sqrt(weights[:, first, second])),
        blocks(np.where(used, matrices[:, first, second] - centre, 0.0)),
        centre,
    )


def grams(
    x: jax.Array, data: FramePairs, n_blocks: jax.Array, scene: Scene, gauge: Gauge, clip: FractionClip
) -> jax.Array:
    """Gram matrices of the first `n_blocks` blocks, shape (n_phi, 16, 16)."""
    ages = ages_of(profiles(x, t=scene.t, dt=scene.dt, gauge=gauge, clip=clip), x[12], scene)
    n_phi = scene.phi.shape[0]

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        columns = columns_of(ages, jax.tree.map(lambda a: a[k], FramePairs(*data[:4], data.y)), scene.q)
        return total + jnp.einsum("akb,alb->akl", columns, columns)

    total: jax.Array = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros((n_phi, Y + 1, Y + 1), x.dtype))
    return total


def look(x: jax.Array, data: FramePairs, scene: Scene, gauge: Gauge, clip: FractionClip) -> jax.Array:
    """Cheap `grams` of the first block, to screen a point: rows and columns of the derivatives are 0."""
    g = correlation(x, data.first[0], data.second[0], scene, gauge, clip)
    columns = jnp.stack([g, jnp.ones_like(g), data.y[0]], axis=1) * data.root_weight[0][:, None]
    gram = jnp.einsum("akb,alb->akl", columns, columns)
    return jnp.zeros((len(gram), Y + 1, Y + 1), x.dtype).at[:, G:, G:].set(gram)


def correlation(
    x: jax.Array, first: jax.Array, second: jax.Array, scene: Scene, gauge: Gauge, clip: FractionClip
) -> jax.Array:
    """g of pairs of ages, shape (n_phi, …) for indices of shape (…)."""
    reference, sample, path, f = coordinates.values(x, t=scene.t, dt=scene.dt, gauge=gauge, clip=clip)
    h_r = c2.field_decay(reference[second] - reference[first], scene.q)
    h_s = c2.field_decay(sample[second] - sample[first], scene.q)
    r, n = 1 - f, f**2 + (1 - f) ** 2
    u, w, m = (a[first] * a[second] for a in (r**2 / n, f**2 / n, f * r / n))
    wave = scene.q * jnp.cos(jnp.deg2rad(scene.phi + x[12]))
    phase = jnp.multiply.outer(wave, path[second] - path[first])
    return jnp.asarray(u * h_r**2 + w * h_s**2 + 2 * m * h_r * h_s * jnp.cos(phase))


class Ages(NamedTuple):
    """Factors per age and per angle.

    Attributes:
        table: one row per age, shape (N, n_columns), so that one gather fetches everything of an age.
        wave: component of q along the drift, per angle [1/Å].
        d_wave: its derivative with respect to phi0 [1/Å per degree].
    """

    table: jax.Array
    wave: jax.Array
    d_wave: jax.Array


def ages_of(p: Profiles, phi0: jax.Array, scene: Scene) -> Ages:
    """The factors at phi0 [degree]."""
    f, r = p.f, 1 - p.f
    n = f**2 + r**2
    angle = jnp.deg2rad(scene.phi + phi0)
    wave, d_wave = scene.q * jnp.cos(angle), -scene.q * jnp.sin(angle) * (np.pi / 180)
    phase = p.path[:, None] * wave
    scalars = [p.reference, p.sample, p.path, r**2 / n, f**2 / n, f * r / n, 2 * f * r / n**2, (r - f) / n**2]
    vectors = [p.d_reference, p.d_sample, p.d_path, p.d_f, jnp.cos(phase), jnp.sin(phase)]
    return Ages(jnp.concatenate([jnp.stack(scalars, axis=1), *vectors], axis=1), wave, d_wave)


def columns_of(ages: Ages, block: FramePairs, q: jax.Array) -> jax.Array:
    """∂g/∂x, g, 1, y of one block, times the roots of the weights, shape (n_phi, 16, BLOCK); padding is 0."""
    n_phi = ages.wave.shape[0]
    # Without the barriers the compiler repeats the gathers and the exponentials for each column that uses them.
    at_i, at_j = jax.lax.optimization_barrier((ages.table[block.first].T, ages.table[block.second].T))
    c_r, c_s, path = at_j[:3] - at_i[:3]
    d_r, d_s, d_v = at_j[8:11] - at_i[8:11], at_j[11:14] - at_i[11:14], at_j[14:17] - at_i[14:17]
    (u_i, w_i, m_i, dw_i, dm_i), (u_j, w_j, m_j, dw_j, dm_j) = at_i[3:8], at_j[3:8]
    f_i, f_j = at_i[17:20], at_j[17:20]
    cos_i, cos_j = at_i[20 : 20 + n_phi], at_j[20 : 20 + n_phi]
    sin_i, sin_j = at_i[20 + n_phi :], at_j[20 + n_phi :]
    cos, sin = cos_i * cos_j + sin_i * sin_j, sin_j * cos_i - cos_j * sin_i

    h_r, h_s = jax.lax.optimization_barrier((c2.field_decay(c_r, q), c2.field_decay(c_s, q)))
    decay_r, decay_s, both = h_r**2, h_s**2, 2 * h_r * h_s
    beat = m_i * m_j * both
    by_reference = -(q**2) * (u_i * u_j * decay_r + beat / 2 * cos)
    by_sample = -(q**2) * (w_i * w_j * decay_s + beat / 2 * cos)
    by_phase = -beat * sin
    by_f_i = dw_i * (w_j * decay_s - u_j * decay_r) + dm_i * m_j * both * cos
    by_f_j = dw_j * (w_i * decay_s - u_i * decay_r) + dm_j * m_i * both * cos
    g = u_i * u_j * decay_r + w_i * w_j * decay_s + beat * cos
    columns = [
        by_reference[:, None] * d_r,
        by_sample[:, None] * d_s,
        (by_phase * ages.wave[:, None])[:, None] * d_v,
        by_f_i[:, None] * f_i + by_f_j[:, None] * f_j,
        (by_phase * ages.d_wave[:, None] * path)[:, None],
        g[:, None],
        jnp.ones_like(g)[:, None],
        block.y[:, None],
    ]
    return jnp.asarray(jnp.concatenate(columns, axis=1) * block.root_weight[:, None])

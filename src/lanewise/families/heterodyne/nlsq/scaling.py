"""Contrast and offset: the model is linear in them, so every step solves for them exactly (variable projection)."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import scipy.linalg

from lanewise.errors import DataError
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne.nlsq.kernel import ONE, G, Y

Kind = Literal["groups", "series", "held"]
_FOURIER_ORDER = 2
_MIN_ANGLES_FOR_SHARED = 3
_ROUNDING = 1e-14


class ScalingBasis(NamedTuple):
    """Contrast and offset of angle a are Σ_m basis[a, m] times coefficient m.

    Attributes:
        basis: shape (n_phi, n_coefficients).
        low, high: bounds of contrast and of offset, shape (2,); the offset's are relative to the data's centre.
        held: fixed coefficients of contrast and offset, shape (2, n_coefficients); used only if they are not fitted.
    """

    basis: Any
    low: Any
    high: Any
    held: Any


class Normal(NamedTuple):
    """The least-squares problem at one point, with the best contrast and offset.

    Attributes:
        ssr: sum of squared residuals.
        gradient: Jᵀr, the direction of descent, shape (n,).
        curvature: JᵀJ with contrast and offset projected out, shape (n, n).
        coefficients: coefficients of contrast and of offset, shape (2, n_coefficients).
        free: which of the coefficients are fitted and not at a bound, shape (2, n_coefficients).
        joint: JᵀJ of coordinates, contrast and offset coefficients together; zeros for coefficients that are not free.
    """

    ssr: jax.Array
    gradient: jax.Array
    curvature: jax.Array
    coefficients: jax.Array
    free: jax.Array
    joint: jax.Array


def setting(
    scaling: heterodyne_config.Scaling,
    matrices: np.ndarray,
    phi: np.ndarray,
    centre: float,
    q: float | np.ndarray = 0.0,
) -> tuple[Kind, ScalingBasis]:
    """The scaling of one data set, and how its coefficients are solved for. Matrices of different q share none.

    Args:
        matrices: correlations, shape (n_phi, N, N); NaN for pairs that do not count.
        phi: angle of each [degree].
        centre: mean of the data, subtracted from the offset.
        q: one number, or that of each matrix.

    Raises:
        DataError: there are too few angles for the mode.
    """
    n_phi = len(phi)
    low = np.array([scaling.contrast.min, scaling.offset.min - centre])
    high = np.array([scaling.contrast.max, scaling.offset.max - centre])
    if scaling.mode == "constant":
        above = ~np.eye(matrices.shape[-1], dtype=bool)
        quantiles = np.array([np.nanquantile(matrix[above], [0.05, 0.95]) for matrix in matrices])
        held = np.stack([quantiles[:, 1] - quantiles[:, 0], quantiles[:, 0] - centre])
        return "held", ScalingBasis(np.eye(n_phi), low, high, held)
    each_q = np.broadcast_to(q, n_phi)
    rows = [np.flatnonzero(each_q == one) for one in np.unique(each_q)]
    blocks = [_basis(scaling.mode, phi[own]) for own in rows]
    basis = np.zeros((n_phi, sum(block.shape[1] for block in blocks)))
    basis[np.concatenate(rows)] = scipy.linalg.block_diag(*blocks)
    kind: Kind = "series" if scaling.mode == "fourier" else "groups"
    return kind, ScalingBasis(basis, low, high, np.zeros((2, basis.shape[1])))


def _basis(mode: heterodyne_config.ScalingMode, phi: np.ndarray) -> np.ndarray:
    """`ScalingBasis.basis` of the angles of one q."""
    n_phi = len(phi)
    if mode == "fourier":
        needed = 1 + 2 * _FOURIER_ORDER
        if n_phi < needed:
            raise DataError(f"scaling.mode fourier needs {needed} angles, these data have {n_phi}; use individual")
        angles = np.deg2rad(phi)[:, None] * np.arange(1, _FOURIER_ORDER + 1)
        return np.concatenate([np.ones((n_phi, 1)), np.cos(angles), np.sin(angles)], axis=1)
    if mode == "auto" and n_phi >= _MIN_ANGLES_FOR_SHARED:
        return np.ones((n_phi, 1))
    return np.eye(n_phi)


def constant_ssr(matrices: np.ndarray, weights: np.ndarray, basis: np.ndarray) -> float:
    """Weighted sum of squared residuals over pairs i < j of a fit with contrast 0, and offsets from `basis`."""
    above = np.triu_indices(matrices.shape[-1], 1)
    w = weights[:, *above]
    y = np.where(w > 0, matrices[:, *above], 0.0)
    normal = np.einsum("ap,am,an->mn", w, basis, basis)
    offsets = basis @ np.linalg.solve(normal, basis.T @ (w * y).sum(axis=1))
    return float((w * (y - offsets[:, None]) ** 2).sum())


def normal(gram: jax.Array, scaling: ScalingBasis, kind: Kind) -> Normal:
    """The least-squares problem at one point, from the Gram matrices of all angles, shape (n_phi, n + 3, n + 3)."""
    basis, k = scaling.basis, gram.shape[-1] - 3
    n_coefficients = basis.shape[1]
    # Normal matrix of the linear unknowns: contrast coefficients, then offset coefficients.
    blocks = [[jnp.einsum("am,an,a->mn", basis, basis, gram[:, a, b]) for b in (G, ONE)] for a in (G, ONE)]
    linear = jnp.block(blocks)
    right = jnp.concatenate([basis.T @ gram[:, G, Y], basis.T @ gram[:, ONE, Y]])
    match kind:
        case "groups":
            solve = jax.vmap(partial(_bounded, low=scaling.low, high=scaling.high))
            pairs = jnp.stack([jnp.stack([jnp.diag(block) for block in row], -1) for row in blocks], -2)
            solution, free = solve(pairs, right.reshape(2, n_coefficients).T)
            coefficients, free = solution.T, free.T
        case "series":
            scale = 1 / jnp.sqrt(jnp.diag(linear))
            factor = jax.scipy.linalg.cho_factor(linear * jnp.outer(scale, scale))
            solution = scale * jax.scipy.linalg.cho_solve(factor, right * scale)
            coefficients, free = solution.reshape(2, n_coefficients), jnp.ones((2, n_coefficients), bool)
        case "held":
            coefficients, free = scaling.held, jnp.zeros((2, n_coefficients), bool)
    contrast, offset = basis @ coefficients[0], basis @ coefficients[1]
    flat = coefficients.reshape(-1)
    ssr = gram[:, Y, Y].sum() - 2 * flat @ right + flat @ linear @ flat
    gradient = (gram[:, :k, Y] - contrast[:, None] * gram[:, :k, G] - offset[:, None] * gram[:, :k, ONE]).T @ contrast
    cross = jnp.concatenate([(gram[:, :k, column] * contrast[:, None]).T @ basis for column in (G, ONE)], axis=1)
    is_free = free.reshape(-1).astype(gram.dtype)
    linear = linear * jnp.outer(is_free, is_free)
    cross = cross * is_free
    shape = jnp.einsum("a,akl->kl", contrast**2, gram[:, :k, :k])
    # A tiny ridge relative to each column: contrast and offset are degenerate if g is flat.
    ridge = jnp.diag(jnp.where(is_free > 0, 1e-13 * jnp.diag(linear), 1.0))
    scale = 1 / jnp.sqrt(jnp.diag(linear + ridge))
    factor = jax.scipy.linalg.cho_factor((linear + ridge) * jnp.outer(scale, scale))
    solved = scale[:, None] * jax.scipy.linalg.cho_solve(factor, scale[:, None] * cross.T)
    joint = jnp.block([[shape, cross], [cross.T, linear]])
    # For data without noise only rounding remains; differences below it do not count.
    ssr = jnp.maximum(ssr, _ROUNDING * gram[:, Y, Y].sum())
    return Normal(ssr, gradient, shape - cross @ solved, coefficients, free, joint)


def _bounded(g: jax.Array, y: jax.Array, low: jax.Array, high: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Minimize ½ uᵀGu − yᵀu for two unknowns u between bounds; also say which of them are not at a bound.

    The minimum is inside the bounds, or on the best of the four edges.
    """
    det = g[0, 0] * g[1, 1] - g[0, 1] ** 2
    safe = jnp.where(det > 1e-13 * g[0, 0] * g[1, 1], det, jnp.nan)
    inside = jnp.stack([g[1, 1] * y[0] - g[0, 1] * y[1], g[0, 0] * y[1] - g[0, 1] * y[0]]) / safe
    candidates, frees = [inside], [jnp.array([True, True])]
    for fixed in (0, 1):
        other = 1 - fixed
        for bound in (low[fixed], high[fixed]):
            best = (y[other] - g[0, 1] * bound) / g[other, other]
            value = jnp.clip(best, low[other], high[other])
            point = jnp.zeros(2).at[fixed].set(bound).at[other].set(value)
            candidates.append(point)
            frees.append(jnp.zeros(2, bool).at[other].set(value == best))
    points = jnp.stack(candidates)
    costs = jnp.einsum("ci,ij,cj->c", points, g, points) / 2 - points @ y
    feasible = jnp.all(inside >= low) & jnp.all(inside <= high)
    costs = costs.at[0].set(jnp.where(feasible, costs[0], jnp.inf))
    best = jnp.argmin(costs)
    return points[best], jnp.stack(frees)[best]

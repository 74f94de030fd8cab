"""Errors of a fit: from the curvature at the minimum, in the user's parameters, and the undetermined directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from lanewise.families.heterodyne.c2 import NAMES
from lanewise.families.heterodyne.nlsq import coordinates
from lanewise.families.heterodyne.nlsq.coordinates import BOX_NAMES, N_COORDINATES, FitSetting, Gauge

_COORDINATES = (
    "log J_ref(t_ref)",
    "alpha_ref",
    "D_offset_ref / J_ref(t_ref)",
    "log J_sample(t_ref)",
    "alpha_sample",
    "D_offset_sample / J_sample(t_ref)",
    "v(t_ref)",
    "beta",
    "v_offset",
    "log f0 at mid-window",
    "f1",
    "f3",
    "phi0",
)
# Limits of squared singular values of the column-normalised Jacobian. Below _NULL an error has no correct digit. _WEAK
# corresponds to a condition number of 1000, six times that of a well-posed window.
_NULL, _WEAK = 1e-12, 1e-6
# Box parameters that are coordinates themselves. Their bounds count in the errors: v_offset is often known less well by
# the data than by its bounds, and |v| with it. The bounds of the others do not count: with D_offset held at its bound,
# the error of alpha would be a hundred times too small.
_BOUNDED = ("alpha_ref", "alpha_sample", "beta", "v_offset", "f1", "f3", "phi0")
# A direction is named by the coordinates whose component in it exceeds this.
_NAMED_COMPONENT = 0.25


@dataclass(frozen=True)
class Uncertainty:
    """Covariances of a fit.

    Attributes:
        inverse: inverse of the curvature `joint`, of the same shape; zero rows for what is fixed. Covariances are this
            times `variance` under independent noise.
        variance: of the noise of a value of weight 1.
        box: covariance of the box parameters, contrast and offset, as far as the data determine them.
        undetermined: directions of these that the data do not determine, as columns; scales: size of each unknown.
        to_joint: from these unknowns to those of `joint`.
        parameters: covariance of the 14 parameters, (14, 14); zero rows for fixed ones, infinite variances for those
            that the data do not determine.
        headline: covariance of J_ref, J_sample and |v| at t_ref, (3, 3).
        scaling: covariance of the contrast coefficients, then the offset coefficients.
        at_bounds: names of the parameters that ended at a bound.
        degenerate: directions that the data hardly determine, each named by the coordinates that it mixes.
        n_free: number of unknowns that were free at the minimum.
    """

    inverse: np.ndarray
    variance: float
    box: np.ndarray
    undetermined: np.ndarray
    scales: np.ndarray
    to_joint: np.ndarray
    parameters: np.ndarray
    headline: np.ndarray
    scaling: np.ndarray
    at_bounds: tuple[str, ...]
    degenerate: tuple[str, ...]
    n_free: int

    def variances(self, slopes: np.ndarray) -> np.ndarray:
        """Variances of functions, shape (…), from their derivatives by the unknowns of `joint`, shape (…, n)."""
        rows = slopes.reshape(-1, slopes.shape[-1]) @ self.to_joint
        variance = np.einsum("ik,kl,il->i", rows, self.box, rows)
        variance[_touched(rows, self.undetermined, self.scales)] = np.inf
        return np.asarray(variance.reshape(slopes.shape[:-1]))


def assess(
    x: np.ndarray,
    *,
    joint: np.ndarray,
    curvature: np.ndarray,
    free_scaling: np.ndarray,
    where: FitSetting,
    ssr: float,
    n_data: int,
    score: np.ndarray | None = None,
) -> Uncertainty:
    """Covariances at the minimum x.

    Args:
        joint: JᵀJ of coordinates, contrast and offset together.
        curvature: JᵀJ of the coordinates alone, with contrast and offset projected out.
        free_scaling: which contrast and offset coefficients are free.
        ssr: weighted sum of squared residuals.
        score: covariance of the score, as `joint`; None for independent noise.
    """
    k, free_scaling = N_COORDINATES, free_scaling.reshape(-1)
    maps = _maps(jnp.asarray(x), where.gauge, jnp.log(jnp.asarray(where.f0)))
    p, to_x, to_parameters, to_headline = (np.asarray(part) for part in maps)
    user_fixed = where.box.low >= where.box.high
    margin = 1e-7 * np.maximum(np.abs(p), 1e-7)
    at_bound = ~user_fixed & ((p <= where.box.low + margin) | (p >= where.box.high - margin))
    free = np.concatenate([~user_fixed, free_scaling])
    # From box parameters, contrast and offset to the unknowns of `joint`.
    whole = scipy.linalg.block_diag(to_x, np.eye(len(free_scaling)))
    transform = whole[:, free]
    covariance, open_directions, scale = _invert(transform.T @ joint @ transform)
    inverse = np.zeros((len(free), len(free)))
    inverse[np.ix_(free, free)] = covariance
    n_free = int(free.sum() - at_bound.sum())
    variance = ssr / (n_data - n_free)
    full = inverse * variance if score is None else inverse @ whole.T @ score @ whole @ inverse
    full = _within(full, where.box.high - where.box.low)
    left_open = np.zeros((len(free), open_directions.shape[1]))
    left_open[free] = open_directions
    scales = np.zeros(len(free))
    scales[free] = scale
    parameters = _propagate(to_parameters, full[:k, :k], left_open[:k], scales[:k])
    # Set exact zeros: the transformation to coordinates and back adds rounding.
    held = [at for at, name in enumerate(NAMES) if name in BOX_NAMES and user_fixed[BOX_NAMES.index(name)]]
    parameters[held, :] = parameters[:, held] = 0.0
    return Uncertainty(
        whole @ inverse @ whole.T,
        variance,
        full,
        left_open,
        scales,
        whole,
        parameters,
        _propagate(to_headline, full[:k, :k], left_open[:k], scales[:k]),
        _propagate(np.eye(len(free_scaling)), full[k:, k:], left_open[k:], scales[k:]),
        tuple(name for name, ended_at_bound in zip(BOX_NAMES, at_bound, strict=True) if ended_at_bound),
        _directions(curvature, to_x[:, ~user_fixed]),
        n_free,
    )


def _within(covariance: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The covariance when bounds of that width are known, too.

    An estimate that ends at a bound has a mean square distance of width²/3 from what lies between the bounds.
    """
    at = [BOX_NAMES.index(name) for name in _BOUNDED]
    rows = covariance[:, at]
    gained = np.linalg.pinv(covariance[np.ix_(at, at)] + np.diag(width[at] ** 2 / 3), hermitian=True)
    return np.asarray(covariance - rows @ gained @ rows.T)


@jax.jit
def _maps(x: jax.Array, gauge: Gauge, log_f0: jax.Array) -> tuple[jax.Array, ...]:
    """Box parameters of x, and derivatives of coordinates, parameters and headline values with respect to them."""
    p = coordinates.to_box(x, gauge)
    to_x = jax.jacfwd(coordinates.from_box)(p, gauge)
    reported = jax.jacfwd(lambda box: coordinates.report(coordinates.from_box(box, gauge), gauge, log_f0))(p)
    return p, to_x, *reported


def _invert(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pseudo-inverse, the directions (as columns) that the matrix does not determine, and each unknown's scale."""
    diagonal = np.diag(matrix)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    null = values < _NULL * max(values.max(initial=0.0), 1.0)
    known = vectors[:, ~null] * scale[:, None]
    return known / values[~null] @ known.T, vectors[:, null] * scale[:, None], scale


def _propagate(jacobian: np.ndarray, covariance: np.ndarray, left_open: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Covariance of derived quantities; the variance of those that change along an open direction is infinite."""
    result = jacobian @ covariance @ jacobian.T
    touched = _touched(jacobian, left_open, scale)
    result[touched, touched] = np.inf
    return np.asarray(result)


def _touched(jacobian: np.ndarray, left_open: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Which derived quantities change along an open direction."""
    # Relative to each unknown's scale, because of the rounding in unknowns that do not take part in the direction.
    size = np.max(np.abs(jacobian) * scale, axis=1, keepdims=True)
    return np.asarray(np.any(np.abs(jacobian @ left_open) > 1e-3 * size, axis=1))


def _directions(curvature: np.ndarray, tangent: np.ndarray) -> tuple[str, ...]:
    """Names of the directions within the tangent space in which the curvature is almost 0."""
    diagonal = np.diag(curvature)
    is_null = diagonal <= _NULL * diagonal.max()
    scale = np.where(is_null, 1.0, 1 / np.sqrt(np.where(is_null, 1.0, diagonal)))
    basis, _ = np.linalg.qr(tangent / scale[:, None])
    values, vectors = np.linalg.eigh(basis.T @ (curvature * np.outer(scale, scale)) @ basis)
    found = []
    for value, vector in zip(values, (basis @ vectors).T, strict=True):
        if value < _WEAK:
            mixed = [name for name, part in zip(_COORDINATES, vector, strict=True) if abs(part) > _NAMED_COMPONENT]
            found.append(_sentence(mixed, value < _NULL))
    return tuple(found)


def _sentence(names: Sequence[str], fully: bool) -> str:
    text = " with ".join(names)
    return f"{text}: {'not' if fully else 'hardly'} determined by these data"

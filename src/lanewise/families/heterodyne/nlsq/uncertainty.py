"""Errors of a fit: from the curvature at the minimum, in the user's parameters, and the undetermined directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from lanewise.families.heterodyne.nlsq import fit_model
from lanewise.families.heterodyne.nlsq.fit_model import Box, FitModel, FitSetting

# Limits of squared singular values of the column-normalised Jacobian. Below _NULL an error has no correct digit. _WEAK
# corresponds to a condition number of 1000, six times that of a well-posed window.
_NULL, _WEAK = 1e-12, 1e-6
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
        parameters: covariance of the parameters; zero rows for fixed ones, infinite variances for those
            that the data do not determine.
        headline: covariance of the headline values.
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
    k, free_scaling = len(x), free_scaling.reshape(-1)
    maps = _maps(jnp.asarray(x), where.gauge, where.box, where.model)
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
    full = _within(full, where.box.high - where.box.low, where.model)
    left_open = np.zeros((len(free), open_directions.shape[1]))
    left_open[free] = open_directions
    scales = np.zeros(len(free))
    scales[free] = scale
    parameters = _propagate(to_parameters, full[:k, :k], left_open[:k], scales[:k])
    # Set exact zeros: the transformation to coordinates and back adds rounding.
    names, own = where.model.box_names, where.box.source == np.arange(len(user_fixed))
    fixed = [name for name, one in zip(names, user_fixed & own, strict=True) if one]
    held = [at for at, name in enumerate(where.model.physics.names) if name in fixed]
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
        tuple(name for name, ended_at_bound in zip(names, at_bound, strict=True) if ended_at_bound),
        _directions(curvature, to_x[:, ~user_fixed], where.model.coordinate_names),
        n_free,
    )


def _within(covariance: np.ndarray, width: np.ndarray, model: FitModel) -> np.ndarray:
    """The covariance when bounds of that width are known, too.

    Only the bounds of parameters that are coordinates themselves count. v_offset is often known less well by the data
    than by its bounds, and |v| with it. With D_offset held at its bound, the error of alpha would be a hundred times
    too small. An estimate at a bound has a mean square distance of width²/3 from the values between the bounds.
    """
    at = [at for at, name in enumerate(model.box_names) if name in model.coordinate_names]
    rows = covariance[:, at]
    gained = np.linalg.pinv(covariance[np.ix_(at, at)] + np.diag(width[at] ** 2 / 3), hermitian=True)
    return np.asarray(covariance - rows @ gained @ rows.T)


@partial(jax.jit, static_argnames="model")
def _maps(x: jax.Array, gauge: Any, box: Box, model: FitModel) -> tuple[jax.Array, ...]:
    """Box parameters of x, and derivatives of coordinates, parameters and headline values with respect to them."""
    p = model.to_box(x, gauge)
    to_x = fit_model.slopes(p, model, gauge, box)
    reported = jax.jacfwd(lambda p: model.report(model.from_box(p[box.source], gauge), gauge))(p)
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


def _directions(curvature: np.ndarray, tangent: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the directions within the tangent space in which the curvature is almost 0."""
    diagonal = np.diag(curvature)
    is_null = diagonal <= _NULL * diagonal.max()
    scale = np.where(is_null, 1.0, 1 / np.sqrt(np.where(is_null, 1.0, diagonal)))
    basis, _ = np.linalg.qr(tangent / scale[:, None])
    values, vectors = np.linalg.eigh(basis.T @ (curvature * np.outer(scale, scale)) @ basis)
    found = []
    for value, vector in zip(values, (basis @ vectors).T, strict=True):
        if value < _WEAK:
            mixed = [name for name, part in zip(names, vector, strict=True) if abs(part) > _NAMED_COMPONENT]
            found.append(_sentence(mixed, value < _NULL))
    return tuple(found)


def _sentence(names: Sequence[str], fully: bool) -> str:
    text = " with ".join(names)
    return f"{text}: {'not' if fully else 'hardly'} determined by these data"

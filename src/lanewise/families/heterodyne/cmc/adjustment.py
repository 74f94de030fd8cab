"""The likelihood's change of width under noise that frames share.

The likelihood takes values for independent. Its curvature H/σ² at the minimum is then that of errors H⁻¹σ², while the
errors are H⁻¹ J H⁻¹ with the covariance J of the score. The likelihood at θ̂ + C(θ − θ̂) with CᵀHC/σ² = H J⁻¹ H has these
errors (Ribatet, Cooley & Davison 2012). The prior and its bounds are untouched.
"""

from __future__ import annotations

import numpy as np

# Directions whose scaled curvature is below this are not determined: the likelihood is left as it is in them.
_NULL = 1e-10


def adjustment(tangent: np.ndarray, curvature: np.ndarray, score: np.ndarray, variance: float) -> np.ndarray:
    """The matrix C, shape (n, n).

    Args:
        tangent: directions in which the unknowns may move, as columns, shape (n, m).
        curvature: H = JᵀJ of the residuals, shape (n, n).
        score: covariance of the score, of the same shape.
        variance: of a value of weight 1.
    """
    own = tangent.T @ curvature @ tangent
    to_moves, to_z = _determined(own)
    spread, axes = np.linalg.eigh(to_moves.T @ tangent.T @ score @ tangent @ to_moves)
    shrink = axes * np.sqrt(variance / spread) @ axes.T
    of_moves = np.eye(len(own)) + to_moves @ (shrink - np.eye(len(shrink))) @ to_z
    back = np.linalg.pinv(tangent)
    return np.asarray(np.eye(len(curvature)) + tangent @ (of_moves - np.eye(len(own))) @ back)


def inverse(tangent: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """The inverse of a curvature within the tangent space, as far as it is determined; arguments as above."""
    to_moves, _ = _determined(tangent.T @ curvature @ tangent)
    return np.asarray(tangent @ to_moves @ to_moves.T @ tangent.T)


def _determined(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates z of the determined directions, in which the curvature is 1: moves = to_moves z, z = to_z moves."""
    scale = 1 / np.sqrt(np.where(np.diag(curvature) > 0, np.diag(curvature), 1.0))
    values, vectors = np.linalg.eigh(curvature * np.outer(scale, scale))
    known = values > _NULL * values.max()
    roots = np.sqrt(values[known])
    return scale[:, None] * vectors[:, known] / roots, (vectors[:, known] * roots).T / scale

"""Linear least squares on estimates, with errors that account for realizations with common noise.

Never weight by a posterior width: it depends on the estimate itself, and the weights would bias m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A number with its errors.

    Attributes:
        value: the estimate.
        error: used by the verdict. The larger of the two errors below, because with few realizations the realised
            scatter may be small by chance. Without a predicted error, the realised one is widened by Student's t, so
            that ± 3 errors contain 99.73 % for any number of seeds. None if neither exists.
        error_realised: from the scatter between seeds (sandwich); None if there are too few seeds.
        error_predicted: from the posterior widths; None if a width is missing or zero, or if realizations share
            seeds, because the widths do not give the correlation of their noise.
    """

    value: float
    error: float | None
    error_realised: float | None
    error_predicted: float | None


@dataclass(frozen=True)
class Relative:
    """A common factor by which all estimates were divided, for error propagation.

    Attributes:
        error: relative error of the factor.
        centre: the fixed point of the division, i.e. the prior mean.
    """

    error: float
    centre: float


@dataclass(frozen=True)
class LineFit:
    """Result of least squares: coefficients (k,), realised and predicted errors (k,), residuals (n,)."""

    beta: Array
    realised: Array | None
    predicted: Array | None
    residual: Array
    n_clusters: int


def design(truth: Array) -> Array:
    """Design matrix with columns 1 and truth, shape (n, 2); only 1, shape (n, 1), if all truths are equal."""
    ones = np.ones_like(truth)
    return ones[:, None] if len(np.unique(truth)) == 1 else np.stack([ones, truth], axis=1)


def fit(design: Array, *, value: Array, width: Array, seed: NDArray[np.int64]) -> LineFit | None:
    """Least squares with equal weights and cluster-robust errors; None if a value is undefined or there are no values.

    The sandwich scales each cluster's score by (1 − leverage)^(−1/2). The variance is then unbiased in small samples
    if the noise is homoscedastic. It is undefined if a coefficient depends on a single cluster.

    Source:
        Bell & McCaffrey 2002 (CR2), in the orthonormal basis of the design, where leverages are k × k.
    """
    if len(value) == 0 or not np.all(np.isfinite(value)):
        return None
    basis, triangle = np.linalg.qr(design)
    inverse = np.linalg.inv(triangle)
    beta = inverse @ (basis.T @ value)
    residual = value - design @ beta
    k = design.shape[1]
    seeds, cluster = np.unique(seed, return_inverse=True)
    predicted = realised = None
    if len(seeds) == len(seed) and usable(width):
        predicted = np.linalg.norm(inverse @ (basis.T * width), axis=1)
    score, leverage = np.zeros((len(seeds), k)), np.zeros((len(seeds), k, k))
    np.add.at(score, cluster, basis * residual[:, None])
    np.add.at(leverage, cluster, basis[:, :, None] * basis[:, None, :])
    left, axes = np.linalg.eigh(np.eye(k) - leverage)
    if len(seeds) > k and left.min() > 1e-9:
        adjusted = np.einsum("gij,gj,glj,gl->gi", axes, left**-0.5, axes, score)
        realised = np.linalg.norm(inverse @ adjusted.T, axis=1)
    return LineFit(beta, realised, predicted, residual, len(seeds))


def measures(fit: LineFit, factor: Relative | None) -> list[Measure]:
    """The coefficients with their errors.

    Includes the error of a common factor λ̂: d ĝ / d ln λ̂ = μ − ĝ for the intercept, −b for a slope b.
    """
    sensitivity, relative = fit.beta.copy(), 0.0
    if factor is not None:
        sensitivity[0] -= factor.centre
        relative = factor.error
    measures = []
    for j, value in enumerate(fit.beta):
        of_lambda = abs(float(sensitivity[j])) * relative
        realised = None if fit.realised is None else float(np.hypot(fit.realised[j], of_lambda))
        predicted = None if fit.predicted is None else float(np.hypot(fit.predicted[j], of_lambda))
        if predicted is None and realised is not None:
            dof = fit.n_clusters - len(fit.beta)
            error: float | None = realised * float(stats.t.isf(stats.norm.sf(3), dof)) / 3
        else:
            error = max((e for e in (realised, predicted) if e is not None), default=None)
        measures.append(Measure(float(value), error, realised, predicted))
    return measures


def shifted(measure: Measure, by: float) -> Measure:
    """The measure plus a constant; the errors do not change."""
    return replace(measure, value=measure.value + by)


def ratio(mean: Measure, truth: float) -> Measure | None:
    """mean/truth − 1 with its errors; None if the truth is zero."""
    return None if truth == 0 else shifted(divided(mean, truth), -1.0)


def divided(measure: Measure, by: float) -> Measure:
    """The measure and its errors divided by a constant."""
    errors = (measure.error, measure.error_realised, measure.error_predicted)
    return Measure(measure.value / by, *(None if e is None else e / abs(by) for e in errors))


def usable(width: Array) -> bool:
    """Whether every width is known and positive."""
    return bool(np.all(np.isfinite(width)) and np.all(width > 0))

"""Linear least squares on estimates, with errors that account for realizations with common noise.

Never weight by a posterior width: it depends on the estimate itself, and the weights would bias m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
# With fewer degrees of freedom there is no error: a scatter of two values is small by chance too often.
_DOF_MIN = 1.5


@dataclass(frozen=True)
class Measure:
    """A number with its errors.

    Attributes:
        value: the estimate.
        error: used by the verdict. The realised error, widened by Student's t so that ± 3 errors contain 99.73 % for
            any number of seeds, or the predicted one if that is larger. None without a realised error: the widths
            alone are not evidence, because they may be wrong.
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


class Sandwich(NamedTuple):
    """Cluster-robust errors of coefficients.

    Attributes:
        influence: contribution of each cluster to each coefficient, shape (k, cluster).
        dof: degrees of freedom of each error, shape (k,).
    """

    influence: Array
    dof: Array


@dataclass(frozen=True)
class LineFit:
    """Result of least squares: coefficients (k,), predicted errors (k,), residuals (n,).

    Attributes:
        sandwich: the realised errors; None if there are too few clusters.
    """

    beta: Array
    predicted: Array | None
    residual: Array
    n_clusters: int
    sandwich: Sandwich | None

    @property
    def realised(self) -> Array | None:
        """Realised errors (k,): the root of the sum of the squared contributions of the clusters."""
        return None if self.sandwich is None else np.asarray(np.linalg.norm(self.sandwich.influence, axis=1))


def design(truth: Array) -> Array:
    """Design matrix with columns 1 and truth, shape (n, 2); only 1, shape (n, 1), if all truths are equal."""
    ones = np.ones_like(truth)
    return ones[:, None] if len(np.unique(truth)) == 1 else np.stack([ones, truth], axis=1)


def fit(design: Array, *, value: Array, width: Array, seed: NDArray[np.int64]) -> LineFit | None:
    """Least squares with equal weights and cluster-robust errors; None if a value is undefined or there are no values.

    The sandwich scales each cluster's score by (1 − leverage)^(−1/2). The variance is then unbiased in small samples
    if the noise is homoscedastic. It is undefined if a coefficient depends on a single cluster. Its degrees of freedom
    are Satterthwaite's: fewer than clusters − k if few clusters carry the leverage, or the noise by their widths.

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
    predicted = sandwich = None
    if len(seeds) == len(seed) and usable(width):
        predicted = np.linalg.norm(inverse @ (basis.T * width), axis=1)
    score, leverage = np.zeros((len(seeds), k)), np.zeros((len(seeds), k, k))
    np.add.at(score, cluster, basis * residual[:, None])
    np.add.at(leverage, cluster, basis[:, :, None] * basis[:, None, :])
    left, axes = np.linalg.eigh(np.eye(k) - leverage)
    if len(seeds) > k and left.min() > 1e-9:
        root = np.einsum("gij,gj,glj->gil", axes, left**-0.5, axes)
        influence = inverse @ np.einsum("gil,gl->ig", root, score)
        direction = np.einsum("gil,jl->jgi", root, inverse)
        noise = None
        if usable(width):
            noise = np.zeros((k, len(seeds)))
            np.add.at(noise.T, cluster, (np.einsum("ni,jni->jn", basis, direction[:, cluster]) * width).T ** 2)
        sandwich = Sandwich(influence, _degrees(direction, leverage, noise))
    return LineFit(beta, predicted, residual, len(seeds), sandwich)


def _degrees(direction: Array, leverage: Array, noise: Array | None) -> Array:
    """Satterthwaite's degrees of freedom of the sandwich for each coefficient, shape (k,).

    Args:
        direction: (I − leverage)^(−1/2) of each cluster, applied to each coefficient, shape (k, cluster, k).
        leverage: of each cluster, shape (cluster, k, k).
        noise: variance that each cluster contributes by its widths, shape (k, cluster); None: equal noise.
    """
    size = np.einsum("jgi,gil,jgl->jg", direction, leverage, direction)
    along = np.einsum("gil,jgl->jgi", leverage, direction)
    taken = np.sum(along**2, axis=2)
    # Of the matrix G with G_st = δ_st |a_s|² − b_s · b_t: its trace, and its squared Frobenius norm.
    trace = np.sum(size - taken, axis=1)
    square = np.sum((size - taken) ** 2 - taken**2, axis=1) + np.sum(
        np.einsum("jgi,jgl->jil", along, along) ** 2, axis=(1, 2)
    )
    dof = trace**2 / square
    if noise is not None:
        dof = dof * _evenness(noise) / _evenness(size)
    return np.asarray(dof)


def _evenness(parts: Array) -> Array:
    """(Σ x)² / Σ x²: the number of equal parts that would be as even."""
    return np.asarray(np.sum(parts, axis=1) ** 2 / np.sum(parts**2, axis=1))


def measures(fit: LineFit, factor: Relative | None) -> list[Measure]:
    """The coefficients with their errors.

    Includes the error of a common factor λ̂: d ĝ / d ln λ̂ = μ − ĝ for the intercept, −b for a slope b.
    """
    sensitivity, relative = fit.beta.copy(), 0.0
    if factor is not None:
        sensitivity[0] -= factor.centre
        relative = factor.error
    measures, errors = [], fit.realised
    for j, value in enumerate(fit.beta):
        of_lambda = abs(float(sensitivity[j])) * relative
        realised = None if errors is None else float(np.hypot(errors[j], of_lambda))
        predicted = None if fit.predicted is None else float(np.hypot(fit.predicted[j], of_lambda))
        error = None
        if realised is not None and fit.sandwich is not None and fit.sandwich.dof[j] >= _DOF_MIN:
            widened = realised * -float(special.stdtrit(fit.sandwich.dof[j], special.ndtr(-3))) / 3
            error = max(widened, predicted or 0.0)
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

"""Linear least squares on estimates, with errors that account for realizations with common noise.

Never weight by a posterior width: it depends on the estimate itself, and the weights would bias m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
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
    shape = _shape(design.tobytes(), design.shape[1], np.asarray(seed, np.int64).tobytes())
    beta = shape.inverse @ (shape.basis.T @ value)
    residual = value - design @ beta
    predicted = sandwich = None
    if shape.n_clusters == len(seed) and usable(width):
        predicted = np.linalg.norm(shape.inverse @ (shape.basis.T * width), axis=1)
    if shape.robust is not None:
        score = shape.summed(shape.basis * residual[:, None])
        influence = shape.inverse @ np.einsum("gil,gl->ig", shape.robust.root, score)
        dof = shape.robust.dof
        if usable(width):
            noise = shape.summed((shape.robust.weight * width[:, None]) ** 2)
            dof = dof * _evenness(noise.T) / shape.robust.evenness
        sandwich = Sandwich(influence, dof)
    return LineFit(beta, predicted, residual, shape.n_clusters, sandwich)


class _Robust(NamedTuple):
    """What the sandwich needs of the design and the clusters.

    Attributes:
        root: (I − leverage)^(−1/2) of each cluster, shape (cluster, k, k).
        weight: of each realization in each coefficient, shape (n, k).
        dof: Satterthwaite's degrees of freedom for equal noise, shape (k,).
        evenness: of the clusters' contributions to each coefficient, shape (k,).
    """

    root: Array
    weight: Array
    dof: Array
    evenness: Array


@dataclass(frozen=True)
class _Shape:
    """What a fit needs of the design and the clusters alone; k coefficients.

    Attributes:
        basis: orthonormal basis of the design, shape (n, k).
        inverse: from coefficients of the basis to those of the design, shape (k, k).
        order, starts: realizations sorted by cluster, and the first of each cluster among them.
        robust: None if a coefficient depends on a single cluster.
    """

    basis: Array
    inverse: Array
    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    robust: _Robust | None

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return len(self.starts)

    def summed(self, values: Array) -> Array:
        """Sums over each cluster, shape (cluster, …)."""
        return np.asarray(np.add.reduceat(values[self.order], self.starts, axis=0))


@lru_cache(maxsize=64)
def _shape(design: bytes, k: int, seed: bytes) -> _Shape:
    """The shape of a design and its seeds, by their bytes: several fits over the same realizations share it."""
    columns, seeds = np.frombuffer(design).reshape(-1, k), np.frombuffer(seed, np.int64)
    basis, triangle = np.linalg.qr(columns)
    order = np.argsort(seeds, kind="stable")
    starts = np.flatnonzero(np.diff(seeds[order], prepend=seeds[order[0]] - 1))
    shape = _Shape(basis, np.linalg.inv(triangle), order, starts, None)
    leverage = shape.summed(basis[:, :, None] * basis[:, None, :])
    left, axes = np.linalg.eigh(np.eye(k) - leverage)
    if len(starts) <= k or left.min() <= 1e-9:
        return shape
    root = np.einsum("gij,gj,glj->gil", axes, left**-0.5, axes)
    direction = np.einsum("gil,jl->jgi", root, shape.inverse)
    cluster = np.empty(len(seeds), np.int64)
    cluster[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(seeds)))
    weight = np.einsum("ni,jni->nj", basis, direction[:, cluster])
    size = np.einsum("jgi,gil,jgl->jg", direction, leverage, direction)
    return replace(shape, robust=_Robust(root, weight, _degrees(direction, leverage, size), _evenness(size)))


def _degrees(direction: Array, leverage: Array, size: Array) -> Array:
    """Satterthwaite's degrees of freedom of the sandwich for each coefficient, shape (k,), for equal noise.

    Args:
        direction: (I − leverage)^(−1/2) of each cluster, applied to each coefficient, shape (k, cluster, k).
        leverage: of each cluster, shape (cluster, k, k).
        size: contribution of each cluster to each coefficient, shape (k, cluster).
    """
    along = np.einsum("gil,jgl->jgi", leverage, direction)
    taken = np.sum(along**2, axis=2)
    # Of the matrix G with G_st = δ_st |a_s|² − b_s · b_t: its trace, and its squared Frobenius norm.
    trace = np.sum(size - taken, axis=1)
    square = np.sum((size - taken) ** 2 - taken**2, axis=1) + np.sum(
        np.einsum("jgi,jgl->jil", along, along) ** 2, axis=(1, 2)
    )
    return np.asarray(trace**2 / square)


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

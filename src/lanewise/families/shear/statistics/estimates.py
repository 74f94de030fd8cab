"""The estimates of the realizations that count, with the prior's pull removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lanewise.errors import UsageError
from lanewise.families.shear.shears import TURNED
from lanewise.families.shear.statistics.selection import Component, ShearTruth, counts, ordered
from lanewise.statistics import prior_pull
from lanewise.statistics.prior_pull import HasQuantiles
from lanewise.statistics.regression import Array, Relative, fit, usable


class Columns(NamedTuple):
    """The columns of an estimator, after `g1_` or `g2_`: mean and width, and both from half of the draws."""

    mean: str
    width: str
    half: str | None
    half_width: str | None


# By the name in the manifest. All but the posterior have no prior on the shear; they exist for populations only.
ESTIMATORS = {
    "posterior": Columns("mean", "std", "half_mean", "half_std"),
    "score": Columns("expansion", "expansion_std", "expansion_half", "expansion_std"),
    "known": Columns("known_mean", "known_std", None, None),
}
# Response of a posterior mean below which the prior cuts the likelihood: the estimate rests on its tail.
CUT = 0.3
# Attributes of `Estimates` that belong to all realizations together.
_COMMON = ("shrinkage", "response")


@dataclass(frozen=True)
class GaussianPrior:
    """The Gaussian prior on one shear component [reduced shear]."""

    mean: float
    sigma: float


@dataclass(frozen=True)
class Shrinkage:
    """Shrinkage of the posterior means towards the prior: λ̂ = 1 − ⟨σ_i²⟩ / σ_prior², pooled over the campaign.

    A posterior mean is λ ĝ_lik + (1 − λ) μ_prior. λ̂ is pooled because the mean posterior variance gives an unbiased λ̂,
    while dividing by a separate λ̂ per realization is biased (m = +4 % at S/N 20 and 1000 draws).

    Attributes:
        prior: the Gaussian prior.
        lambda_hat: 1 means no pull; None if no posterior width is known.
        error: of `lambda_hat`, the larger of the scatter between seeds and 2 σ⁴/ESS per variance.
    """

    prior: GaussianPrior
    lambda_hat: float | None
    error: float | None


@dataclass(frozen=True)
class PriorResponse:
    """Response of the posterior means under a prior that is not Gaussian; see `statistics.prior_pull`.

    Attributes:
        mean, least: of d posterior mean / d likelihood, over the realizations that are not cut, and over all; 1 means
            no pull. None if the posterior is as wide as the prior, or if its width is not known: then no pull is
            removed.
        centre: median of the prior [reduced shear].
        error: relative error of the estimates' distance from the centre.
        cut_frac: fraction of the realizations with a response below `CUT`.
        n_cut: groups with such a realization.
    """

    mean: float | None
    least: float | None
    centre: float
    error: float
    cut_frac: float = 0.0
    n_cut: int = 0


@dataclass(frozen=True, kw_only=True)
class Estimates:
    """One component of all realizations that count, without the prior's pull; arrays have shape (realization,).

    Attributes:
        run_id: one per realization.
        seed: the realizations of one seed share their noise.
        truth: true shear [reduced shear].
        value: the posterior mean without the prior's pull: μ + (posterior mean − μ)/λ̂ for a Gaussian prior, NaN if
            λ̂ ≤ 0; for another prior see `response`.
        width: width of the likelihood, σ/√λ̂ for a Gaussian prior.
        raw: posterior mean from the table.
        raw_width: posterior width from the table.
        shrinkage: None if the prior is not Gaussian.
        response: None if the prior is Gaussian or not known.
        half, half_width: posterior mean and width from the first half of each chain; NaN if not available. Under a
            prior that is not Gaussian, `half` is without its pull.
    """

    run_id: NDArray[np.str_]
    seed: NDArray[np.int64]
    truth: Array
    value: Array
    width: Array
    raw: Array
    raw_width: Array
    shrinkage: Shrinkage | None
    response: PriorResponse | None
    half: Array
    half_width: Array

    @property
    def relative(self) -> Relative | None:
        """The relative error of λ̂, or of another prior's response, for error propagation; None without a usable one."""
        if self.response is not None:
            return Relative(self.response.error, self.response.centre)
        found = self.shrinkage
        if found is None or not found.lambda_hat or found.error is None:
            return None
        return Relative(found.error / found.lambda_hat, found.prior.mean)

    @property
    def turned(self) -> NDArray[np.bool_]:
        """Which are of a galaxy that is rotated by 90°."""
        return np.asarray(np.char.endswith(self.run_id, TURNED))

    def at(self, rows: NDArray[np.bool_]) -> Estimates:
        """The estimates of the selected realizations; λ̂ stays that of all realizations."""
        return replace(self, **{name: part[rows] for name, part in vars(self).items() if name not in _COMMON})


def estimates(
    summary: pd.DataFrame,
    component: Component,
    prior: GaussianPrior | HasQuantiles | None,
    missing: Sequence[ShearTruth] = (),
    estimator: str = "posterior",
) -> Estimates:
    """The estimates of the realizations that count, with the prior's pull on this component removed.

    Args:
        summary: the whole table; rows that do not count are dropped here.
        component: g1 or g2.
        prior: None if it is not known; then no pull is removed.
        missing: realizations of the plan that are not in the table.
        estimator: a key of `ESTIMATORS` whose columns the table has.
    """
    rows, columns = ordered(summary[counts(summary, missing)]), ESTIMATORS[estimator]
    if f"{component}_{columns.mean}" not in rows:
        text = f"the summary has no column {component}_{columns.mean}, which acceptance.estimator: {estimator} needs"
        raise UsageError(f"{text}; it is that of a population")

    def column(name: str | None) -> Array:
        if name is None:
            return np.full(len(rows), np.nan)
        return pd.to_numeric(rows[f"{component}_{name}"]).to_numpy(np.float64)

    seed, raw, width = rows["seed"].to_numpy(np.int64), column(columns.mean), column(columns.width)
    found = Estimates(
        run_id=rows["run_id"].to_numpy(np.str_),
        seed=seed,
        truth=column("true"),
        value=raw,
        width=width,
        raw=raw,
        raw_width=width,
        shrinkage=None,
        response=None,
        half=column(columns.half),
        half_width=column(columns.half_width),
    )
    if estimator != "posterior":
        return found
    return without_pull(found, prior, pd.to_numeric(rows[f"ess_{component}"]).to_numpy(np.float64))


def without_pull(data: Estimates, prior: GaussianPrior | HasQuantiles | None, ess: Array) -> Estimates:
    """The estimates of raw posterior means, with the prior's pull removed.

    Args:
        data: whose `value` and `width` are the raw ones.
        prior: None if it is not known; then no pull is removed.
        ess: effective sample size of each posterior, shape (realization,); NaN if not known.
    """
    if prior is None or not np.isfinite(data.raw).any():
        return data
    if not isinstance(prior, GaussianPrior):
        return _freed(data, prior)
    shrinkage = _shrinkage(prior, data.raw_width, ess, data.seed)
    pull = np.nan if shrinkage.lambda_hat is None or shrinkage.lambda_hat <= 0 else shrinkage.lambda_hat
    value = prior.mean + (data.raw - prior.mean) / pull
    return replace(data, value=value, width=data.raw_width / np.sqrt(pull), shrinkage=shrinkage)


def _freed(data: Estimates, prior: HasQuantiles) -> Estimates:
    """The estimates without the pull of a prior that is not Gaussian."""
    centre = prior.quantile(0.5)
    found = None
    if usable(data.raw_width) and np.all(np.isfinite(data.raw)):
        found = prior_pull.freed(prior, data.raw, data.raw_width**2, data.half)
    if found is None:
        return replace(data, response=PriorResponse(None, None, centre, 0.0))
    cut = found.response < CUT
    response = PriorResponse(
        mean=float(found.response[~cut].mean()) if not cut.all() else 0.0,
        least=float(found.response.min()),
        centre=centre,
        error=found.error,
        cut_frac=float(cut.mean()),
        n_cut=len(np.unique(data.seed[cut])),
    )
    width = data.raw_width / np.sqrt(found.response)
    return replace(data, value=found.value, width=width, half=found.other, response=response)


def _shrinkage(prior: GaussianPrior, width: Array, ess: Array, seed: NDArray[np.int64]) -> Shrinkage:
    known = np.isfinite(width)
    if not known.any():
        return Shrinkage(prior, None, None)
    share = (width[known] / prior.sigma) ** 2
    mean = fit(np.ones((len(share), 1)), value=share, width=np.full_like(share, np.nan), seed=seed[known])
    assert mean is not None  # share is finite and not empty
    errors = [] if mean.realised is None else [float(mean.realised[0])]
    if np.all(np.nan_to_num(ess[known]) > 0):
        errors.append(float(np.sqrt(np.sum(2 * share**2 / ess[known])) / len(share)))
    # If neither error exists, assume 100 % error on ⟨σ²⟩.
    return Shrinkage(prior, float(1 - mean.beta[0]), max(errors, default=float(mean.beta[0])))

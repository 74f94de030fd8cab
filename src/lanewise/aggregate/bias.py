"""Multiplicative and additive shear bias from a summary table: ĝ = (1 + m) g + c, per component.

Each component goes through three steps. The posterior means are freed of the prior's pull (`Shrinkage`),
regressed on the truth with equal weights (`component_bias`), and given two errors (`Measure`): one from the
scatter that was realised, one predicted from the posterior widths.

Never weight by a posterior width: it depends on the estimate itself, and the weights would bias m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Component = Literal["g1", "g2"]
COMPONENTS: tuple[Component, Component] = ("g1", "g2")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianPrior:
    """The Gaussian prior on one shear component [reduced shear]."""

    mean: float
    sigma: float


@dataclass(frozen=True)
class ShearTruth:
    """What a realization was, or would have been, simulated with; the shear is reduced shear."""

    run_id: str
    g1: float
    g2: float
    seed: int


@dataclass(frozen=True)
class Measure:
    """A number with its errors.

    Attributes:
        value: the estimate.
        error: what a verdict uses, the larger of the two below: with few realizations the realised
            scatter may be small by accident. Where no error is predicted, the realised one is widened by
            Student's t, so that three of it hold 99.73 % at any number of seeds. None where neither exists.
        error_realised: from the scatter between seeds (sandwich); None if there are too few of them.
        error_predicted: from the posterior widths; None if a width is missing or zero, or if seeds are
            shared, since the widths do not tell how much noise the members of a pair share.
    """

    value: float
    error: float | None
    error_realised: float | None
    error_predicted: float | None


@dataclass(frozen=True)
class Shrinkage:
    """How far the prior on g lets the data speak: λ̂ = 1 − ⟨σ_i²⟩ / σ_prior², pooled over the campaign.

    One posterior mean is λ ĝ_lik + (1 − λ) μ_prior. Pooled, since posterior variances estimate λ without
    bias, while a division per realization does not (it gave m = +4 % at S/N 20 and 1000 draws).

    Attributes:
        prior: the prior that pulls.
        lambda_hat: 1 is no pull at all; None if no posterior width is known.
        error: of `lambda_hat`, the larger of the scatter between seeds and 2 σ⁴/ESS per variance.
    """

    prior: GaussianPrior
    lambda_hat: float | None
    error: float | None


@dataclass(frozen=True)
class Estimates:
    """One component of all realizations that count, freed of the prior's pull.

    Attributes:
        run_id: one per realization.
        seed: the realizations of one seed share their noise.
        truth: true shear [reduced shear].
        value: μ + (posterior mean − μ)/λ̂; the posterior mean itself where there is no Gaussian prior, NaN
            where λ̂ ≤ 0.
        width: width of the likelihood, σ/√λ̂.
        raw: posterior mean as it stands in the table.
        raw_width: posterior width as it stands in the table.
        shrinkage: None if the prior is not Gaussian.
    """

    run_id: tuple[str, ...]
    seed: NDArray[np.int64]
    truth: Array
    value: Array
    width: Array
    raw: Array
    raw_width: Array
    shrinkage: Shrinkage | None

    def at(self, rows: NDArray[np.bool_]) -> Estimates:
        """The estimates of some of the realizations, with the λ̂ of all."""
        names = tuple(name for name, kept in zip(self.run_id, rows, strict=True) if kept)
        return Estimates(
            names,
            self.seed[rows],
            self.truth[rows],
            self.value[rows],
            self.width[rows],
            self.raw[rows],
            self.raw_width[rows],
            self.shrinkage,
        )


@dataclass(frozen=True)
class Pulls:
    """(estimate − truth) / width over the realizations; about N(0, 1) if widths and model are right."""

    n: int
    rms: float
    max_abs: float
    max_abs_run_id: str


@dataclass(frozen=True)
class ComponentBias:
    """The bias of one component.

    Attributes:
        component: g1 or g2.
        n: realizations that entered.
        n_clusters: distinct seeds among them.
        m: slope − 1; None if the truths are all equal.
        c: intercept at zero shear [reduced shear]; mean − truth if the truths are all equal.
        m_single_point: ĝ/g − 1 of a campaign with one nonzero truth, c taken to be zero; else None.
        raw_m, raw_c: the same regression of the raw posterior means, prior's pull included.
        shrinkage: None if the prior on this component is not Gaussian or the component is not inferred.
        chi2, dof: of the residuals of the line against the posterior widths.
        pulls: None where a width is missing or zero.
    """

    component: Component
    n: int
    n_clusters: int
    m: Measure | None
    c: Measure | None
    m_single_point: Measure | None
    raw_m: float | None
    raw_c: float | None
    shrinkage: Shrinkage | None
    chi2: float | None
    dof: int
    pulls: Pulls | None


@dataclass(frozen=True)
class PointEstimate:
    """One component at one shear point: mean, scatter of one realization, and ĝ/g − 1 (None at g = 0)."""

    mean: Measure
    std: float | None
    m: Measure | None


@dataclass(frozen=True)
class PointBias:
    """One shear point: what was planned, computed and left out there, and what came out.

    Attributes:
        g1_true, g2_true: the true shear [reduced shear].
        n_planned: computed and missing.
        n_used, n_excluded, n_missing: entered; computed, but does not count; not computed yet.
        n_unpaired: of the excluded, arms of a ±g pair whose other arm is not computed yet.
        g1, g2: None where nothing entered.
    """

    g1_true: float
    g2_true: float
    n_planned: int
    n_used: int
    n_excluded: int
    n_missing: int
    n_unpaired: int
    g1: PointEstimate | None
    g2: PointEstimate | None


class _Arm(NamedTuple):
    """What tells the members of ±g pairs from each other."""

    seed: int
    g1: float
    g2: float

    @property
    def partner(self) -> _Arm:
        """The other arm of its pair; itself at zero shear."""
        # 0.0 − g, since −0.0 is no shear of a plan.
        return _Arm(self.seed, 0.0 - self.g1, 0.0 - self.g2)


@dataclass(frozen=True)
class _Fit:
    """Least squares with equal weights: coefficients (k,), their two errors (k,), residuals (n,)."""

    beta: Array
    realised: Array | None
    predicted: Array | None
    residual: Array
    n_clusters: int


def ordered(summary: pd.DataFrame) -> pd.DataFrame:
    """The table in the order of shear, seed and run id, so that no number depends on the order of chunks."""
    return summary.sort_values(["g1_true", "g2_true", "seed", "run_id"], kind="stable", ignore_index=True)


def counts(summary: pd.DataFrame, missing: Sequence[ShearTruth] = ()) -> pd.Series[bool]:
    """Which rows count: convergence passed, a finite estimate of every component that is inferred, and a pair whole.

    The arms of a ±g pair (one seed, opposite shear) share their noise, which cancels only between them: an arm whose
    partner does not count, or is not there, is left out too.

    Args:
        missing: realizations of the plan that are not in the table.
    """
    fine = passed(summary)
    lost = {arm for arm, counts_itself in zip(_arms(summary), fine, strict=True) if not counts_itself}
    return fine & ~_partner_in(summary, lost | _absent(summary, missing))


def unpaired(summary: pd.DataFrame, missing: Sequence[ShearTruth] = ()) -> pd.Series[bool]:
    """Which rows would count, were the other arm of their pair in the table."""
    return passed(summary) & _partner_in(summary, _absent(summary, missing))


def passed(summary: pd.DataFrame) -> pd.Series[bool]:
    """Which rows count for themselves, whatever became of the other arm of a pair."""
    fine = summary["passed_convergence"].map(lambda v: str(v).lower() == "true").astype(bool)
    for component in COMPONENTS:
        finite = np.isfinite(pd.to_numeric(summary[f"{component}_mean"]))
        if (finite & fine).any():
            fine &= finite
    return fine & bool(inferred(summary))


def _arms(summary: pd.DataFrame) -> list[_Arm]:
    return [_Arm(*row) for row in zip(summary["seed"], summary["g1_true"], summary["g2_true"], strict=True)]


def _partner_in(summary: pd.DataFrame, arms: set[_Arm]) -> NDArray[np.bool_]:
    return np.array([arm.partner in arms for arm in _arms(summary)], bool)


def _absent(summary: pd.DataFrame, missing: Sequence[ShearTruth]) -> set[_Arm]:
    """Arms that are planned, or must have been, and are not in the table."""
    there = set(_arms(summary))
    pairs = {arm for arm in there if arm.partner != arm and arm.partner in there}
    # Of a bare table the plan is unknown; but where one pair is whole, every arm has a partner.
    partners = {arm.partner for arm in there} if pairs else set()
    return {_Arm(t.seed, t.g1, t.g2) for t in missing} | (partners - there)


def inferred(summary: pd.DataFrame) -> tuple[Component, ...]:
    """Components with at least one finite estimate; a component held fixed by the config has none."""
    return tuple(k for k in COMPONENTS if np.isfinite(pd.to_numeric(summary[f"{k}_mean"])).any())


def estimates(
    summary: pd.DataFrame, component: Component, prior: GaussianPrior | None, missing: Sequence[ShearTruth] = ()
) -> Estimates:
    """The realizations that count, with the prior's pull on this component taken out.

    Args:
        summary: the whole table; rows that do not count are left out here.
        component: g1 or g2.
        prior: None if it is not Gaussian; the posterior means are then taken as they are.
        missing: realizations of the plan that are not in the table.
    """
    rows = ordered(summary[counts(summary, missing)])
    truth, raw, width = (
        pd.to_numeric(rows[f"{component}_{column}"]).to_numpy(np.float64) for column in ("true", "mean", "std")
    )
    ess = pd.to_numeric(rows[f"ess_{component}"]).to_numpy(np.float64)
    seed = rows["seed"].to_numpy(np.int64)
    names = tuple(str(name) for name in rows["run_id"])
    if prior is None or not np.isfinite(raw).any():
        return Estimates(names, seed, truth, raw, width, raw, width, None)
    shrinkage = _shrinkage(prior, width, ess, seed)
    pull = np.nan if shrinkage.lambda_hat is None or shrinkage.lambda_hat <= 0 else shrinkage.lambda_hat
    value = prior.mean + (raw - prior.mean) / pull
    return Estimates(names, seed, truth, value, width / np.sqrt(pull), raw, width, shrinkage)


def component_bias(component: Component, data: Estimates) -> ComponentBias:
    """m and c of one component.

    λ̂ is common to all realizations: a raw line a + b g becomes 1 + m = b/λ̂ and c = (a − (1 − λ̂) μ)/λ̂. The
    error of λ̂ enters in quadrature: where σ_i varies, slope and λ̂ vary together, and this overstates it.
    """
    n, one_truth = len(data.truth), len(np.unique(data.truth)) == 1
    fit = _fit(_design(data.truth), data.value, data.width, data.seed)
    raw = _fit(_design(data.truth), data.raw, data.width, data.seed)
    m = c = single = None
    if fit is not None:
        terms = _measures(fit, data.shrinkage)
        truth = float(data.truth[0])
        c = _shifted(terms[0], -truth if one_truth else 0.0)
        m = None if one_truth else _shifted(terms[1], -1.0)
        single = _ratio(terms[0], truth) if one_truth else None
    chi2 = None if fit is None or not _usable(data.width) else float(np.sum((fit.residual / data.width) ** 2))
    return ComponentBias(
        component=component,
        n=n if fit is not None else 0,
        n_clusters=fit.n_clusters if fit is not None else 0,
        m=m,
        c=c,
        m_single_point=single,
        raw_m=None if raw is None or one_truth else float(raw.beta[1] - 1),
        raw_c=None if raw is None else float(raw.beta[0] - (data.truth[0] if one_truth else 0.0)),
        shrinkage=data.shrinkage,
        chi2=chi2,
        dof=0 if fit is None else n - len(fit.beta),
        pulls=_pulls(data) if fit is not None else None,
    )


def point_estimate(data: Estimates) -> PointEstimate | None:
    """Mean and scatter of one component over realizations of one truth; None if nothing counts there."""
    fit = _fit(np.ones((len(data.truth), 1)), data.value, data.width, data.seed)
    if fit is None:
        return None
    mean = _measures(fit, data.shrinkage)[0]
    std = float(np.std(data.value, ddof=1)) if len(data.value) > 1 else None
    return PointEstimate(mean, std, _ratio(mean, float(data.truth[0])))


def _shrinkage(prior: GaussianPrior, width: Array, ess: Array, seed: NDArray[np.int64]) -> Shrinkage:
    known = np.isfinite(width)
    if not known.any():
        return Shrinkage(prior, None, None)
    share = (width[known] / prior.sigma) ** 2
    fit = _fit(np.ones((len(share), 1)), share, np.full_like(share, np.nan), seed[known])
    assert fit is not None  # share is finite and not empty
    errors = [] if fit.realised is None else [float(fit.realised[0])]
    if np.all(np.nan_to_num(ess[known]) > 0):
        errors.append(float(np.sqrt(np.sum(2 * share**2 / ess[known])) / len(share)))
    # With neither, ⟨σ²⟩ is taken to be as unsure as it is large.
    return Shrinkage(prior, float(1 - fit.beta[0]), max(errors, default=float(fit.beta[0])))


def _design(truth: Array) -> Array:
    ones = np.ones_like(truth)
    return ones[:, None] if len(np.unique(truth)) == 1 else np.stack([ones, truth], axis=1)


def _fit(design: Array, value: Array, width: Array, seed: NDArray[np.int64]) -> _Fit | None:
    """Least squares with equal weights, cluster-robust errors; None if a value is undefined or there is none.

    The sandwich scales each cluster's score by (1 − leverage)^(−1/2), which leaves the variance unbiased
    in small samples if the noise is the same everywhere. Undefined if one cluster alone fixes a coefficient.

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
    if len(seeds) == len(seed) and _usable(width):
        predicted = np.linalg.norm(inverse @ (basis.T * width), axis=1)
    score, leverage = np.zeros((len(seeds), k)), np.zeros((len(seeds), k, k))
    np.add.at(score, cluster, basis * residual[:, None])
    np.add.at(leverage, cluster, basis[:, :, None] * basis[:, None, :])
    left, axes = np.linalg.eigh(np.eye(k) - leverage)
    if len(seeds) > k and left.min() > 1e-9:
        adjusted = np.einsum("gij,gj,glj,gl->gi", axes, left**-0.5, axes, score)
        realised = np.linalg.norm(inverse @ adjusted.T, axis=1)
    return _Fit(beta, realised, predicted, residual, len(seeds))


def _measures(fit: _Fit, shrinkage: Shrinkage | None) -> list[Measure]:
    """The coefficients with their errors, that of λ̂ included (d ĝ / d ln λ̂ = μ − ĝ, and −b for a slope b)."""
    sensitivity, relative = fit.beta.copy(), 0.0
    if shrinkage is not None and shrinkage.lambda_hat and shrinkage.error is not None:
        sensitivity[0] -= shrinkage.prior.mean
        relative = shrinkage.error / shrinkage.lambda_hat
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


def _shifted(measure: Measure, by: float) -> Measure:
    return Measure(measure.value + by, measure.error, measure.error_realised, measure.error_predicted)


def _ratio(mean: Measure, truth: float) -> Measure | None:
    if truth == 0:
        return None
    errors = (mean.error, mean.error_realised, mean.error_predicted)
    return Measure(mean.value / truth - 1, *(None if e is None else e / abs(truth) for e in errors))


def _usable(width: Array) -> bool:
    return bool(np.all(np.isfinite(width)) and np.all(width > 0))


def _pulls(data: Estimates) -> Pulls | None:
    if not _usable(data.width):
        return None
    pull = (data.value - data.truth) / data.width
    worst = int(np.argmax(np.abs(pull)))
    rms = float(np.sqrt(np.mean(pull**2)))
    return Pulls(len(pull), rms, float(np.abs(pull[worst])), data.run_id[worst])

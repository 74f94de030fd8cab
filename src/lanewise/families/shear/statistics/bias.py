"""Multiplicative and additive shear bias from a summary table: ĝ = (1 + m) g + c, per component.

There are three steps per component: remove the prior's pull from the posterior means (`estimates`), regress them on the
truth with equal weights (`component_bias`), and compute two errors (`Measure`), one from the realised scatter and one
predicted from the posterior widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lanewise.families.shear.statistics import pairs
from lanewise.families.shear.statistics.estimates import Estimates, PriorResponse, Shrinkage
from lanewise.families.shear.statistics.pairs import Pairs
from lanewise.families.shear.statistics.selection import Component
from lanewise.statistics.regression import (
    LineFit,
    Measure,
    design,
    divided,
    fit,
    measures,
    ratio,
    shifted,
    usable,
)

# 99.9 % of a normal distribution lie within this many standard deviations.
_WITHIN = 3.29


@dataclass(frozen=True)
class Pulls:
    """Statistics of (estimate − truth) / width; about N(0, 1) if widths and model are correct."""

    n: int
    rms: float
    max_abs: float
    max_abs_run_id: str


@dataclass(frozen=True)
class EndPoint:
    """m at one end of the range of |g| [reduced shear], with a cubic response."""

    g: float
    m: Measure


@dataclass(frozen=True)
class ComponentBias:
    """The bias of one component.

    Attributes:
        component: g1 or g2.
        n: realizations that entered.
        n_clusters: number of distinct seeds.
        m: slope − 1; None if the truths are all equal.
        c: intercept at zero shear [reduced shear]; mean − truth if the truths are all equal.
        m_single_point: ĝ/g − 1 for a campaign with one nonzero truth, assuming c = 0; else None.
        raw_m, raw_c: m and c from the raw posterior means, with the prior's pull.
        cubic: coefficient of g³ from a separate fit; None if the truths do not determine it.
        m_ends: m of the cubic fit at the smallest and largest nonzero |g|; empty if the truths do not determine it.
        m_lost, c_lost: largest change of m and c if the lost groups had entered, their contributions within the 99.9 %
            range of those that entered and of the worst signs; None if no scatter is known. Groups whose likelihood
            the prior cuts count as lost.
        shrinkage: None if the prior on this component is not Gaussian or the component is not inferred.
        response: None unless the prior on this component is known and not Gaussian.
        chi2, dof: of the residuals from the line, with the posterior widths as errors.
        pulls: None if a width is missing or zero.
        pairs: m and c from the differences and sums of ±g pairs; None without pairs.
    """

    component: Component
    n: int
    n_clusters: int
    m: Measure | None
    c: Measure | None
    m_single_point: Measure | None
    raw_m: float | None
    raw_c: float | None
    cubic: Measure | None
    m_ends: tuple[EndPoint, ...]
    m_lost: float | None
    c_lost: float | None
    shrinkage: Shrinkage | None
    response: PriorResponse | None
    chi2: float | None
    dof: int
    pulls: Pulls | None
    pairs: Pairs | None


@dataclass(frozen=True)
class PointEstimate:
    """One component at one shear point.

    Attributes:
        mean: mean of the estimates.
        std: standard deviation of the estimates; None for a single one.
        m: ĝ/g − 1; None at g = 0.
        product: g at the maximum of the product of likelihoods, without λ̂; None without Gaussian prior and widths.
    """

    mean: Measure
    std: float | None
    m: Measure | None
    product: Measure | None


@dataclass(frozen=True)
class PointBias:
    """Counts and estimates at one shear point.

    Attributes:
        g1_true, g2_true: the true shear [reduced shear].
        n_planned: computed plus missing.
        n_used, n_excluded, n_missing: entered; computed but not counted; not computed yet.
        n_unpaired: excluded arms of a ±g pair whose other arm is not computed yet.
        g1, g2: None if no realization entered.
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


def component_bias(component: Component, data: Estimates, n_lost: int = 0) -> ComponentBias:
    """m and c of one component.

    Args:
        n_lost: number of groups that were excluded or are missing.

    λ̂ is common to all realizations: a raw line a + b g gives 1 + m = b/λ̂ and c = (a − (1 − λ̂) μ)/λ̂. The error of λ̂ is
    added in quadrature. This overstates the error if σ_i varies, because slope and λ̂ are then correlated.
    """
    n, one_truth = len(data.truth), len(np.unique(data.truth)) == 1
    line = fit(design(data.truth), value=data.value, width=data.width, seed=data.seed)
    raw = fit(design(data.truth), value=data.raw, width=data.width, seed=data.seed)
    m = c = single = m_lost = c_lost = None
    if line is not None:
        terms = measures(line, data.relative)
        truth = float(data.truth[0])
        c_lost, m_lost = _lost(line, n_lost + (data.response.n_cut if data.response else 0))
        if one_truth:
            m_lost = None if c_lost is None or truth == 0 else c_lost / abs(truth)
        c = shifted(terms[0], -truth if one_truth else 0.0)
        m = None if one_truth else shifted(terms[1], -1.0)
        single = ratio(terms[0], truth) if one_truth else None
    curves = _curves(data)
    chi2 = None if line is None or not usable(data.width) else float(np.sum((line.residual / data.width) ** 2))
    return ComponentBias(
        component=component,
        n=n if line is not None else 0,
        n_clusters=line.n_clusters if line is not None else 0,
        m=m,
        c=c,
        m_single_point=single,
        raw_m=None if raw is None or one_truth else float(raw.beta[1] - 1),
        raw_c=None if raw is None else float(raw.beta[0] - (data.truth[0] if one_truth else 0.0)),
        cubic=curves[0][1][1] if curves else None,
        m_ends=tuple(EndPoint(g, shifted(slope, -1.0)) for g, (slope, _) in curves),
        m_lost=m_lost,
        c_lost=c_lost,
        shrinkage=data.shrinkage,
        response=data.response,
        chi2=chi2,
        dof=0 if line is None else n - len(line.beta),
        pulls=_pulls(data) if line is not None else None,
        pairs=pairs.pairs(data) if line is not None else None,
    )


def point_estimate(data: Estimates) -> PointEstimate | None:
    """Mean and scatter of one component over realizations with one truth; None if no realization counts."""
    line = fit(np.ones((len(data.truth), 1)), value=data.value, width=data.width, seed=data.seed)
    if line is None:
        return None
    mean = measures(line, data.relative)[0]
    std = float(np.std(data.value, ddof=1)) if len(data.value) > 1 else None
    return PointEstimate(mean, std, ratio(mean, float(data.truth[0])), _product(data))


def _product(data: Estimates) -> Measure | None:
    """The g that maximises Σ ln L_i(g), where L_i = posterior / prior, both Gaussian.

    Only a check, not used for the verdict: it weights by posterior widths. None if the sum has no maximum.
    """
    if data.shrinkage is None or not usable(data.raw_width):
        return None
    prior = data.shrinkage.prior
    precision, pull = data.raw_width**-2.0, prior.sigma**-2.0
    total = float(np.sum(precision - pull))
    if total <= 0:
        return None
    error = total**-0.5 if len(np.unique(data.seed)) == len(data.seed) else None
    return Measure(float(np.sum(data.raw * precision - prior.mean * pull)) / total, error, None, error)


def _curves(data: Estimates) -> list[tuple[float, tuple[Measure, Measure]]]:
    """The cubic fit for both ends of the range of nonzero |g|: k g² is monotonic, so that one of them is worst.

    Returns:
        |g|, and slope and k as of `_curve`; empty if the truths do not determine k, which is the same for both.
    """
    sizes = np.abs(data.truth[data.truth != 0])
    found = [(float(g), _curve(data, float(g))) for g in ((sizes.min(), sizes.max()) if len(sizes) else ())]
    return [(g, curve) for g, curve in found if curve is not None]


def _curve(data: Estimates, at: float) -> tuple[Measure, Measure] | None:
    """Slope from zero to |g| = `at`, and k, of ĝ = c + a g + k (g³ − at² g); None if the truths do not determine k."""
    reach = float(np.max(np.abs(data.truth), initial=0.0))
    if reach == 0:
        return None
    scaled = data.truth / reach
    columns = np.stack([np.ones_like(scaled), scaled, scaled**3 - (at / reach) ** 2 * scaled], axis=1)
    if np.linalg.matrix_rank(columns) < columns.shape[1]:
        return None
    curve = fit(columns, value=data.value, width=data.width, seed=data.seed)
    if curve is None:
        return None
    _, slope, cubic = measures(curve, data.relative)
    return divided(slope, reach), divided(cubic, reach**3)


def _lost(line: LineFit, n_lost: int) -> tuple[float | None, float | None]:
    """Largest change of intercept and slope by `n_lost` further groups; the slope is None if there is none."""
    if n_lost == 0:
        return 0.0, 0.0
    if line.sandwich is None:
        return None, None
    scatter = np.sqrt(np.mean(line.sandwich.influence**2, axis=1))
    change = n_lost * line.n_clusters / (line.n_clusters + n_lost) * _WITHIN * scatter
    return float(change[0]), float(change[1]) if len(change) > 1 else None


def _pulls(data: Estimates) -> Pulls | None:
    if not usable(data.width):
        return None
    pull = (data.value - data.truth) / data.width
    worst = int(np.argmax(np.abs(pull)))
    rms = float(np.sqrt(np.mean(pull**2)))
    return Pulls(len(pull), rms, float(np.abs(pull[worst])), str(data.run_id[worst]))

"""From a summary table to everything that `stats/bias_results.json` says, in one tree of values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lanewise.families.shear.statistics import bias, selection
from lanewise.families.shear.statistics.bias import ComponentBias, PointBias
from lanewise.families.shear.statistics.criteria import Bounds, Evidence, bounds_of, decide
from lanewise.families.shear.statistics.estimates import ESTIMATORS, Estimates, GaussianPrior, estimates
from lanewise.families.shear.statistics.joint import Joint, joint
from lanewise.families.shear.statistics.selection import Component, ShearTruth, Signs
from lanewise.families.shear.statistics.tally import Excluded, Tally, excluded, tally, with_truth
from lanewise.manifest.manifest import Acceptance
from lanewise.manifest.protocols import DamagedChunk
from lanewise.statistics.prior_pull import HasQuantiles
from lanewise.statistics.sequential import Reach
from lanewise.statistics.verdict import Decision, lines

FORMAT_VERSION = 2


@dataclass(frozen=True)
class Extreme:
    """The largest or smallest value of a diagnostic over all realizations, and whose it is."""

    value: float
    run_id: str


@dataclass(frozen=True)
class ConvergenceExtremes:
    """How the chains fared, of all realizations that were computed; None where a method has no such number.

    Attributes:
        rhat, ess: the largest R̂ and smallest effective sample size of g1 and g2.
        khat: the largest Pareto k̂.
        misfit_p, peak_sigma: the smallest p-value of a fit, and its largest residual in a matched filter [σ].
        divergences: in all.
    """

    rhat: Extreme | None
    ess: Extreme | None
    khat: Extreme | None
    misfit_p: Extreme | None
    peak_sigma: Extreme | None
    divergences: int | None


@dataclass(frozen=True)
class Outlier:
    """A realization far from its truth.

    Attributes:
        component, pull: the component with the larger |pull|, and its (estimate − truth) / width.
        chi2, n_pixels: of the image against the model at the posterior mean, without masked pixels.
    """

    run_id: str
    component: str
    pull: float
    chi2: float
    n_pixels: int


@dataclass(frozen=True)
class Chains:
    """The realization with the largest R̂.

    Attributes:
        rhat, ess: of g1 or g2, whichever is worse.
    """

    run_id: str
    rhat: float
    ess: float
    n_chains: int
    n_draws: int


@dataclass(frozen=True)
class BiasResults:
    """What a shear campaign came to; the content of `stats/bias_results.json`.

    Attributes:
        format_version: raised when a reader of the file must change.
        verdict: on the campaign, with every criterion.
        acceptance: what the manifest asked for, and where it is silent its level.
        tally: of all realizations.
        g1, g2: None if the component was not inferred, or nothing of it counts.
        convergence: of the chains.
        outliers: realizations farthest from their truth, farthest first; empty for a bare table.
        chains: the realization whose chains agree least; None without chains, or for a bare table.
        joint: numbers that need the independent groups, or both components.
        signs: failures by the sign of g; None without pairs.
        points: every shear point of the plan, by g1, then g2.
        excluded: computed, but not counted.
        missing: planned, but not computed yet, or of a chunk that is damaged.
        damaged: committed chunks that cannot be read.
    """

    format_version: int
    verdict: Decision
    acceptance: Bounds
    tally: Tally
    g1: ComponentBias | None
    g2: ComponentBias | None
    joint: Joint
    signs: Signs | None
    convergence: ConvergenceExtremes
    outliers: tuple[Outlier, ...]
    chains: Chains | None
    points: tuple[PointBias, ...]
    excluded: tuple[Excluded, ...]
    missing: tuple[ShearTruth, ...]
    damaged: tuple[DamagedChunk, ...]

    def __repr__(self) -> str:
        """The verdict and its reasons."""
        return "\n".join(lines(self.verdict))

    @property
    def components(self) -> tuple[ComponentBias, ...]:
        """The components that have numbers."""
        return tuple(b for b in (self.g1, self.g2) if b is not None)


def evaluate(
    summary: pd.DataFrame,
    *,
    priors: tuple[GaussianPrior | None, GaussianPrior | None],
    acceptance: Acceptance,
    missing: Sequence[ShearTruth] = (),
    damaged: Sequence[DamagedChunk] = (),
    unlike: Mapping[Component, HasQuantiles] | None = None,
    psf_shape: tuple[float, float] = (0.0, 0.0),
    n_per_count: int | None = None,
    reach: Reach = Reach(),  # noqa: B008  an immutable value
) -> BiasResults:
    """Numbers and verdict of a campaign.

    Args:
        summary: the table of `summary.csv`, one row per realization, in any order.
        priors: on g1 and g2; None where the prior is not Gaussian or the component is not inferred.
        acceptance: the manifest's bounds.
        missing: realizations of the plan that the table does not hold, in any order.
        damaged: committed chunks that cannot be read; what they held is missing.
        unlike: priors that are not Gaussian, by component.
        psf_shape: ellipticity of the point-spread function [reduced shear].
        n_per_count: realizations that one more of `realizations.count` brings; None if that is not known.
        reach: errors between a number and its bound that decide; more than three for an extended campaign.
    """
    bounds = bounds_of(acceptance, reach)
    every = selection.ordered(summary)
    rows = every[with_truth(every)].reset_index(drop=True)
    every_absent = tuple(sorted(missing, key=lambda t: (t.g1, t.g2, t.seed, t.run_id)))
    absent = tuple(truth for truth in every_absent if math.isfinite(truth.g1 + truth.g2))
    counted = selection.counts(rows, absent)
    names = selection.inferred(rows[counted])
    chosen = dict(zip(selection.COMPONENTS, priors, strict=True))

    def of(estimator: str) -> dict[Component, Estimates]:
        return {k: estimates(rows, k, chosen[k] or (unlike or {}).get(k), absent, estimator) for k in names}

    data = of(bounds.estimator)
    others = {
        one: of(one)
        for one, columns in ESTIMATORS.items()
        if one != bounds.estimator and {f"{k}_{columns.mean}" for k in names} <= set(rows)
    }
    n_lost = selection.n_lost(rows, counted, absent)
    biases = {k: bias.component_bias(k, data[k], n_lost) for k in names}
    unpaired = selection.unpaired(rows, absent)
    points = _points(rows, counted, unpaired, data, absent)
    together, signs = joint(data, biases, psf_shape, others), selection.signs(rows)
    counts = tally(
        every,
        n_used=int(counted.sum()),
        n_missing=len(absent),
        n_missing_without_truth=len(every_absent) - len(absent),
    )
    found = Evidence(
        tally=counts,
        biases=list(biases.values()),
        data=list(data.values()),
        points=points,
        groups=selection.groups(rows, absent),
        signs=signs,
        galaxies=selection.galaxy_signs(rows),
        draws=together.finite_draws,
        n_per_count=n_per_count,
    )
    return BiasResults(
        format_version=FORMAT_VERSION,
        verdict=decide(found, bounds),
        acceptance=bounds,
        tally=counts,
        g1=biases.get("g1"),
        g2=biases.get("g2"),
        joint=together,
        signs=signs,
        convergence=_convergence(rows),
        outliers=(),
        chains=None,
        points=points,
        excluded=_lost(rows[~counted], selection.passed(rows)[~counted], unpaired[~counted]),
        missing=every_absent,
        damaged=tuple(damaged),
    )


def _points(
    rows: pd.DataFrame,
    counted: pd.Series[bool],
    unpaired: pd.Series[bool],
    data: Mapping[Component, Estimates],
    missing: Sequence[ShearTruth],
) -> tuple[PointBias, ...]:
    shears = list(zip(rows["g1_true"].astype(float), rows["g2_true"].astype(float), strict=True))
    enters = counted.to_numpy(bool)
    points = []
    for shear in sorted({*shears, *((t.g1, t.g2) for t in missing)}):
        here = np.array([s == shear for s in shears], dtype=bool)
        n_computed, n_used = int(here.sum()), int((here & enters).sum())
        n_missing = sum((t.g1, t.g2) == shear for t in missing)
        estimated = {k: bias.point_estimate(data[k].at(here[enters])) for k in data}
        points.append(
            PointBias(
                g1_true=shear[0],
                g2_true=shear[1],
                n_planned=n_computed + n_missing,
                n_used=n_used,
                n_excluded=n_computed - n_used,
                n_missing=n_missing,
                n_unpaired=int((here & unpaired.to_numpy(bool)).sum()),
                g1=estimated.get("g1"),
                g2=estimated.get("g2"),
            )
        )
    return tuple(points)


def _convergence(rows: pd.DataFrame) -> ConvergenceExtremes:
    def extreme(columns: Sequence[str], *, largest: bool) -> Extreme | None:
        found = [
            (float(value), str(name))
            for column in columns
            for value, name in zip(pd.to_numeric(rows[column]), rows["run_id"], strict=True)
            if np.isfinite(value)
        ]
        return Extreme(*(max(found) if largest else min(found))) if found else None

    diverging = pd.to_numeric(rows["divergences"]).dropna()
    return ConvergenceExtremes(
        rhat=extreme(("rhat_g1", "rhat_g2"), largest=True),
        ess=extreme(("ess_g1", "ess_g2"), largest=False),
        khat=extreme(("khat",), largest=True),
        misfit_p=extreme(("misfit_p",), largest=False),
        peak_sigma=extreme(("peak_sigma",), largest=True),
        divergences=int(diverging.sum()) if len(diverging) else None,
    )


def _lost(rows: pd.DataFrame, passed: pd.Series[bool], unpaired: pd.Series[bool]) -> tuple[Excluded, ...]:
    other = np.where(unpaired, "is missing", "does not count")
    reasons = [
        f"Another arm of its pair or ring {what}." if fine else "" if pd.isna(reason) else str(reason)
        for reason, fine, what in zip(rows["reason"], passed, other, strict=True)
    ]
    return excluded(rows, reasons)

"""Criteria for a shear campaign: validity checks, and the bounds on m and c."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lanewise.families.shear.statistics.bias import ComponentBias, PointBias
from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.families.shear.statistics.joint import FiniteDraws
from lanewise.families.shear.statistics.selection import Component, Signs
from lanewise.families.shear.statistics.tally import Tally
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.regression import Array
from lanewise.statistics.verdict import RANK, Decision, Judgement, Verdict, completeness, judge

LEVEL_0 = "level_0"
LEVEL_0_MAX_ABS_M = 0.01
COLLAPSED_WIDTH = 0.01  # [reduced shear]; only posteriors narrower than this are tested for their offset
COLLAPSED_OFFSET = 0.01  # [reduced shear]
LAMBDA_MIN = 0.5
# Smallest response of the posterior mean under a prior that is not Gaussian.
KEPT_MIN = 0.9
EXCLUSION_P_MIN = 1e-3
# Largest shift of m between half and all draws, as a fraction of the bound.
_MAX_SHIFT_SHARE = 1 / 3
# Survey requirements (|m|, |c|): LSST for isolated galaxies at 0.01 ≤ g ≤ 0.05, DESC and Euclid for the mean shear.
REQUIREMENTS: dict[str, tuple[float, float | None]] = {
    "lsst": (1e-3, 1e-4),
    "desc": (2e-3, None),
    "euclid": (2e-3, 5e-4),
}
_HEADLINE = {
    Verdict.PASS: "The bias is within its bounds.",
    Verdict.FAIL: "The campaign does not meet its acceptance criteria.",
    Verdict.INCONCLUSIVE: "These realizations cannot decide.",
    Verdict.INVALID: "The numbers of this campaign must not be used.",
}


@dataclass(frozen=True)
class Bounds:
    """Bounds for a shear campaign: from the manifest, else from its requirement, else from its level."""

    level: str | None
    requirement: str | None
    max_abs_m: float | None
    max_abs_c: float | None
    max_excluded_frac: float


def bounds_of(acceptance: Acceptance) -> Bounds:
    """Bounds from the manifest, else from its requirement, else from its level."""
    required_m, required_c = REQUIREMENTS.get(acceptance.requirement or "", (None, None))
    of_level = LEVEL_0_MAX_ABS_M if acceptance.level == LEVEL_0 else None
    max_abs_m = next((m for m in (acceptance.max_abs_m, required_m, of_level) if m is not None), None)
    max_abs_c = required_c if acceptance.max_abs_c is None else acceptance.max_abs_c
    return Bounds(acceptance.level, acceptance.requirement, max_abs_m, max_abs_c, acceptance.max_excluded_frac)


@dataclass(frozen=True)
class Evidence:
    """Input to the decision on a campaign.

    Attributes:
        biases: of the components that were inferred.
        data: the estimates of these components, in the same order.
        tally: of all realizations.
        points: all shear points of the plan.
        signs: failures by the sign of g; None without pairs.
        draws: effect of finite draws on m; empty if not available.
        kept: response of the posterior mean under a prior that is not Gaussian, by component.
        n_unknown: realizations without a known true shear; they are not used.
        n_per_count: realizations added by one more `realizations.count`; None if unknown.
    """

    biases: Sequence[ComponentBias]
    data: Sequence[Estimates]
    tally: Tally
    points: Sequence[PointBias]
    signs: Signs | None = None
    draws: Sequence[FiniteDraws] = ()
    kept: Mapping[Component, float] = field(default_factory=dict)
    n_unknown: int = 0
    n_per_count: int | None = None


def decide(found: Evidence, bounds: Bounds) -> Decision:
    """Apply all criteria and combine them into the verdict on the campaign."""
    count, biases = found.tally, found.biases
    if found.n_unknown and not found.points:
        text = f"{found.n_unknown} realizations stand without a truth; give observations.truths to judge a bias."
        lone = Judgement("truth", None, Verdict.INCONCLUSIVE, text, value=found.n_unknown)
        headline = "No true shear is known, so there is no bias to judge."
        return Decision(Verdict.INCONCLUSIVE, headline, (text,), None, None, (lone,))
    sound = [
        completeness(
            used=count.n_used, excluded=count.n_excluded, missing=count.n_missing, limit=bounds.max_excluded_frac
        )
    ]
    sound += [*_exclusion_by_shear(found.points), *_exclusion_by_sign(found.signs)]
    sound += [j for bias in biases for j in _shrinkage(bias)]
    sound += [_kept(component, share) for component, share in found.kept.items()]
    asked = [] if bounds.max_abs_m is None else _bounds_on_m(biases, bounds.max_abs_m)
    if bounds.max_abs_c is not None:
        asked += [judge("c", b.component, b.c, bounds.max_abs_c, b.n) for b in biases]
    if bounds.level == LEVEL_0:
        asked += [j for b, d in zip(biases, found.data, strict=True) for j in _level_0(b.component, d)]
    asked += [_finite_draws(one, bounds.max_abs_m) for one in found.draws]
    if not any(j.verdict and j.criterion != "finite_draws" for j in asked):
        text = "The manifest sets no bound; set acceptance.max_abs_m, acceptance.requirement or acceptance.level."
        asked.append(Judgement("bound", None, Verdict.INCONCLUSIVE, text))
    judgements = (*sound, *asked)
    verdict = next(v for v in RANK if any(j.verdict is v for j in judgements))
    deciding = [j for j in judgements if j.verdict is verdict]
    if verdict is Verdict.PASS:
        deciding = [j for j in asked if j.criterion in ("m", "c")]
    reasons = [j.sentence for j in deciding]
    if (count.n_missing or count.n_excluded) and sound[0] not in deciding:
        reasons.append(sound[0].sentence)
    needs = [j.n_needed for j in deciding]
    n_needed = max((n for n in needs if n is not None), default=None) if None not in needs else None
    extend = None
    if n_needed is not None and found.n_per_count and count.n_used:
        # Assume the same exclusion rate.
        extend = math.ceil((n_needed - count.n_used) * count.n_planned / count.n_used / found.n_per_count)
    return Decision(verdict, _HEADLINE[verdict], tuple(reasons), n_needed, extend, judgements)


def _bounds_on_m(biases: Sequence[ComponentBias], bound: float) -> list[Judgement]:
    judged = [judge("m", b.component, b.m, bound, b.n) for b in biases if b.m is not None]
    judged += [
        judge("m", b.component, b.m_single_point, bound, b.n, how=", from its one shear with c taken as zero,")
        for b in biases
        if b.m is None and b.m_single_point is not None
    ]
    if judged:
        return judged
    text = "m cannot be measured: no component was inferred at a nonzero shear."
    return [Judgement("m", None, Verdict.INCONCLUSIVE, text, bound=bound)]


def _exclusion_by_shear(points: Sequence[PointBias]) -> list[Judgement]:
    """Test whether exclusion depends on the shear, by a permutation test with a fixed seed.

    Missing realizations, and arms without a partner because of them, are not used: they are missing because of the
    machine, not because of the data.
    """
    excluded = np.array([p.n_excluded - p.n_unpaired for p in points])
    computed = np.array([p.n_used for p in points]) + excluded
    excluded = excluded[computed > 0]
    computed = computed[computed > 0]
    if len(computed) < 2 or excluded.sum() == 0:
        return []
    expected = computed * excluded.sum() / computed.sum()
    trials = np.random.default_rng(1).multivariate_hypergeometric(computed, excluded.sum(), 20_000, "marginals")
    distance = np.sum((trials - expected) ** 2 / expected, axis=1)
    observed = np.sum((excluded - expected) ** 2 / expected)
    p = float((1 + np.sum(distance >= observed - 1e-9)) / (1 + len(trials)))
    if p < EXCLUSION_P_MIN:
        verdict = Verdict.INVALID
        text = f"Exclusion depends on the shear (p = {p:.1g}): what is left is a biased choice."
    else:
        verdict, text = Verdict.PASS, f"Exclusion does not depend on the shear (p = {p:.2g})."
    return [Judgement("exclusion_by_shear", None, verdict, text, value=p, bound=EXCLUSION_P_MIN)]


def _exclusion_by_sign(signs: Signs | None) -> list[Judgement]:
    """Test whether exclusion depends on the sign of g."""
    if signs is None or signs.n_only_plus + signs.n_only_minus == 0:
        return []
    lost = f"of {signs.n_pairs} pairs {signs.n_only_plus} lost the arm of +g alone, {signs.n_only_minus} that of −g"
    depends = signs.p < EXCLUSION_P_MIN
    verdict, said = (Verdict.INVALID, "depends") if depends else (Verdict.PASS, "does not depend")
    text = f"Exclusion {said} on the sign of the shear (p = {signs.p:.2g}): {lost}."
    return [Judgement("exclusion_by_sign", None, verdict, text, value=signs.p, bound=EXCLUSION_P_MIN)]


def _finite_draws(found: FiniteDraws, bound: float | None) -> Judgement:
    """Test whether m changes with the number of draws by more than 3σ and by more than a third of the bound."""
    k, error = found.component, found.shift.jackknife
    moved = found.shift.value
    text = (
        f"m of {k} from half of the draws differs by {moved:+.2g} ± {error:.1g}; a bias that falls as 1/draws "
        f"would end at {found.extrapolated:+.3g}"
    )
    serious = bound is not None and abs(moved) > 3 * error and abs(moved) > _MAX_SHIFT_SHARE * bound
    if serious:
        text = f"{text}, which is too far: take more draws"
    verdict = Verdict.INCONCLUSIVE if serious else None
    return Judgement("finite_draws", k, verdict, f"{text}.", value=moved, error=error, bound=bound)


def _shrinkage(bias: ComponentBias) -> list[Judgement]:
    if bias.shrinkage is None:
        return []
    k, value, error = bias.component, bias.shrinkage.lambda_hat, bias.shrinkage.error
    if value is None:
        verdict = Verdict.INVALID
        text = f"No posterior width of {k} is known, so the prior's pull cannot be corrected."
    elif value < LAMBDA_MIN:
        verdict = Verdict.INVALID
        text = f"λ̂ of {k} is {value:.2g}: the prior speaks, not the data; widen the prior on g."
    else:
        verdict, text = Verdict.PASS, f"λ̂ of {k} is {value:.4g}: the data speak, not the prior."
    return [Judgement("shrinkage", k, verdict, text, value=value, error=error, bound=LAMBDA_MIN)]


def _kept(component: Component, share: float) -> Judgement:
    if share < KEPT_MIN:
        verdict = Verdict.INVALID
        text = (
            f"The prior on {component} leaves {share:.0%} of the shear, and is not Gaussian: its pull cannot be taken "
            "out; widen it, or make it Normal."
        )
    else:
        verdict = Verdict.PASS
        text = f"The prior on {component} leaves {share:.1%} of the shear: the data speak, not the prior."
    return Judgement("shrinkage", component, verdict, text, value=share, bound=KEPT_MIN)


def _level_0(component: Component, data: Estimates) -> list[Judgement]:
    """Test width < 0.01, and offset < 0.01 for those posteriors.

    The fraction with offset < 1σ is only reported: a third of correct posteriors exceed 1σ.
    """
    width, offset = data.raw_width, np.abs(data.raw - data.truth)
    known = np.isfinite(width) & np.isfinite(offset)
    width, offset = width[known], offset[known]
    if len(width) == 0:
        text = f"No posterior width of {component} is known."
        verdict = Verdict.INCONCLUSIVE
        return [Judgement("width", component, verdict, text, bound=COLLAPSED_WIDTH)]
    found = [_all_below("width", component, width, COLLAPSED_WIDTH, f"The widest posterior of {component}")]
    collapsed = offset[width < COLLAPSED_WIDTH]
    if len(collapsed):
        what = f"The largest offset of a collapsed posterior of {component}"
        found.append(_all_below("collapsed_offset", component, collapsed, COLLAPSED_OFFSET, what))
    within = float(np.mean(offset < width))
    text = f"{within:.0%} of the offsets of {component} are below 1σ (68 % expected, nothing depends on it)."
    found.append(Judgement("offset_1sigma", component, None, text, value=within))
    return found


def _all_below(criterion: str, component: Component, values: Array, bound: float, what: str) -> Judgement:
    largest, n_over = float(values.max()), int(np.sum(values >= bound))
    rest = f"; {n_over} of {len(values)} are not below {bound:g}." if n_over else f", below {bound:g}."
    verdict = Verdict.FAIL if n_over else Verdict.PASS
    return Judgement(criterion, component, verdict, f"{what} is {largest:.2g}{rest}", value=largest, bound=bound)

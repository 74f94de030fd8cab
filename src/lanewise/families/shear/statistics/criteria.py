"""The verdict on a shear campaign: its validity, and the bounds on m and c."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from lanewise.families.shear.statistics import validity
from lanewise.families.shear.statistics.bias import ComponentBias, PointBias
from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.families.shear.statistics.joint import FiniteDraws
from lanewise.families.shear.statistics.selection import COMPONENTS, Component, GroupCount, Signs
from lanewise.families.shear.statistics.tally import Tally
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.numbers import number, percent, with_error
from lanewise.statistics.regression import Array, Measure
from lanewise.statistics.sequential import Reach
from lanewise.statistics.verdict import RANK, Decision, Judgement, Verdict, completeness, judge

LEVEL_0 = "level_0"
LEVEL_0_MAX_ABS_M = 0.01
COLLAPSED_WIDTH = 0.01  # [reduced shear]; only posteriors narrower than this are tested for their offset
COLLAPSED_OFFSET = 0.01  # [reduced shear]
# The scatter about the line is too large if χ² per degree of freedom is above this and its p-value below that.
CHI2_MAX, CHI2_P_MIN = 1.5, 1e-4
# Criteria that cannot pass a campaign on their own.
_ACCESSORY = ("finite_draws", "chi2", "not_tested")
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
    """Bounds for a shear campaign: from the manifest, else from its requirement, else from its level.

    Attributes:
        estimator: the one whose m and c are judged; a key of `estimates.ESTIMATORS`.
        reach: errors between a number and its bound that decide.
    """

    estimator: str
    level: str | None
    requirement: str | None
    max_abs_m: float | None
    max_abs_c: float | None
    max_excluded_frac: float
    reach: Reach


def bounds_of(acceptance: Acceptance, reach: Reach) -> Bounds:
    """Bounds from the manifest, else from its requirement, else from its level."""
    required_m, required_c = REQUIREMENTS.get(acceptance.requirement or "", (None, None))
    of_level = LEVEL_0_MAX_ABS_M if acceptance.level == LEVEL_0 else None
    max_abs_m = next((m for m in (acceptance.max_abs_m, required_m, of_level) if m is not None), None)
    max_abs_c = required_c if acceptance.max_abs_c is None else acceptance.max_abs_c
    return Bounds(
        estimator=acceptance.estimator,
        level=acceptance.level,
        requirement=acceptance.requirement,
        max_abs_m=max_abs_m,
        max_abs_c=max_abs_c,
        max_excluded_frac=acceptance.max_excluded_frac,
        reach=reach,
    )


@dataclass(frozen=True)
class Evidence:
    """Input to the decision on a campaign.

    Attributes:
        biases: of the components that were inferred.
        data: the estimates of these components, in the same order.
        tally: of all realizations.
        points: all shear points of the plan.
        groups: independent groups by the shears of their arms.
        signs: failures by the sign of g; None without pairs.
        galaxies: failures of the galaxies of populations, likewise.
        draws: effect of finite draws on m; empty if not available.
        n_per_count: realizations added by one more `realizations.count`; None if unknown.
    """

    biases: Sequence[ComponentBias]
    data: Sequence[Estimates]
    tally: Tally
    points: Sequence[PointBias]
    groups: Sequence[GroupCount] = ()
    signs: Signs | None = None
    galaxies: Signs | None = None
    draws: Sequence[FiniteDraws] = ()
    n_per_count: int | None = None


def decide(found: Evidence, bounds: Bounds) -> Decision:
    """Apply all criteria and combine them into the verdict on the campaign."""
    count, biases = found.tally, found.biases
    if count.n_without_truth and not found.points:
        text = f"{count.n_without_truth} realizations stand without a truth; give observations.truths to judge a bias."
        lone = Judgement("truth", None, Verdict.INCONCLUSIVE, text, value=count.n_without_truth)
        headline = "No true shear is known, so there is no bias to judge."
        return Decision(Verdict.INCONCLUSIVE, headline, (text,), None, None, (lone,))
    sound = [
        completeness(
            used=count.n_used, excluded=count.n_excluded, missing=count.n_missing, limit=bounds.max_excluded_frac
        )
    ]
    sound += [*validity.exclusion_by_shear(found.groups), *validity.exclusion_by_sign(found.signs)]
    sound += validity.galaxies_by_sign(found.galaxies)
    sound += [j for bias in biases for j in validity.shrinkage(bias)]
    sound += [
        validity.response(one.response, bias.component, bounds.max_excluded_frac)
        for one, bias in zip(found.data, biases, strict=True)
        if one.response
    ]
    if bounds.max_abs_m is not None:
        sound += [
            j for b, d in zip(biases, found.data, strict=True) for j in validity.noise_bias(b, d, bounds.max_abs_m)
        ]
    asked = [] if bounds.max_abs_m is None else _bounds_on_m(biases, bounds.max_abs_m, bounds)
    if bounds.max_abs_c is not None:
        asked += [
            judge("c", b.component, b.c, bounds.max_abs_c, b.n, how=_by(bounds), lost=b.c_lost, reach=bounds.reach)
            for b in biases
        ]
    asked += [j for b in biases for j in _fit(b)]
    not_tested = _not_tested(biases, bounds)
    asked += not_tested
    if bounds.level == LEVEL_0:
        asked += [j for b, d in zip(biases, found.data, strict=True) for j in _level_0(b.component, d)]
    asked += [_finite_draws(one, bounds.max_abs_m) for one in found.draws]
    if not any(j.verdict and j.criterion not in _ACCESSORY for j in asked):
        # Only reported criteria say nothing about the campaign.
        text = "The manifest sets no bound; set acceptance.max_abs_m, acceptance.requirement or acceptance.level."
        asked.append(Judgement("bound", None, Verdict.INCONCLUSIVE, text))
    judgements = (*sound, *asked)
    verdict = next(v for v in RANK if any(j.verdict is v for j in judgements))
    deciding = [j for j in judgements if j.verdict is verdict]
    if verdict is Verdict.PASS:
        deciding = [j for j in asked if j.criterion in ("m", "c")]
    reasons = [j.sentence for j in deciding]
    if verdict is Verdict.PASS:
        reasons += [j.sentence for j in not_tested]
    if count.n_without_truth:
        text = f"{count.n_without_truth} of {count.n_planned} realizations have no known truth and do not enter."
        judgements = (*judgements, Judgement("truth", None, None, text, value=count.n_without_truth))
        reasons.append(text)
    if (count.n_missing or count.n_excluded) and sound[0] not in deciding:
        reasons.append(sound[0].sentence)
    needs = [j.n_needed for j in deciding]
    n_needed = max((n for n in needs if n is not None), default=None) if None not in needs else None
    extend = None
    if n_needed is not None and found.n_per_count and count.n_used:
        # Assume the same exclusion rate.
        extend = math.ceil((n_needed - count.n_used) * count.n_planned / count.n_used / found.n_per_count)
    return Decision(verdict, _HEADLINE[verdict], tuple(reasons), n_needed, extend, judgements)


def _by(bounds: Bounds) -> str:
    return " by the score at zero shear" if bounds.estimator == "score" else ""


def _bounds_on_m(biases: Sequence[ComponentBias], bound: float, bounds: Bounds) -> list[Judgement]:
    judged = [_m(b, bound, bounds) for b in biases if b.m is not None]
    judged += [
        _m_as(b, b.m_single_point, bound, bounds, f"{_by(bounds)}, from its one shear with c taken as zero,")
        for b in biases
        if b.m is None and b.m_single_point is not None
    ]
    if judged:
        return judged
    text = "m cannot be measured: no component was inferred at a nonzero shear."
    return [Judgement("m", None, Verdict.INCONCLUSIVE, text, bound=bound)]


def _m(bias: ComponentBias, bound: float, bounds: Bounds) -> Judgement:
    """m against its bound; at the worse end of the range of shears if the response is curved."""
    plain = _m_as(bias, bias.m, bound, bounds, _by(bounds))
    if not _is_curved(bias):
        return plain
    by = _by(bounds)
    ends = [_m_as(bias, end.m, bound, bounds, f"{by} at |g| = {number(end.g, 'g')} (curved)") for end in bias.m_ends]
    # The worse verdict, and of equal ones the larger m; a curve cannot pass by its mean slope alone.
    return min((*ends, plain), key=lambda j: (RANK.index(j.verdict or Verdict.PASS), -abs(j.value or 0.0)))


def _m_as(bias: ComponentBias, m: Measure | None, bound: float, bounds: Bounds, how: str) -> Judgement:
    return judge("m", bias.component, m, bound, bias.n, how=how, lost=bias.m_lost, reach=bounds.reach)


def _is_curved(bias: ComponentBias) -> bool:
    cubic = bias.cubic
    return cubic is not None and cubic.error is not None and abs(cubic.value) > 3 * cubic.error


def _fit(bias: ComponentBias) -> list[Judgement]:
    """Test whether the estimates scatter about the line by much more than the widths of their posteriors."""
    if bias.chi2 is None or bias.dof < 1:
        return []
    excess, p = bias.chi2 / bias.dof, float(special.chdtrc(bias.dof, bias.chi2))
    text = f"χ² of {bias.component} about the line is {number(excess, '.2g')} per degree of freedom"
    if excess > CHI2_MAX and p < CHI2_P_MIN:
        curved = ", also because the response is curved" if _is_curved(bias) else ""
        text = (
            f"{text} (p = {number(p, '.1g')}){curved}: the posteriors are narrower than their scatter, so do "
            "not trust them."
        )
        return [Judgement("chi2", bias.component, Verdict.INCONCLUSIVE, text, value=excess, bound=CHI2_MAX)]
    return [Judgement("chi2", bias.component, None, f"{text}.", value=excess, bound=CHI2_MAX)]


def _not_tested(biases: Sequence[ComponentBias], bounds: Bounds) -> list[Judgement]:
    """What a bound asks for and the campaign did not measure; a named requirement needs all of it."""
    there = {bias.component: bias for bias in biases}
    lacking = [f"m of {k}" for k in COMPONENTS if bounds.max_abs_m and (k not in there or there[k].m is None)]
    lacking += [f"c of {k}" for k in COMPONENTS if bounds.max_abs_c and (k not in there or there[k].c is None)]
    lacking += [
        f"c of {k} apart from m"
        for k, bias in there.items()
        if bounds.max_abs_c and bias.m is None and bias.m_single_point is not None
    ]
    if not lacking:
        return []
    if bounds.requirement is None:
        text = f"Not measured: {', '.join(lacking)}."
        return [Judgement("not_tested", None, None, text)]
    text = f"The requirement {bounds.requirement} needs what was not measured: {', '.join(lacking)}; add shears."
    return [Judgement("not_tested", None, Verdict.INCONCLUSIVE, text)]


def _finite_draws(found: FiniteDraws, bound: float | None) -> Judgement:
    """Test whether m changes with the number of draws by more than 3σ and by more than a third of the bound."""
    k, error = found.component, found.shift.jackknife
    moved = found.shift.value
    text = (
        f"m of {k} from half of the draws differs by {with_error(moved, error)}; a bias that falls as 1/draws "
        f"would end at {number(found.extrapolated, '+.3g')}"
    )
    serious = bound is not None and abs(moved) > 3 * error and abs(moved) > _MAX_SHIFT_SHARE * bound
    if serious:
        text = f"{text}, which is too far: take more draws"
    verdict = Verdict.INCONCLUSIVE if serious else None
    return Judgement("finite_draws", k, verdict, f"{text}.", value=moved, error=error, bound=bound)


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
    text = (
        f"{percent(within, '.0f')} of the offsets of {component} are below 1σ (68 % expected, nothing depends on it)."
    )
    found.append(Judgement("offset_1sigma", component, None, text, value=within))
    return found


def _all_below(criterion: str, component: Component, values: Array, bound: float, what: str) -> Judgement:
    largest, n_over = float(values.max()), int(np.sum(values >= bound))
    rest = (
        f"; {n_over} of {len(values)} are not below {number(bound, 'g')}."
        if n_over
        else f", below {number(bound, 'g')}."
    )
    verdict = Verdict.FAIL if n_over else Verdict.PASS
    return Judgement(
        criterion, component, verdict, f"{what} is {number(largest, '.2g')}{rest}", value=largest, bound=bound
    )

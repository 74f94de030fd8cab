"""The verdict on a campaign: PASS, FAIL, INCONCLUSIVE or INVALID, with its numbers and in plain words.

A bound is judged at three errors: PASS if |x| + 3σ is below it, FAIL if |x| − 3σ is above it, else
INCONCLUSIVE with the number of realizations that would decide. INVALID outranks FAIL, FAIL outranks
INCONCLUSIVE, and that outranks PASS. A noisier campaign never passes more easily, and one that lost
realizations never in silence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lanewise.aggregate.bias import Component, ComponentBias, Estimates, Measure, PointBias
from lanewise.manifest import Acceptance

LEVEL_0 = "level_0"
LEVEL_0_MAX_ABS_M = 0.01
COLLAPSED_WIDTH = 0.01  # [reduced shear]; a posterior narrower than this has its offset judged absolutely
COLLAPSED_OFFSET = 0.01  # [reduced shear]
LAMBDA_MIN = 0.5
EXCLUSION_P_MIN = 1e-3


class Verdict(StrEnum):
    """What a campaign, or one criterion of it, comes to."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 3, Verdict.INCONCLUSIVE: 4, Verdict.INVALID: 5}
RANK = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
_HEADLINE = {
    Verdict.PASS: "The bias is within its bounds.",
    Verdict.FAIL: "The campaign does not meet its acceptance criteria.",
    Verdict.INCONCLUSIVE: "These realizations cannot decide.",
    Verdict.INVALID: "The numbers of this campaign must not be used.",
}


@dataclass(frozen=True)
class Bounds:
    """What a shear campaign is held against: the manifest's own bounds, and where it is silent its level's."""

    level: str | None
    max_abs_m: float | None
    max_abs_c: float | None
    max_excluded_frac: float


@dataclass(frozen=True)
class Judgement:
    """One criterion.

    Attributes:
        criterion: completeness, exclusion_by_shear, shrinkage, m, c, width, collapsed_offset, offset_1sigma,
            bound if the manifest sets none, or truth if no true shear is known.
        component: g1, g2 or another quantity; None if the criterion is about the whole campaign.
        verdict: None for a criterion that is reported and decides nothing.
        value, error, bound: in the unit of the criterion.
        n_needed: realizations in all that would decide; None if that cannot be told or nothing is open.
        sentence: all of it in words.
    """

    criterion: str
    component: str | None
    verdict: Verdict | None
    value: float | None
    error: float | None
    bound: float | None
    n_needed: int | None
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The verdict on the whole campaign, the sentences that explain it, and every criterion."""

    verdict: Verdict
    headline: str
    reasons: tuple[str, ...]
    n_needed: int | None
    judgements: tuple[Judgement, ...]


def bounds_of(acceptance: Acceptance) -> Bounds:
    """The bounds that the manifest sets, and where it is silent those of its level: |m| < 0.01 at level 0."""
    level, max_abs_m = acceptance.level, acceptance.max_abs_m
    if level == LEVEL_0 and max_abs_m is None:
        max_abs_m = LEVEL_0_MAX_ABS_M
    return Bounds(level, max_abs_m, acceptance.max_abs_c, acceptance.max_excluded_frac)


def decide(
    biases: Sequence[ComponentBias],
    data: Sequence[Estimates],
    points: Sequence[PointBias],
    acceptance: Bounds,
    n_unknown: int = 0,
) -> Decision:
    """Judge a campaign.

    Args:
        biases: of the components that were inferred.
        data: the estimates behind them, in the same order.
        points: every shear point of the plan.
        acceptance: the bounds; `level_0` brings criteria of its own.
        n_unknown: realizations whose true shear is not known; they enter nothing.
    """
    if n_unknown and not points:
        text = f"{n_unknown} realizations stand without a truth; give observations.truths to judge a bias."
        lone = Judgement("truth", None, Verdict.INCONCLUSIVE, n_unknown, None, None, None, text)
        return Decision(
            Verdict.INCONCLUSIVE, "No true shear is known, so there is no bias to judge.", (text,), None, (lone,)
        )
    level_0 = acceptance.level == LEVEL_0
    planned, used = sum(p.n_planned for p in points), sum(p.n_used for p in points)
    excluded, missing = sum(p.n_excluded for p in points), sum(p.n_missing for p in points)
    sound = [completeness(planned, used, excluded, missing, acceptance.max_excluded_frac), *_exclusion_by_shear(points)]
    sound += [j for bias in biases for j in _shrinkage(bias)]
    bounds = [] if acceptance.max_abs_m is None else _bounds_on_m(biases, acceptance.max_abs_m)
    if acceptance.max_abs_c is not None:
        bounds += [judge("c", b.component, b.c, acceptance.max_abs_c, b.n) for b in biases]
    if level_0:
        bounds += [j for b, d in zip(biases, data, strict=True) for j in _level_0(b.component, d)]
    if not any(j.verdict for j in bounds):
        text = "The manifest sets no bound; set acceptance.max_abs_m or acceptance.level."
        bounds.append(Judgement("bound", None, Verdict.INCONCLUSIVE, None, None, None, None, text))
    judgements = (*sound, *bounds)
    verdict = next(v for v in RANK if any(j.verdict is v for j in judgements))
    deciding = [j for j in judgements if j.verdict is verdict]
    if verdict is Verdict.PASS:
        deciding = [j for j in bounds if j.criterion in ("m", "c")]
    reasons = [j.sentence for j in deciding]
    if any(p.n_missing or p.n_excluded for p in points) and sound[0] not in deciding:
        reasons.append(sound[0].sentence)
    needs = [j.n_needed for j in deciding]
    n_needed = max((n for n in needs if n is not None), default=None) if None not in needs else None
    return Decision(verdict, _HEADLINE[verdict], tuple(reasons), n_needed, judgements)


def judge(
    name: str, component: Component, measure: Measure | None, bound: float, n: int, *, how: str = ""
) -> Judgement:
    """Hold one number against its bound at three errors.

    Args:
        name: m or c.
        component: whose.
        measure: None if it is undefined.
        bound: for the absolute value, in the unit of the number.
        n: realizations behind it.
        how: said of the number in the sentence, e.g. how it was obtained.
    """
    what = f"{name} of {component}{how}"
    if measure is None or measure.error is None:
        lack = "is undefined" if measure is None else f"is {with_error(measure.value, None)} without an error"
        text = f"{what} {lack}: too few realizations entered ({n})."
        value = None if measure is None else measure.value
        return Judgement(name, component, Verdict.INCONCLUSIVE, value, None, bound, None, text)
    size, three = abs(measure.value), 3 * measure.error
    said = f"{what} is {with_error(measure.value, measure.error)}"
    needed = None
    if size + three < bound:
        verdict, text = (
            Verdict.PASS,
            f"{said}: |{name}| + 3σ = {size + three:.3g} is below the bound {bound:g}.",
        )
    elif size - three > bound:
        verdict, text = (
            Verdict.FAIL,
            f"{said}: |{name}| − 3σ = {size - three:.3g} is above the bound {bound:g}.",
        )
    else:
        verdict, needed = Verdict.INCONCLUSIVE, n_needed(measure, bound, n)
        if needed is None:
            more = (
                f"it lies within one error of the bound {bound:g}, so the number that would decide has "
                f"no upper limit yet; it is at least {max(9 * n, math.ceil(n * (three / bound) ** 2))}"
            )
        else:
            more = (
                f"3σ = {three:.2g} is too wide for the bound {bound:g}; about {needed} realizations "
                f"would decide, {needed - n} more than entered"
            )
        text = f"{said}: {more}."
    return Judgement(name, component, verdict, measure.value, measure.error, bound, needed, text)


def n_needed(measure: Measure, bound: float, n: int) -> int | None:
    """Realizations that bring three errors down to the distance from the bound, n (3σ / |bound − |x||)².

    None within one error of the bound: the distance itself is then unknown, and the number without bound.
    """
    gap = abs(bound - abs(measure.value))
    if measure.error is None or gap <= measure.error:
        return None
    return max(n + 1, math.ceil(round(n * (3 * measure.error / gap) ** 2, 6)))


def with_error(value: float, error: float | None) -> str:
    """A number as people write it: two digits of its error, a power of ten where it is small or large."""
    known = error if error is not None and error > 0 else None
    largest = max(abs(value), known or 0.0)
    power = math.floor(math.log10(largest)) if largest > 0 else 0
    power = 0 if -3 <= power < 4 else power
    scaled, scaled_error = value / 10.0**power, (known or 0.0) / 10.0**power
    if known is None:
        text = f"{scaled:+.3g}"
    else:
        digits = min(max(1 - math.floor(math.log10(scaled_error)), 0), 12)
        text = f"{scaled:+.{digits}f} ± {scaled_error:.{digits}f}"
    if power:
        text = f"({text}) × 10{superscript(power)}" if known is not None else f"{text} × 10{superscript(power)}"
    return text.replace("-", "−")


def superscript(power: int) -> str:
    """An exponent as it is set: −4 is ⁻⁴."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


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
    return [Judgement("m", None, Verdict.INCONCLUSIVE, None, None, bound, None, text)]


def completeness(planned: int, used: int, excluded: int, missing: int, limit: float) -> Judgement:
    """Whether the share of realizations that are excluded or missing is within its limit."""
    if used == 0:
        text = f"None of {planned} planned realizations entered: {missing} missing, {excluded} excluded."
        share = 1.0 if planned else None
        return Judgement("completeness", None, Verdict.INVALID, share, None, limit, None, text)
    share = (excluded + missing) / planned
    lost = f"{missing} missing and {excluded} excluded of {planned} planned realizations are {share:.1%}"
    if share > limit:
        text = f"{lost}, more than the allowed {limit:.1%}: what is left may be a biased choice."
        return Judgement("completeness", None, Verdict.INVALID, share, None, limit, None, text)
    text = f"{lost}, within the allowed {limit:.1%}." if share else f"All {planned} planned realizations entered."
    return Judgement("completeness", None, Verdict.PASS, share, None, limit, None, text)


def _exclusion_by_shear(points: Sequence[PointBias]) -> list[Judgement]:
    """Are realizations excluded at some shears rather than at others? A permutation test with a fixed seed.

    A missing chunk says nothing here, nor does what it leaves without a partner: it is missing for reasons of the
    machine, not of the data.
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
        text = f"Exclusion depends on the shear (p = {p:.1g}): what is left is a biased choice."
        return [Judgement("exclusion_by_shear", None, Verdict.INVALID, p, None, EXCLUSION_P_MIN, None, text)]
    text = f"Exclusion does not depend on the shear (p = {p:.2g})."
    return [Judgement("exclusion_by_shear", None, Verdict.PASS, p, None, EXCLUSION_P_MIN, None, text)]


def _shrinkage(bias: ComponentBias) -> list[Judgement]:
    if bias.shrinkage is None:
        return []
    k, value, error = bias.component, bias.shrinkage.lambda_hat, bias.shrinkage.error
    if value is None:
        verdict, text = (
            Verdict.INVALID,
            f"No posterior width of {k} is known, so the prior's pull cannot be corrected.",
        )
    elif value < LAMBDA_MIN:
        verdict = Verdict.INVALID
        text = f"λ̂ of {k} is {value:.2g}: the prior speaks, not the data; widen the prior on g."
    else:
        verdict, text = Verdict.PASS, f"λ̂ of {k} is {value:.4g}: the data speak, not the prior."
    return [Judgement("shrinkage", k, verdict, value, error, LAMBDA_MIN, None, text)]


def _level_0(component: Component, data: Estimates) -> list[Judgement]:
    """Width < 0.01, and offset < 0.01 where it is; offset < 1σ is only told: a third of right ones miss."""
    width, offset = data.raw_width, np.abs(data.raw - data.truth)
    known = np.isfinite(width) & np.isfinite(offset)
    width, offset = width[known], offset[known]
    if len(width) == 0:
        text = f"No posterior width of {component} is known."
        return [Judgement("width", component, Verdict.INCONCLUSIVE, None, None, COLLAPSED_WIDTH, None, text)]
    widest, wide = float(width.max()), int(np.sum(width >= COLLAPSED_WIDTH))
    text = f"The widest posterior of {component} is {widest:.2g}"
    text += (
        f", below {COLLAPSED_WIDTH:g}." if not wide else f"; {wide} of {len(width)} are not below {COLLAPSED_WIDTH:g}."
    )
    verdict = Verdict.FAIL if wide else Verdict.PASS
    found = [Judgement("width", component, verdict, widest, None, COLLAPSED_WIDTH, None, text)]
    collapsed = offset[width < COLLAPSED_WIDTH]
    if len(collapsed):
        farthest, far = float(collapsed.max()), int(np.sum(collapsed >= COLLAPSED_OFFSET))
        text = f"The largest offset of a collapsed posterior of {component} is {farthest:.2g}"
        text += (
            f", below {COLLAPSED_OFFSET:g}."
            if not far
            else f"; {far} of {len(collapsed)} are not below {COLLAPSED_OFFSET:g}."
        )
        verdict = Verdict.FAIL if far else Verdict.PASS
        found.append(Judgement("collapsed_offset", component, verdict, farthest, None, COLLAPSED_OFFSET, None, text))
    within = float(np.mean(offset < width))
    text = f"{within:.0%} of the offsets of {component} are below 1σ (68 % expected, nothing depends on it)."
    found.append(Judgement("offset_1sigma", component, None, within, None, None, None, text))
    return found

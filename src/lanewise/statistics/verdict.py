"""The verdict on a campaign: PASS, FAIL, INCONCLUSIVE or INVALID, with its numbers and in words.

A number is compared with its bound at three errors: PASS if |x| + 3σ is below the bound, FAIL if |x| − 3σ is above it,
else INCONCLUSIVE with the number of realizations that would decide. Extended campaigns need more than three errors, see
`sequential`. INVALID outranks FAIL, FAIL outranks INCONCLUSIVE, and INCONCLUSIVE outranks PASS. A noisier campaign
never passes more easily. Lost realizations are always reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from lanewise.statistics.numbers import number, percent, with_error
from lanewise.statistics.regression import Measure
from lanewise.statistics.sequential import Reach


class Verdict(StrEnum):
    """Outcome of a campaign or of one criterion."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


EXIT_CODES = {Verdict.PASS: 0, Verdict.FAIL: 3, Verdict.INCONCLUSIVE: 4, Verdict.INVALID: 5}
# Worst first: the verdict on a campaign is the worst verdict of its criteria.
RANK = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True)
class Judgement:
    """The outcome of one criterion.

    Attributes:
        criterion: its name; the schemas of the results list all names.
        component: g1, g2 or another quantity; None if the criterion is about the whole campaign.
        verdict: None for a criterion that is only reported.
        value, error, bound: in the unit of the criterion.
        n_needed: total realizations that would decide; None if unknown, or if the criterion is decided.
        sentence: the outcome in words.
    """

    criterion: str
    component: str | None
    verdict: Verdict | None
    value: float | None = field(default=None, kw_only=True)
    error: float | None = field(default=None, kw_only=True)
    bound: float | None = field(default=None, kw_only=True)
    n_needed: int | None = field(default=None, kw_only=True)
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The verdict on the whole campaign.

    Attributes:
        headline, reasons: the verdict in words.
        n_needed: total realizations that would decide.
        extend_count: the value for `lanewise extend --count`; None if decided, or if `n_needed` is unknown.
        judgements: outcomes of all criteria.
    """

    verdict: Verdict
    headline: str
    reasons: tuple[str, ...]
    n_needed: int | None
    extend_count: int | None
    judgements: tuple[Judgement, ...]


def lines(decision: Decision) -> tuple[str, ...]:
    """The verdict and its reasons, for a reader."""
    return f"{decision.verdict.value}: {decision.headline}", *(f"  {reason}" for reason in decision.reasons)


def judge(
    name: str,
    component: str,
    measure: Measure | None,
    bound: float,
    n: int,
    *,
    how: str = "",
    lost: float | None = 0.0,
    reach: Reach = Reach(),  # noqa: B008  an immutable value
) -> Judgement:
    """Compare one number with its bound at `reach` errors.

    Args:
        name: m or c.
        component: g1 or g2.
        measure: the number; None if it is undefined.
        bound: of the absolute value, in the unit of the number.
        n: number of realizations that entered.
        how: text after the number's name in the sentence, e.g. how it was obtained.
        lost: largest change of the number by realizations that did not enter; None if not known. PASS includes it.
    """
    what = f"{name} of {component}{how}"
    needed = value = error = None
    if measure is None or measure.error is None:
        value = None if measure is None else measure.value
        lack = "is undefined" if value is None else f"is {with_error(value, None)} without an error"
        verdict, text = Verdict.INCONCLUSIVE, f"{what} {lack}: too few realizations entered ({n})."
    else:
        value, error = measure.value, measure.error
        size, far, sigma = abs(value), reach.now * error, f"{reach.now:.3g}σ"
        worst = None if lost is None else size + far + lost
        if size + far < bound and (worst is None or worst >= bound):
            how_far = "an unknown amount" if worst is None else f"{number(lost)}"
            verdict = Verdict.INCONCLUSIVE
            more = (
                f"|{name}| + {sigma} = {number(size + far)} is below the bound {number(bound, 'g')}, but the "
                "realizations that did "
                f"not enter could change it by {how_far}; mend them (`lanewise retry`), or add more that enter"
            )
        elif size + far < bound:
            verdict, more = (
                Verdict.PASS,
                f"|{name}| + {sigma} = {number(size + far)} is below the bound {number(bound, 'g')}",
            )
        elif size - far > bound:
            verdict, more = (
                Verdict.FAIL,
                f"|{name}| − {sigma} = {number(size - far)} is above the bound {number(bound, 'g')}",
            )
        else:
            verdict, needed = Verdict.INCONCLUSIVE, n_needed(measure, bound, n, reach.later)
            if needed is None:
                least = max(9 * n, math.ceil(n * (reach.later * error / bound) ** 2))
                more = (
                    f"it lies within one error of the bound {number(bound, 'g')}, so the number that would decide has "
                    f"no upper limit yet; it is at least {least}"
                )
            else:
                more = (
                    f"{sigma} = {number(far, '.2g')} is too wide for the bound {number(bound, 'g')}; about "
                    f"{needed} realizations "
                    f"would decide, {needed - n} more than entered"
                )
        text = f"{what} is {with_error(value, error)}: {more}."
    return Judgement(name, component, verdict, text, value=value, error=error, bound=bound, n_needed=needed)


def n_needed(measure: Measure, bound: float, n: int, errors: float) -> int | None:
    """Total realizations for which `errors` σ equal the distance from the bound: n (errors σ / |bound − |x||)².

    None within one error of the bound: the distance may then be zero, and the number has no upper limit.
    """
    gap = abs(bound - abs(measure.value))
    if measure.error is None or gap <= measure.error:
        return None
    return max(n + 1, math.ceil(round(n * (errors * measure.error / gap) ** 2, 6)))


def completeness(*, used: int, excluded: int, missing: int, limit: float) -> Judgement:
    """Compare the fraction of realizations that are excluded or missing with its limit."""
    planned = used + excluded + missing
    share = (excluded + missing) / planned if planned else None
    lost = f"{missing} missing and {excluded} excluded of {planned} planned realizations are {percent(share or 0.0)}"
    if share is None or used == 0:
        verdict = Verdict.INVALID
        text = f"None of {planned} planned realizations entered: {missing} missing, {excluded} excluded."
    elif share > limit:
        verdict = Verdict.INVALID
        text = f"{lost}, more than the allowed {percent(limit)}: what is left may be a biased choice."
    elif missing:
        # Excluded realizations are computed and reported. Missing ones could change the verdict and can be computed.
        verdict = Verdict.INCONCLUSIVE
        text = f"{lost}, within the allowed {percent(limit)}; `lanewise retry` and `run` compute what is missing."
    else:
        verdict = Verdict.PASS
        text = (
            f"{lost}, within the allowed {percent(limit)}." if share else f"All {planned} planned realizations entered."
        )
    return Judgement("completeness", None, verdict, text, value=share, bound=limit)

"""Whether the numbers of a shear campaign may be used: what was excluded, the pull of the prior, wide posteriors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lanewise.families.shear.statistics.bias import ComponentBias
from lanewise.families.shear.statistics.estimates import Estimates, PriorResponse
from lanewise.families.shear.statistics.selection import Component, GroupCount, Signs
from lanewise.statistics.numbers import number, percent
from lanewise.statistics.regression import usable
from lanewise.statistics.verdict import Judgement, Verdict

# Smallest λ̂, and mean response under a prior that is not Gaussian. The pull is removed as if likelihoods were Gaussian.
# Where the prior matters more, they are wide, and not Gaussian: at S/N 10 and λ̂ = .67, m came out 6 % too low.
RESPONSE_MIN = 0.9
# Bias of m of the mean of posterior means, in units of their mean variance: the response to noise is not linear. With
# flux, size and centre free, it was −1.4 ± 0.4 at S/N 10 under a prior of 0.3, and −3.5 ± 0.4 under one of 0.7.
NOISE_BIAS = 4.0
EXCLUSION_P_MIN = 1e-3


def exclusion_by_shear(groups: Sequence[GroupCount]) -> list[Judgement]:
    """Test whether exclusion depends on the shear, by a permutation test with a fixed seed.

    The unit is an independent group: the arms of a pair or a ring are excluded together. Missing realizations, and
    arms without a partner because of them, are not used: they are missing because of the machine, not because of the
    data.
    """
    excluded = np.array([group.n_excluded for group in groups], dtype=np.int64)
    computed = np.array([group.n_computed for group in groups], dtype=np.int64)
    if len(computed) < 2 or excluded.sum() == 0:
        return []
    expected = computed * excluded.sum() / computed.sum()
    trials = np.random.default_rng(1).multivariate_hypergeometric(computed, excluded.sum(), 20_000, "marginals")
    distance = np.sum((trials - expected) ** 2 / expected, axis=1)
    observed = np.sum((excluded - expected) ** 2 / expected)
    p = float((1 + np.sum(distance >= observed - 1e-9)) / (1 + len(trials)))
    if p < EXCLUSION_P_MIN:
        verdict = Verdict.INVALID
        text = f"Exclusion depends on the shear (p = {number(p, '.1g')}): what is left is a biased choice."
    else:
        verdict, text = Verdict.PASS, f"Exclusion does not depend on the shear (p = {number(p, '.2g')})."
    return [Judgement("exclusion_by_shear", None, verdict, text, value=p, bound=EXCLUSION_P_MIN)]


def exclusion_by_sign(signs: Signs | None) -> list[Judgement]:
    """Test whether exclusion depends on the sign of g."""
    if signs is None or signs.n_only_plus + signs.n_only_minus == 0:
        return []
    lost = f"of {signs.n_pairs} pairs {signs.n_only_plus} lost the arm of +g alone, {signs.n_only_minus} that of −g"
    depends = signs.p < EXCLUSION_P_MIN
    verdict, said = (Verdict.INVALID, "depends") if depends else (Verdict.PASS, "does not depend")
    text = f"Exclusion {said} on the sign of the shear (p = {number(signs.p, '.2g')}): {lost}."
    return [Judgement("exclusion_by_sign", None, verdict, text, value=signs.p, bound=EXCLUSION_P_MIN)]


def galaxies_by_sign(signs: Signs | None) -> list[Judgement]:
    """Test whether galaxies of populations fail more often under one sign of g."""
    if signs is None or signs.n_only_plus + signs.n_only_minus == 0:
        return []
    depends = signs.p < EXCLUSION_P_MIN
    verdict, said = (Verdict.INVALID, "depends") if depends else (Verdict.PASS, "does not depend")
    text = (
        f"Failure of galaxies {said} on the sign of the shear (p = {number(signs.p, '.2g')}): "
        f"{signs.n_only_plus} failed or have "
        f"doubtful weights under +g, {signs.n_only_minus} under −g."
    )
    return [Judgement("galaxies_by_sign", None, verdict, text, value=signs.p, bound=EXCLUSION_P_MIN)]


def shrinkage(bias: ComponentBias) -> list[Judgement]:
    """Test the pull of a Gaussian prior."""
    if bias.shrinkage is None:
        return []
    k, value, error = bias.component, bias.shrinkage.lambda_hat, bias.shrinkage.error
    if value is None:
        verdict = Verdict.INVALID
        text = f"No posterior width of {k} is known, so the prior's pull cannot be corrected."
    elif value < RESPONSE_MIN:
        verdict = Verdict.INVALID
        text = (
            f"λ̂ of {k} is {number(value, '.2g')}, below {number(RESPONSE_MIN, 'g')}: the prior is too narrow "
            "against the noise for its pull "
            "to be removed safely; widen the prior on g, or use images with a higher S/N."
        )
    else:
        verdict, text = Verdict.PASS, f"λ̂ of {k} is {number(value, '.4g')}: the data speak, not the prior."
    return [Judgement("shrinkage", k, verdict, text, value=value, error=error, bound=RESPONSE_MIN)]


def response(response: PriorResponse, component: Component, limit: float) -> Judgement:
    """Test the pull of a prior that is not Gaussian; `limit` is the largest fraction of cut likelihoods.

    A single group does not make a campaign INVALID, however small that is: PASS includes its worst case.
    """
    mean, cut = response.mean, response.cut_frac
    remedy = "widen it, or make it Normal"
    if mean is None:
        verdict = Verdict.INVALID
        text = f"The prior on {component} is not Gaussian, and no likelihood explains the widths: {remedy}."
    elif mean < RESPONSE_MIN or (cut > limit and response.n_cut > 1):
        verdict = Verdict.INVALID
        text = (
            f"The prior on {component} is not Gaussian and leaves {percent(mean, '.0f')} of the shear; its "
            f"edges cut {percent(cut, '.1f')} of "
            f"the likelihoods: its pull cannot be removed safely; {remedy}."
        )
    else:
        verdict = Verdict.PASS
        text = f"The prior on {component} leaves {percent(mean, '.1f')} of the shear, and its pull is removed."
        if cut:
            text = f"{text} Its edges cut {percent(cut, '.1f')} of the likelihoods; they count as lost."
    return Judgement("shrinkage", component, verdict, text, value=mean, bound=RESPONSE_MIN)


def noise_bias(bias: ComponentBias, data: Estimates, bound: float) -> list[Judgement]:
    """Test whether posterior means of this width could be biased by more than the bound, whatever the method."""
    if (bias.m is None and bias.m_single_point is None) or not usable(data.raw_width):
        return []
    size = NOISE_BIAS * float(np.mean(data.raw_width**2))
    width = math.sqrt(size / NOISE_BIAS)
    text = (
        f"Posteriors of {bias.component} with a width of {number(width, '.2g')} can have a noise bias of up to "
        f"{number(size, '.2g')} in m"
    )
    if size > bound:
        text = (
            f"{text}, more than the bound {number(bound, 'g')}: m says nothing of the method; use images with a "
            "higher S/N."
        )
        return [Judgement("noise_bias", bias.component, Verdict.INVALID, text, value=size, bound=bound)]
    return [
        Judgement(
            "noise_bias",
            bias.component,
            Verdict.PASS,
            f"{text}; the bound is {number(bound, 'g')}.",
            value=size,
            bound=bound,
        )
    ]

"""Priors that are not Gaussian: how much they leave of a shear, and what the verdict says of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conftest import Write, load
from lanewise.families.shear.priors import Prior, uniform
from lanewise.families.shear.statistics import summary
from lanewise.families.shear.statistics.results import evaluate
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.prior_pull import kept
from lanewise.statistics.verdict import Verdict
from tables import MakeTable


@pytest.mark.parametrize("sigma", [0.004, 0.02, 0.05, 0.1])
def test_of_a_gaussian_it_is_lambda(sigma: float) -> None:
    lam = 0.05**2 / (0.05**2 + sigma**2)
    # The outermost of 4001 nodes stand for the tails, which matters most where nothing is left.
    assert kept(Prior("Normal", (0.0, 0.05)), lam * sigma**2) == pytest.approx(lam, abs=3e-3)


@pytest.mark.parametrize("half", [2.0, 4.0])
def test_of_a_uniform_it_is_the_variance_of_a_cut_gaussian(half: float) -> None:
    """Bounds at ± half widths: 1 − 2 h φ(h)/erf(h/√2), the closed form."""
    density = math.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    expected = 1 - 2 * half * density / math.erf(half / math.sqrt(2))
    assert kept(uniform(-half * 0.01, half * 0.01), expected * 0.01**2) == pytest.approx(expected, abs=2e-3)


def test_the_ends_are_all_and_nothing() -> None:
    assert kept(uniform(-1.0, 1.0), 1e-8) == 1.0
    assert kept(uniform(-1.0, 1.0), 1 / 3) == 0.0
    assert 0.9 < kept(Prior("StudentT", (4.0, 0.0, 0.1)), 0.01**2) < 1


@pytest.mark.parametrize(("width", "expected"), [(0.3, Verdict.PASS), (0.02, Verdict.INVALID)])
def test_a_prior_that_speaks_and_cannot_be_taken_out_makes_it_invalid(
    make_table: MakeTable, width: float, expected: Verdict
) -> None:
    """Likelihoods of .01 under bounds at ± width; the means are as if there were no pull, and are not believed."""
    table = make_table(n=200, g2=None, sigma=0.01, prior=(0.0, 1e3))
    half = width / 0.01
    density = math.exp(-(half**2) / 2) / math.sqrt(2 * math.pi)
    table["g1_std"] = 0.01 * np.sqrt(1 - 2 * half * density / math.erf(half / math.sqrt(2)))
    found = evaluate(
        table,
        priors=(None, None),
        unlike={"g1": uniform(-width, width)},
        acceptance=Acceptance(max_abs_m=0.3),
    ).verdict
    judged = next(j for j in found.judgements if j.criterion == "shrinkage")
    assert judged.verdict is expected
    assert found.verdict is expected
    assert ("widen it" in judged.sentence) == (expected is Verdict.INVALID)


def test_a_campaign_names_its_priors_that_are_not_gaussian(write: Write) -> None:
    campaign = load(write(config__gal__shear={"g1": {"type": "Uniform", "min": -0.3, "max": 0.3}, "g2": 0.0}))
    assert summary.unlike(campaign.record) == {"g1": uniform(-0.3, 0.3)}
    assert summary.priors(campaign.record) == (None, None)
    assert summary.unlike(load(write()).record) == {}

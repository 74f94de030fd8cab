"""The verdict: three errors against the bound, and what makes a campaign invalid."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import evaluate
from lanewise.families.shear.statistics.selection import ShearTruth
from lanewise.manifest.manifest import Acceptance
from lanewise.statistics.regression import Measure
from lanewise.statistics.verdict import Decision, Verdict, judge, n_needed
from tables import MakeTable, Spoil, known

PRIOR = GaussianPrior(0.0, 0.05)


def decision(
    table: pd.DataFrame,
    acceptance: Acceptance | None = None,
    missing: Sequence[ShearTruth] = (),
    prior: GaussianPrior = PRIOR,
) -> Decision:
    acceptance = acceptance or Acceptance(max_abs_m=0.01)
    return evaluate(table, priors=(prior, prior), acceptance=acceptance, missing=missing).verdict


def outcomes(found: Decision) -> dict[tuple[str, str | None], Verdict | None]:
    return {(j.criterion, j.component): j.verdict for j in found.judgements}


def not_computed(n: int) -> list[ShearTruth]:
    return [ShearTruth(f"g1_+0.0100_g2_+0.0000_s{1000 + i}", 0.01, 0.0, 1000 + i) for i in range(n)]


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.000, 0.0033, Verdict.PASS),
        (0.000, 0.0034, Verdict.INCONCLUSIVE),  # 3σ = 0.0102
        (0.009, 0.0001, Verdict.PASS),
        (-0.009, 0.0004, Verdict.INCONCLUSIVE),
        (0.011, 0.0002, Verdict.FAIL),
        (-0.011, 0.0004, Verdict.INCONCLUSIVE),
        (-0.500, 0.1600, Verdict.FAIL),
        (0.500, 0.1700, Verdict.INCONCLUSIVE),
        (0.010, 0.0000, Verdict.INCONCLUSIVE),
        (0.009, 0.0000, Verdict.PASS),
    ],
)
def test_three_errors_against_the_bound(value: float, error: float, expected: Verdict) -> None:
    assert judge("m", "g1", Measure(value, error, error, None), 0.01, 100).verdict is expected


def test_noise_never_turns_a_verdict_into_pass() -> None:
    """The rule that it replaces, |m| < max(bound, 3σ), lets a noisier run pass."""
    seen = [judge("m", "g1", Measure(0.02, e, e, None), 0.01, 10).verdict for e in (1e-4, 1e-3, 1e-2, 1e-1, 1)]
    assert seen == [Verdict.FAIL] * 2 + [Verdict.INCONCLUSIVE] * 3


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (0.0, 0.005, 225),  # 100 (0.015 / 0.01)²
        (0.005, 0.003, 324),  # 100 (0.009 / 0.005)²
        (-0.015, 0.003, 324),  # as far beyond the bound
        (0.008, 0.003, None),  # within one error of the bound
        (0.010, 0.001, None),
    ],
)
def test_realizations_that_would_decide(value: float, error: float, expected: int | None) -> None:
    assert n_needed(Measure(value, error, error, None), 0.01, 100, 3.0) == expected


def test_number_needed_decides_when_it_is_there(make_table: MakeTable) -> None:
    """A noise-free pilot of 60 asks for N = 60 (3σ_m / bound)²: N decide, and three fewer do not."""
    pilot = decision(make_table(n=20, sigma=1e-3, noise=1e-9))
    assert pilot.verdict is Verdict.INCONCLUSIVE
    assert f"{pilot.n_needed} realizations would decide" in " ".join(pilot.reasons)
    less, more = (make_table(n=-(-known(pilot.n_needed) // 3) - i, sigma=1e-3, noise=1e-9) for i in (1, 0))
    assert decision(less).verdict is Verdict.INCONCLUSIVE
    assert decision(more).verdict is Verdict.PASS


def test_planted_bias_fails_at_the_number_where_none_passes(make_table: MakeTable) -> None:
    """The negative control comes out FAIL, not INCONCLUSIVE, at the same N."""
    assert decision(make_table(n=8)).verdict is Verdict.PASS
    broken = decision(make_table(n=8, m=0.05))
    assert broken.verdict is Verdict.FAIL
    assert "above the bound 0.01" in broken.reasons[0]


def test_c_is_judged_where_it_has_a_bound(make_table: MakeTable) -> None:
    table = make_table(n=8, c=5e-4)
    assert decision(table).verdict is Verdict.PASS
    found = decision(table, Acceptance(max_abs_m=0.01, max_abs_c=1e-4))
    assert found.verdict is Verdict.FAIL
    assert outcomes(found)["c", "g2"] is Verdict.FAIL
    assert outcomes(found)["m", "g1"] is Verdict.PASS


def test_one_shear_value_is_judged_by_its_own_m(make_table: MakeTable) -> None:
    found = decision(make_table((0.02,), 8, m=0.05))
    assert found.verdict is Verdict.FAIL
    assert "one shear" in found.reasons[0]


@pytest.mark.parametrize("acceptance", [Acceptance(), Acceptance(level="level_1")])
def test_without_a_bound_nothing_passes(make_table: MakeTable, acceptance: Acceptance) -> None:
    found = decision(make_table(n=8), acceptance)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "set acceptance.max_abs_m" in found.reasons[0]


def test_zero_shear_cannot_show_m(make_table: MakeTable) -> None:
    found = decision(make_table((0.0,), 8))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "cannot be measured" in found.reasons[0]


def test_prior_that_speaks_makes_it_invalid(make_table: MakeTable) -> None:
    """λ = 0.41 at sigma = 0.06; a planted bias of −100 % would otherwise be FAIL."""
    found = decision(make_table(n=400, sigma=0.06, m=-1))
    assert outcomes(found)["m", "g1"] is Verdict.FAIL
    assert found.verdict is Verdict.INVALID
    assert "widen the prior on g" in found.reasons[0]


def test_unknown_widths_under_a_gaussian_prior_are_invalid(make_table: MakeTable) -> None:
    found = decision(make_table(n=8).assign(g1_std=float("nan")))
    assert outcomes(found)["shrinkage", "g1"] is Verdict.INVALID


@pytest.mark.parametrize(("lost", "expected"), [(5, Verdict.PASS), (6, Verdict.INVALID)])
def test_excluded_share_against_its_limit(make_table: MakeTable, spoil: Spoil, lost: int, expected: Verdict) -> None:
    """100 realizations, 5 % allowed: the limit itself is within."""
    found = decision(spoil(make_table((0.01, 0.05), 50), range(0, 16 * lost, 16)))
    assert found.verdict is expected
    assert f"{lost} excluded" in " ".join(found.reasons)


@pytest.mark.parametrize(("lost", "expected"), [(4, Verdict.INCONCLUSIVE), (8, Verdict.INVALID)])
def test_with_realizations_missing_a_campaign_never_passes(make_table: MakeTable, lost: int, expected: Verdict) -> None:
    found = decision(make_table(n=32), missing=not_computed(lost))
    assert found.verdict is expected
    assert f"{lost} missing" in " ".join(found.reasons)


def test_exclusion_that_depends_on_the_shear_is_invalid(make_table: MakeTable, spoil: Spoil) -> None:
    """Ten of 300 lost at one of three shears: 3 (1/3)^10 = 5e-5; the same ten spread out mean nothing."""
    table = make_table(n=100)
    assert decision(spoil(table, range(200, 210))).verdict is Verdict.INVALID
    assert decision(spoil(table, range(0, 300, 30))).verdict is Verdict.PASS


def test_three_losses_at_one_of_ten_shears_are_chance(make_table: MakeTable, spoil: Spoil) -> None:
    """10 · 0.1³ = 1 %: a χ² table would call it 0.1 %."""
    table = make_table([i / 200 for i in range(1, 11)], 10)
    found = outcomes(decision(spoil(table, [0, 4, 7])))
    assert found["exclusion_by_shear", None] is Verdict.PASS


def test_level_0_brings_its_bound_and_criteria(make_table: MakeTable) -> None:
    found = decision(make_table(n=8), Acceptance(level="level_0"))
    assert found.verdict is Verdict.PASS
    told = outcomes(found)
    assert told["width", "g1"] is told["collapsed_offset", "g2"] is Verdict.PASS
    assert told["offset_1sigma", "g1"] is None
    assert next(j for j in found.judgements if j.criterion == "m").bound == 0.01


def test_level_0_width(make_table: MakeTable) -> None:
    """Widths of 0.011 fail whatever m is; no posterior is collapsed, so that no offset is judged."""
    told = outcomes(decision(make_table(n=8, sigma=0.0115, noise=0.0), Acceptance(level="level_0")))
    assert told["width", "g1"] is Verdict.FAIL
    assert ("collapsed_offset", "g1") not in told


def test_level_0_collapsed_offset(make_table: MakeTable) -> None:
    """One narrow posterior 0.02 off its truth among 300: m hardly moves, the offset rule sees it."""
    table = make_table(n=100)
    table.loc[[150], "g2_mean"] += 0.02
    found = decision(table, Acceptance(level="level_0"))
    assert outcomes(found)["collapsed_offset", "g2"] is Verdict.FAIL
    assert found.verdict is Verdict.FAIL


def test_offsets_beyond_one_sigma_decide_nothing(make_table: MakeTable) -> None:
    """All posteriors 2σ off by a common c: reported, and level 0 passes, since no bound on c is set."""
    found = decision(make_table(n=8, c=2e-4, noise=0.0), Acceptance(level="level_0"))
    share = next(j for j in found.judgements if j.criterion == "offset_1sigma")
    assert (share.value, share.verdict) == (0.0, None)
    assert found.verdict is Verdict.PASS

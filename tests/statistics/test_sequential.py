"""Campaigns that are extended until they decide: a bias on its bound must not pass by being looked at often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from conftest import Write, load
from lanewise.families.shear import aggregate
from lanewise.families.shear.statistics import summary
from lanewise.statistics.regression import Measure
from lanewise.statistics.sequential import Reach, reach
from lanewise.statistics.verdict import Verdict, judge

BOUND, FIRST = 1.0, 40


def _carried_out(rng: np.random.Generator, bias: float, sequential: bool) -> Verdict:
    """A campaign that follows the advice of its verdict, for fifteen looks at the most."""
    sigma = FIRST**0.5 / 3 * 1.2
    extensions: tuple[int, ...] = ()
    n, total = FIRST, FIRST * bias + sigma * FIRST**0.5 * rng.standard_normal()
    for _ in range(15):
        error = sigma / n**0.5
        how = reach(FIRST, extensions) if sequential else Reach()
        found = judge("m", "g1", Measure(total / n, error, error, None), BOUND, n, reach=how)
        if found.verdict is not Verdict.INCONCLUSIVE:
            assert found.verdict is not None
            return found.verdict
        more = min((found.n_needed or 9 * n) - n, 20 * n)
        extensions = (*extensions, more)
        n, total = n + more, total + more * bias + sigma * more**0.5 * rng.standard_normal()
    return Verdict.INCONCLUSIVE


@pytest.mark.long
@pytest.mark.parametrize("sequential", [True, False])
def test_a_bias_on_the_bound_does_not_pass_by_fifteen_looks(sequential: bool) -> None:
    """At most .3 % pass; with three errors at every look some 2 % do, as many fail. 1e-4: false alarm."""
    rng, n = np.random.default_rng(5), 4000
    passed = sum(_carried_out(rng, BOUND, sequential) is Verdict.PASS for _ in range(n))
    limit = float(stats.binom.isf(1e-4, n, 0.003))
    assert (passed <= limit) == sequential


@pytest.mark.parametrize(("bias", "expected"), [(0.0, Verdict.PASS), (0.6, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_a_bias_that_is_off_the_bound_is_decided(bias: float, expected: Verdict) -> None:
    rng = np.random.default_rng(6)
    assert {_carried_out(rng, bias, sequential=True) for _ in range(100)} == {expected}


def test_the_first_look_needs_three_errors_and_later_ones_more() -> None:
    assert reach(40, ()).now == 3.0
    later = [reach(40, extensions) for extensions in ((1,), (40,), (40, 400), (40, 400, 4000))]
    assert [one.n_looks for one in later] == [2, 2, 3, 4]
    assert all(3.8 < one.now <= one.later < 4.5 for one in later)


def test_a_campaign_knows_its_looks_from_its_manifest(write: Write) -> None:
    for extensions, n_looks in (([], 1), ([2, 4], 3)):
        campaign = load(write(realizations={"count": 2, "extensions": extensions}))
        found = aggregate.evaluated(campaign.record, summary.table([]))
        assert found.acceptance.reach.n_looks == n_looks
        assert found.acceptance.reach.now == pytest.approx(3.0 if n_looks == 1 else 3.93, abs=0.03)

"""Exchange of the components, and data with one component only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lanewise.families.heterodyne import simulate
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.families.heterodyne.nlsq.result import FitResult

WHERE = simulate.Experiment()
CONSTANT: Mapping[str, float] = {**simulate.EXAMPLE, "f0": 0.3, "f1": 0.0, "f3": 0.0}
ONE: Mapping[str, float] = {**simulate.EXAMPLE, "f0": 0.0, "f1": 0.0, "f3": 0.0, "D0_sample": 1e12}
# J of reference and sample of both truths at t_ref = 3.80 s, by hand: 2e4 t^−0.2 + 500 and 8e3 t^0.3 + 100.
SLOW, FAST = 12040.0, 15814.0


def fitted(truth: Mapping[str, float], settings: Mapping[str, Any], noise_seed: int = 3) -> FitResult:
    matrices = simulate.simulate(truth, WHERE, noise_seed)
    return fit(TwoTimeData(matrices, WHERE.q, WHERE.dt, np.array(WHERE.phi)), settings)


def check_exchange(seeds: range) -> None:
    for seed in seeds:
        result = fitted(CONSTANT, {"fit": {"seed": seed}, "model": {"label": "minority_is_sample"}})
        assert result.converged, result.warnings
        # The data set is one, so every seed must give the numbers of one labelling: its errors are 0.6 and 1.7 %.
        assert result.j_ref.value == pytest.approx(FAST, rel=0.03)
        assert result.j_sample.value == pytest.approx(SLOW, rel=0.08)
        (sentence,) = (text for text in result.degenerate if text.startswith("exchange"))
        assert "a mean share of 0.7" in sentence
        assert abs(result.exchange_chi2) < 9


def check_no_exchange(seeds: range) -> None:
    for seed in seeds:
        result = fitted(simulate.EXAMPLE, {"fit": {"seed": seed}})
        assert result.converged, result.warnings
        assert result.exchange_chi2 > 1000
        assert not any("exchange" in text or "absent" in text for text in result.degenerate)


@pytest.mark.long
def test_at_a_constant_share_the_rule_labels_and_the_exchange_is_named() -> None:
    check_exchange(range(3))


def test_at_a_varying_share_no_exchange_is_named() -> None:
    check_no_exchange(range(2))


@pytest.mark.slow
def test_exchange_over_20_seeds() -> None:
    check_exchange(range(20))
    check_no_exchange(range(20))


def test_the_faster_component_is_the_sample_if_the_rule_says_so() -> None:
    result = fitted(CONSTANT, {"model": {"label": "faster_is_sample"}})
    assert result.converged, result.warnings
    assert (result.j_sample.value, result.j_ref.value) == pytest.approx((FAST, SLOW), rel=0.08)
    (sentence,) = (text for text in result.degenerate if text.startswith("exchange"))
    assert "labelled by faster_is_sample" in sentence


def test_bounds_that_exclude_a_labelling_decide() -> None:
    bounds = {"f0": {"max": 0.5}, "f1": 0.0, "f2": 0.0, "f3": 0.0}
    result = fitted(CONSTANT, {"parameters": bounds, "model": {"label": "faster_is_sample"}})
    assert result.converged, result.warnings
    assert (result.j_ref.value, result.j_sample.value) == pytest.approx((FAST, SLOW), rel=0.08)
    assert result.exchange_chi2 > 9
    assert not any(text.startswith("exchange") for text in result.degenerate)


def test_an_absent_component_is_named() -> None:
    result = fitted(ONE, {})
    (sentence,) = (text for text in result.degenerate if text.startswith("one component is absent"))
    assert "where its 10 unknowns need 106" in sentence
    # Ten unknowns lower χ² by 10 on average; a real component in the other tests by more than 100 000.
    assert 0 <= result.second_component_chi2 < 50


def test_contrast_at_its_bound_is_named() -> None:
    result = fitted(simulate.EXAMPLE, {"scaling": {"contrast": {"max": 0.29}}})
    assert "contrast" in result.at_bounds
    assert "offset" not in result.at_bounds

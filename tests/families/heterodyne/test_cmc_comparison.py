"""The report's comparison of fits and posteriors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lanewise.families.heterodyne import cmc_comparison


def table(**columns: list[float]) -> pd.DataFrame:
    """The summary of two tasks."""
    return pd.DataFrame({"task": ["a", "b"], "model": "static", "at_bounds": "", **columns})


def test_quantities_are_compared_in_the_larger_error() -> None:
    summary = table(J=[100.0, 100.0], J_error=[10.0, 10.0], J_cmc_mean=[105.0, 125.0], J_cmc_sd=[5.0, 10.0])
    found = cmc_comparison.compared(summary)
    assert found is not None
    (row,) = found.rows
    assert (row.identifiable, row.n, row.n_within, row.worst_task) == (True, 2, 1, "b")
    assert row.worst_z == pytest.approx(2.5)
    assert row.ratio == pytest.approx(0.75)
    assert found.sentence.startswith("1 of 2 pairs")
    assert row.why.startswith("the posterior is not normal")


@pytest.mark.parametrize(
    ("error", "at_bounds", "why"), [(1e4, "", "the prior narrows"), (10.0, "D_offset", "the fit ended at a bound")]
)
def test_the_reason_of_a_difference_is_told(error: float, at_bounds: str, why: str) -> None:
    columns = {"D_offset_error": [error] * 2, "D_offset_cmc_mean": [0.0, 3e4], "D_offset_cmc_sd": [10.0, 10.0]}
    summary = table(D_offset=[0.0, 0.0], **columns).assign(at_bounds=at_bounds)
    found = cmc_comparison.compared(summary)
    assert found is not None
    assert found.rows[0].why.startswith(why)
    assert not found.rows[0].identifiable


def test_fits_alone_are_not_compared() -> None:
    assert cmc_comparison.compared(table(J=[1.0, 2.0], J_error=[0.1, np.inf])) is None
    assert cmc_comparison.compared(pd.DataFrame()) is None


@pytest.mark.filterwarnings("error")
def test_a_value_that_the_fit_holds_fixed_has_no_ratio() -> None:
    columns = {"D_offset_error": [0.0] * 2, "D_offset_cmc_mean": [0.0, 3e4], "D_offset_cmc_sd": [10.0, 10.0]}
    found = cmc_comparison.compared(table(D_offset=[0.0, 0.0], **columns))
    assert found is not None
    assert (found.rows[0].ratio, found.rows[0].why) == (None, "the fit holds it fixed")

"""The report of kind model."""

from __future__ import annotations

import pandas as pd

from lanewise.families.model import report


def test_a_site_named_mean_is_the_only_element_of_its_columns() -> None:
    columns = ["mean_mean", "mean_sd", "mean_q05", "mean_median", "mean_q95", "rhat_mean", "ess_mean"]
    summary = pd.DataFrame([[1.0, 0.1, 0.8, 1.0, 1.2, 1.0, 400.0]], columns=columns).assign(status="ok")
    assert [element.name for element in report.elements(summary)] == ["mean"]

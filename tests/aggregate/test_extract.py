import numpy as np
import pandas as pd
import pytest

from lanewise.aggregate import extract
from lanewise.errors import ManifestError


def test_the_summary_reads_back_to_the_same_bits() -> None:
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    frame = extract.table(
        [{"run_id": f"r{k}", "seed": k, "g1_mean": v, "divergences": None} for k, v in enumerate(values)]
    )
    again = extract.from_csv(extract.to_csv(frame), "t.csv")
    assert again["g1_mean"].to_numpy().tobytes() == values.tobytes()


def test_undefined_is_empty_and_whole_numbers_stay_whole() -> None:
    frame = extract.table(
        [{"run_id": "a", "seed": 42, "divergences": 3}, {"run_id": "b", "seed": 43, "divergences": None}]
    )
    header, first, second = extract.to_csv(frame).decode().splitlines()
    columns = header.split(",")
    assert [dict(zip(columns, row.split(","), strict=True))["divergences"] for row in (first, second)] == ["3", ""]
    assert dict(zip(columns, second.split(","), strict=True))["seed"] == "43"


def test_no_realizations_are_a_table_with_all_columns() -> None:
    frame = extract.from_csv(extract.to_csv(extract.table([])), "t.csv")
    assert len(frame) == 0
    assert "passed_convergence" in frame.columns


def test_another_table_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(ManifestError, match=r"t.csv:1: expected the columns of summary.csv, got none named .*g1_mean"):
        extract.from_csv(pd.DataFrame({"run_id": ["a"], "seed": [1]}).to_csv().encode(), "t.csv")

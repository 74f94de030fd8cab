import numpy as np
import pandas as pd
import pytest

from lanewise.errors import ManifestError
from lanewise.families.shear.statistics import summary
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.report.tables import frame_csv


def test_the_summary_reads_back_to_the_same_bits() -> None:
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    frame = summary.table(
        [{"run_id": f"r{k}", "seed": k, "g1_true": 0.0, "g2_true": 0.0, "g1_mean": v} for k, v in enumerate(values)]
    )
    again = summary.from_csv(frame_csv(frame), "t.csv")
    assert again["g1_mean"].to_numpy().tobytes() == values.tobytes()


def test_undefined_is_empty_and_whole_numbers_stay_whole() -> None:
    frame = summary.table(
        [{"run_id": "a", "seed": 42, "divergences": 3}, {"run_id": "b", "seed": 43, "divergences": None}]
    )
    header, first, second = frame_csv(frame).decode().splitlines()
    columns = header.split(",")
    assert [dict(zip(columns, row.split(","), strict=True))["divergences"] for row in (first, second)] == ["3", ""]
    assert dict(zip(columns, second.split(","), strict=True))["seed"] == "43"


def test_no_realizations_are_a_table_with_all_columns() -> None:
    frame = summary.from_csv(frame_csv(summary.table([])), "t.csv")
    assert len(frame) == 0
    assert "passed_convergence" in frame.columns


def test_another_table_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(ManifestError, match=r"t.csv:1: expected the columns of summary.csv, got none named .*g1_mean"):
        summary.from_csv(pd.DataFrame({"run_id": ["a"], "seed": [1]}).to_csv().encode(), "t.csv")


@pytest.mark.parametrize(
    ("csv", "complaint"),
    [
        (b"", "t.csv: cannot be read as CSV"),
        (b"\x00\xff\xfe\x01", "t.csv: "),
        (b'a,b\n"open,1\n', "t.csv: cannot be read as CSV"),
        (b"HEAD\na,.1,0,word,.1,0,.1,True,1\n", "t.csv:2: g1_mean: expected a number or nothing, got 'word'"),
        (b"HEAD\na,.1,0,.1,.1,0,.1,True,\n", "t.csv:2: seed: expected a whole number"),
        (b"HEAD\na,.1,0,.1,.1,0,.1,True,1.5\n", "t.csv:2: seed: expected a whole number, got '1.5'"),
        (b"HEAD\na,,0,.1,.1,0,.1,True,1\n", "t.csv:2: g1_true: expected a number"),
        (
            b"HEAD\na,.1,0,.1,.1,0,.1,True,1\na,.1,0,.1,.1,0,.1,True,2\n",
            "t.csv:3: run_id: expected a run id that no other",
        ),
    ],
)
def test_a_table_that_is_not_a_summary_is_one_clear_message(csv: bytes, complaint: str) -> None:
    head = b"run_id,g1_true,g2_true,g1_mean,g1_std,g2_mean,g2_std,passed_convergence,seed"
    with pytest.raises(ManifestError) as caught:
        summary.from_csv(csv.replace(b"HEAD", head), "t.csv")
    assert str(caught.value).startswith(complaint)


def test_the_likelihoods_estimate_is_free_of_the_priors_pull() -> None:
    rows = [
        {"run_id": f"r{k}", "seed": k, "g1_true": g, "g2_true": 0.0, "g1_mean": 0.8 * g, "g1_std": 0.2 * 0.8**0.5}
        for k, g in enumerate((0.1, 0.2, 0.3))
    ]
    table = summary.table([{**row, "passed_convergence": True, "status": "ok"} for row in rows])
    # A likelihood of width 0.2 under a prior of width 0.4: λ = 0.4²/(0.4² + 0.2²) = 0.8, posterior width 0.2 √0.8.
    freed = summary.with_likelihood(table, (GaussianPrior(0.0, 0.4), None))
    np.testing.assert_allclose(freed["g1_lik_mean"], [0.1, 0.2, 0.3])
    np.testing.assert_allclose(freed["g1_lik_std"], 0.2)
    assert freed["g2_lik_mean"].isna().all()
    np.testing.assert_array_equal(freed["g1_mean"], table["g1_mean"])

"""A log density of the user's own, without NumPyro."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Lanewise, load
from families.model.campaigns import SIZES, write

# The mean of normal numbers of width 2 with the prior N(0, 10²), by ten times its value.
DENSITY = """
def log_density(position, data):
    mu = 10 * position["tenth"]
    fit = jnp.where(data["mask"], -0.5 * ((data["y"] - mu) / 2) ** 2, 0.0)
    return jnp.sum(fit) - 0.5 * (mu / 10) ** 2

def start(data):
    return {"tenth": jnp.mean(data["y"]) / 10 + 0.5}

def derived(position, data):
    return {"mu": 10 * position["tenth"]}
"""
NAMED = {"model": "model.py:log_density"}


@pytest.mark.long
def test_a_density_of_ones_own_has_its_posterior_whatever_the_size_of_the_data_set(tmp_path: Path) -> None:
    campaign = load(write(tmp_path, DENSITY, **NAMED))
    assert campaign.run().all_ok
    summary, rows = campaign.summary, pd.read_csv(tmp_path / "stars.csv")
    for at, n in enumerate(SIZES):
        one, precision = summary.iloc[at], n / 4 + 1 / 100
        y = rows["y"][rows["star"] == one["id"]]
        # 400 independent draws of a Gaussian: 4.5 standard errors.
        assert one["mu_mean"] == pytest.approx(y.sum() / 4 / precision, abs=4.5 / np.sqrt(400 * precision))
        assert one["mu_sd"] == pytest.approx(precision**-0.5, rel=4.5 / np.sqrt(800))
        assert one["tenth_mean"] == pytest.approx(one["mu_mean"] / 10, rel=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("def start(", "def begin(", "is a log density of its own, and has no start(data) beside it"),
        (
            'return {"tenth": jnp.mean(data["y"]) / 10 + 0.5}',
            "return 0.5",
            "start(data) returns float, expected a dict",
        ),
        ("return jnp.sum(fit)", "return fit", "log_density returns shape (5,), expected one number"),
        ('jnp.where(data["mask"], -0.5', "(-0.5", "changes when rows are added"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, lanewise: Lanewise, old: str, new: str, said: str) -> None:
    wrong = DENSITY.replace(old, new).replace("** 2, 0.0)", "** 2)" if new == "(-0.5" else "** 2, 0.0)")
    code, _, err = lanewise("validate", write(tmp_path, wrong, **NAMED))
    assert (code, "model.py: " in err, said in err) == (65, True, True), err


def test_outputs_need_observed_sites(tmp_path: Path, lanewise: Lanewise) -> None:
    code, _, err = lanewise("validate", write(tmp_path, DENSITY, **NAMED, outputs={"log_likelihood": True}))
    assert (code, "outputs: the model has factors only" in err) == (65, True), err

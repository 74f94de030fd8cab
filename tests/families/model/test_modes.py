"""Posteriors with several modes: told where the draws have missed one, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import load
from families.model.campaigns import write

# The sign of mu is left open by the data; the prior leaves it open for `0.0`.
SQUARE = """
def model(data):
    mu = numpyro.sample("mu", dist.Normal({centre}, 3))
    numpyro.sample("y", dist.Normal(mu ** 2, 2.0), obs=data["y"])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("centre", "status"), [(0.0, "not_converged"), (12.0, "ok")])
def test_a_mode_that_the_draws_have_missed_is_told_unless_it_has_no_mass(
    tmp_path: Path, centre: float, status: str
) -> None:
    data = "star,x,y\n" + "\n".join(f"s0,{k},{9 + np.sin(k):.3f}" for k in range(8)) + "\n"
    campaign = load(write(tmp_path, SQUARE.format(centre=centre), data))
    campaign.run()
    (row,) = campaign.summary.to_dict("records")
    assert row["status"] == status
    if status == "not_converged":
        sign = "-" if row["mu_mean"] > 0 else ""
        assert f"The posterior has 2 modes, and 0% of the draws are at the one near mu = {sign}3.0" in row["reason"]
        assert "which has about 50% of the mass" in row["reason"]


@pytest.mark.slow
def test_modes_that_the_draws_have_visited_are_no_fault(tmp_path: Path) -> None:
    # Two modes that chains can cross.
    model = SQUARE.format(centre=0.0).replace("2.0)", "14.0)")
    data = "star,x,y\n" + "\n".join(f"s0,{k},{9 + np.sin(k):.3f}" for k in range(8)) + "\n"
    nuts = {"method": "nuts", "nuts_config": {"warmup": 500, "samples": 2000, "chains": 4}}
    campaign = load(write(tmp_path, model, data, inference=nuts))
    campaign.run()
    (row,) = campaign.summary.to_dict("records")
    assert row["status"] == "ok", row["reason"]
    assert abs(row["mu_mean"]) < 0.5
    assert row["mu_sd"] > 1.5

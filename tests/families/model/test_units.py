"""Units of columns are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import arviz
import pyarrow.parquet
import pytest
from matplotlib.figure import Figure

from conftest import load
from families.model.campaigns import MEAN, table, write
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.families.model import figures
from lanewise.storage import commits


def predictions(campaign: Campaign) -> Figure:
    found = campaign.record.commits().values()
    results = [one for commit in found for one in commits.load_results(campaign.record.store, commit)]
    figure = Figure()
    figures._predictions([one for one in results if isinstance(one, Result)], figure)
    return figure


@pytest.mark.long
def test_units_of_columns_reach_posterior_summary_and_report(tmp_path: Path) -> None:
    model = MEAN.replace('numpyro.sample("y"', 'numpyro.sample("seen"')
    data = table((5, 6)).replace("star,x,y", "star,x [d],flux [mJy]")
    inputs = {"table": "stars.csv", "id": "star", "columns": {"x": "x", "y": "flux"}}
    outputs = {"log_likelihood": True, "posterior_predictive": True}
    campaign = load(write(tmp_path, model, data, inputs=inputs, outputs=outputs))
    assert campaign.run().all_ok
    campaign.aggregate()
    results = tmp_path / "results"
    found: Any = arviz.from_netcdf(results / "s0" / "posterior.nc")
    assert found.constant_data["x"].attrs["units"] == "d"
    assert found.observed_data["seen"].attrs["units"] == "mJy"
    assert found.posterior_predictive["seen"].attrs["units"] == "mJy"
    assert "units" not in found.log_likelihood["seen"].attrs
    assert found.attrs["units"] == "x [d], y [mJy], seen [mJy]"
    metadata = pyarrow.parquet.read_schema(results / "summary.parquet").metadata
    assert json.loads(metadata[b"units"]) == {"x": "d", "y": "mJy"}
    page = (results / "report.html").read_text()
    assert "Columns: x [d], y [mJy]." in page
    figure = predictions(campaign)
    assert [panel.get_xlabel() for panel in figure.axes[:2]] == ["x [d]", "x [d]"]
    assert [panel.get_ylabel() for panel in figure.axes[:2]] == ["seen [mJy]", "seen [mJy]"]


def test_without_units_there_are_none(tmp_path: Path) -> None:
    campaign = load(write(tmp_path))
    campaign.run()
    assert "units" not in arviz.from_netcdf(tmp_path / "results" / "s0" / "posterior.nc").attrs

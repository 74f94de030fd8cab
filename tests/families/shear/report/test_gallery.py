"""Realizations to look at: the right ones, drawn again from their seeds, and chains side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from conftest import Lanewise, Write, load
from families.shear.report.test_page import Reader, missing_numbers
from lanewise.engine.results import Diagnostics, Result
from lanewise.families.shear.report import gallery
from lanewise.manifest.status import LaneStatus
from tables import MakeTable


def test_the_farthest_come_first_whichever_component_is_off(make_table: MakeTable) -> None:
    table = make_table((0.01, 0.02), 4)
    table.loc[[3], "g2_mean"] -= 60e-4
    table.loc[[6], "g1_mean"] += 40e-4
    table.loc[[1], "g1_mean"] += 90e-4
    counted = [name for name in table["run_id"] if name != table.loc[1, "run_id"]]
    found = gallery.outliers(table, counted)
    assert [one.run_id for one in found[:2]] == [table.loc[3, "run_id"], table.loc[6, "run_id"]]
    assert (found[0].component, found[1].component) == ("g2", "g1")
    assert found[0].pull == pytest.approx(-60, abs=5)
    assert len(found) == 4


def test_the_worst_mixed_has_the_largest_rhat_of_either_component(make_table: MakeTable) -> None:
    table = make_table()
    assert gallery.least_mixed(table.assign(rhat_g1=np.nan, rhat_g2=np.nan)) is None
    table.loc[4, "rhat_g2"] = 1.3
    table.loc[5, "rhat_g1"] = 1.2
    assert gallery.least_mixed(table) == table.loc[4, "run_id"]


def test_chains_are_drawn_the_same_each_time() -> None:
    draws = {name: np.random.default_rng(1).standard_normal((3, 200)) for name in ("g1", "g2", "flux")}
    found = Diagnostics(rhat={"g1": 1.01, "g2": 1.02, "flux": 2.0}, ess={"g1": 90.0, "g2": 300.0})
    result = Result("r", 1, LaneStatus.OK, "", "nuts", {}, draws, diagnostics=found)
    told = gallery.chains_of(result)
    assert (told.rhat, told.ess, told.n_chains, told.n_draws) == (1.02, 90.0, 3, 200)
    assert gallery.draw_chains(result) == gallery.draw_chains(result)


@pytest.mark.long
def test_the_report_shows_data_model_and_residual(write: Write, lanewise: Lanewise, tmp_path: Path) -> None:
    """Images made again from their seeds: at the mode of 576 pixels χ² is 576 − 4 ± 34, all four within 5 σ."""
    path = write(realizations={"count": 3}, batch={"size": 6, "width": 4})
    assert lanewise("run", path)[0] == 0
    assert lanewise("aggregate", path)[0] == 0
    content = json.loads((tmp_path / "results" / "stats" / "bias_results.json").read_text())
    assert len(content["outliers"]) == 4
    for one in content["outliers"]:
        assert one["n_pixels"] == 576
        assert one["chi2"] == pytest.approx(572, abs=170)
    html = (tmp_path / "results" / "report.html").read_text()
    reader = Reader()
    reader.feed(html)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in reader.addresses)
    assert len(re.findall("data:image/png", html)) >= 12
    assert missing_numbers(html, content, {"map": 6}) == []
    lines = (tmp_path / "results" / "stats" / "bias_results.csv").read_text().splitlines()
    assert f"g1.m.value,{content['g1']['m']['value']}" in lines
    assert load(path).aggregate().outliers[0].run_id == content["outliers"][0]["run_id"]

"""Calibration of a model campaign: truths from the priors, data from the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Lanewise, load
from families.model.campaigns import MEAN, write
from lanewise.engine.results import Result
from lanewise.storage import commits

RIGHT = {"count": 120}


def _verdict(folder: Path, model: str = MEAN, count: int = 120) -> tuple[str, pd.DataFrame]:
    output = {"url": str(folder / "results"), "layout": "packed"}
    path = write(folder, model, calibration={"count": count}, batch={"size": 500, "width": 16}, output=output)
    campaign = load(path)
    campaign.run()
    campaign.aggregate()
    found = json.loads((folder / "results" / "stats" / "calibration_results.json").read_text())
    return found["verdict"]["verdict"], pd.read_csv(folder / "results" / "stats" / "ranks.csv")


@pytest.mark.long
def test_truths_are_drawn_from_the_priors_and_ranked(tmp_path: Path) -> None:
    verdict, ranks = _verdict(tmp_path)
    assert verdict in {"PASS", "INCONCLUSIVE"}
    assert len(ranks) == 120
    record = load(str(tmp_path / "m.yaml")).record
    results = [one for commit in record.commits().values() for one in commits.load_results(record.store, commit)]
    truths = [one.truth["mu"] for one in results if isinstance(one, Result) and one.truth]
    # N(0, 10²): five standard errors.
    assert abs(np.mean(truths)) < 5 * 10 / np.sqrt(120)
    assert np.std(truths) == pytest.approx(10, rel=5 / np.sqrt(240))
    assert list(pd.read_csv(tmp_path / "results" / "summary.csv")["id"]) == ["s0", "s1", "s2", "s3"]
    page = (tmp_path / "results" / "report.html").read_text()
    assert "4 of 4 data sets converged" in page
    assert "simulated data sets" in page


@pytest.mark.slow
def test_a_posterior_of_half_the_variance_fails(tmp_path: Path) -> None:
    # Every datum counts twice: the variances are half of what they should be.
    twice = MEAN.replace('    with numpyro.plate("p', '    with numpyro.handlers.scale(scale=2.0), numpyro.plate("p')
    verdict, _ = _verdict(tmp_path, twice, 400)
    assert verdict == "FAIL"


@pytest.mark.slow
def test_a_scalar_distribution_is_drawn_for_every_row(tmp_path: Path) -> None:
    scalar = MEAN.replace('    with numpyro.plate("point", data["y"].shape[0]):\n    ', "")
    verdict, ranks = _verdict(tmp_path, scalar, 100)
    assert (verdict in {"PASS", "INCONCLUSIVE"}, len(ranks)) == (True, 100)


def test_what_cannot_be_simulated_is_told(tmp_path: Path, lanewise: Lanewise) -> None:
    model = MEAN.replace('obs=data["y"]', 'obs=data["y"] + 1')
    code, _, err = lanewise("validate", write(tmp_path, model, calibration=RIGHT))
    assert (code, "model.py:11: 'y' observes no column of data as it stands" in err) == (65, True), err
    code, _, err = lanewise("validate", write(tmp_path, calibration=RIGHT, inference={"method": "map"}))
    assert (code, "inference.method: map leaves no draws" in err) == (65, True), err

"""A campaign whose tasks fit different models: files, summary and report have what each model has."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import UsageError
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.data import load_data
from lanewise.manifest import schema
from lanewise.problems.heterodyne import correlation

RUN = CliRunner()
FIT = {"candidates": 128, "starts": 8, "polish": 4, "agreement": 2, "hops": 8}
ANGLES = ["--phi", "-40", "--phi", "0", "--phi", "40"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    options = ["--model", "laminar_flow", "--gap", "1e6", "--frames", "24", "--dt", "0.4", *ANGLES]
    done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(root), *options, "--set", "gamma_dot_t0=1.6e-4"])
    assert done.exit_code == 0, done.output
    points = [
        {"model.type": "laminar_flow", "model.compare": ["static"]},
        {"model.type": "static", "model.compare": []},
    ]
    document = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "models",
        "inputs": str(root / "het_s42.h5"),
        "config": {"fit": FIT, "model": {"gap": 1e6}},
        "sweep": {"list": points},
        "output": {"url": str(root / "out")},
    }
    (root / "m.yaml").write_text(yaml.safe_dump(document))
    for command in ("run", "aggregate"):
        done = RUN.invoke(cli.app, [command, str(root / "m.yaml")])
        # The static model does not describe the data: its fit does not converge.
        assert done.exit_code == (2 if command == "run" else 0), done.output
    return root


def by_model(results: Path) -> dict[str, Path]:
    found = {}
    for path in (results / "out").rglob("result.json"):
        content = json.loads(path.read_text())
        jsonschema.Draft7Validator(schema.load("result")).validate(content)
        found[content["config"]["model"]["type"]] = path
    return found


@pytest.mark.long
def test_a_result_has_the_parameters_of_its_model(results: Path) -> None:
    found = by_model(results)
    flow, static = (json.loads(found[name].read_text())["nlsq"] for name in ("laminar_flow", "static"))
    assert abs(flow["gamma_dot_t0"] - 1.6e-4) < 4 * flow["errors"]["gamma_dot_t0"]
    assert {"J", "D0", "alpha", "D_offset"} <= set(static)
    assert not {"D0_ref", "gamma_dot", "f0"} & set(static)
    assert (flow["comparison"]["criterion"], flow["comparison"]["best"]) == ("BIC", "laminar_flow")
    assert flow["comparison"]["deltas"]["static"] > 10
    assert "comparison" not in static


def test_one_call_gives_the_fitted_correlation_from_the_arrays(results: Path) -> None:
    path = by_model(results)["laminar_flow"]
    (npz,) = path.parent.glob("*.npz")
    arrays = np.load(npz)
    names = ("parameters", "t", "q", "dt", "phi", "contrast", "offset")
    parameters, t, q, dt, phi, contrast, offset = (arrays[name] for name in names)
    by = Definitions(gap=1e6)
    model = correlation("laminar_flow", parameters, t, q, float(dt), phi, contrast, offset, by)
    data = load_data(str(results / "het_s42.h5"))
    above = np.triu_indices(24, 1)
    # Noise of 0.005 in 828 values; four errors of its rms.
    assert (data.c2 - model)[:, *above].std() == pytest.approx(0.005, rel=0.1)
    assert arrays["rates"].shape == (2, 24)


def test_summary_and_report_show_every_model(results: Path) -> None:
    summary = pd.read_csv(results / "out" / "summary.csv").set_index("model")
    assert summary["gamma_dot"].isna()["static"]
    assert summary.loc["laminar_flow", "best_model"] == "laminar_flow"
    assert summary.loc["laminar_flow", "delta_bic_laminar_flow"] == 0
    assert summary.loc["static", "status"] == "not_converged"
    page = (results / "out" / "report.html").read_text()
    assert "ΔBIC of static" in page
    assert "|gamma_dot| [1/s]" in page
    assert "J_sample" not in page


def test_a_gap_without_a_flow_is_a_usage_error(tmp_path: Path) -> None:
    done = RUN.invoke(cli.app, ["simulate", "heterodyne", str(tmp_path), "--model", "static", "--gap", "1e6"])
    assert isinstance(done.exception, UsageError)
    assert "does not use it" in str(done.exception)

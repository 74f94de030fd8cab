"""One fit of several q of a file, with shared parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import DataError
from lanewise.families.heterodyne import config, simulate
from lanewise.families.heterodyne.data import joined, load, load_data
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import scaling
from lanewise.families.heterodyne.nlsq.fit import fit, fit_file
from lanewise.families.heterodyne.nlsq.result import FitResult
from lanewise.manifest import schema

RUN = CliRunner()
Q = (0.004, 0.0065)
PHI = (-40.0, 0.0, 40.0)
FIT = {"candidates": 128, "starts": 8, "polish": 4, "agreement": 2, "hops": 8}
STATIC = MODELS["static"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with two q, of different contrast, at three angles."""
    path = tmp_path_factory.mktemp("joint") / "two.h5"
    parts = []
    for seed, (q, contrast) in enumerate(zip(Q, (0.3, 0.2), strict=True)):
        where = simulate.Experiment(24, 0.4, q, PHI, contrast=contrast, model=STATIC)
        parts.append(simulate.simulate(STATIC.example, where, seed))
    with h5py.File(path, "w") as file:
        file["c2"] = np.concatenate(parts)
        file["q"], file["phi"], file["t"] = np.repeat(Q, 3), PHI * 2, 0.4 * np.arange(1, 25)
    return str(path)


def settings(q: Any) -> dict[str, Any]:
    return {"data": {"q": q}, "fit": FIT, "model": {"type": "static"}}


@pytest.fixture(scope="module")
def both(source: str) -> FitResult:
    return fit_file(source, settings("all"))


@pytest.mark.long
def test_parameters_are_shared_and_scaling_is_that_of_each_q(source: str, both: FitResult) -> None:
    assert both.converged, both.warnings
    # Three parameters; contrast and offset of two q.
    assert both.n_free == 7
    assert [one.value for one in both.contrast] == pytest.approx([0.3] * 3 + [0.2] * 3, abs=0.01)
    t_ref, p = both.t_ref, STATIC.example
    truth = p["D0"] * t_ref ** p["alpha"] + p["D_offset"]
    assert abs(both.headline["J"].value - truth) < 4 * both.headline["J"].error
    alone = [fit_file(source, settings(q)).headline["J"] for q in Q]
    # The weighted mean of independent fits: that of three parameters together is a little better.
    mean = sum(one.value / one.error**2 for one in alone) / sum(one.error**-2 for one in alone)
    assert both.headline["J"].error < min(one.error for one in alone)
    assert abs(both.headline["J"].value - mean) < both.headline["J"].error


def test_a_list_of_q_is_fitted_together(source: str, both: FitResult) -> None:
    assert fit_file(source, settings(list(Q))).ssr == both.ssr
    with pytest.raises(DataError, match=r"holds no q 0\.02"):
        fit_file(source, settings([Q[0], 0.02]))


def test_a_pair_counts_if_it_does_at_every_q(source: str) -> None:
    one, two = load(source, config.checked({"data": {"q": "all"}}).data)
    one.c2[:, 3, :] = one.c2[:, :, 3] = np.nan
    found = joined([one, two])
    assert not found.counted[3].any()
    assert np.isnan(found.c2[5, 3]).all()
    assert np.asarray(found.q).tolist() == pytest.approx([Q[0]] * 3 + [Q[1]] * 3)


@pytest.mark.parametrize(("mode", "n"), [("auto", 2), ("individual", 6)])
def test_matrices_of_different_q_share_no_contrast(mode: config.ScalingMode, n: int) -> None:
    q = np.array([2.0, 1.0] * 3)
    _, found = scaling.setting(config.Scaling(mode), np.ones((6, 9, 9)), np.array(PHI * 2), 1.0, q)
    assert found.basis.shape == (6, n)
    of_first, of_second = found.basis[::2].any(axis=0), found.basis[1::2].any(axis=0)
    assert not (of_first & of_second).any()
    assert found.basis.sum() == 6


@pytest.mark.long
def test_a_campaign_fits_all_q_in_one_task(source: str, tmp_path: Path) -> None:
    document: dict[str, Any] = {"apiVersion": "lanewise/v1", "kind": "heterodyne", "name": "joint", "inputs": source}
    document |= {"config": settings("all"), "output": {"url": str(tmp_path / "out")}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(document))
    for command in (["run"], ["aggregate", "--figures"]):
        done = RUN.invoke(cli.app, [command[0], str(tmp_path / "m.yaml"), *command[1:]])
        assert done.exit_code == 0, done.output
    (path,) = (tmp_path / "out").rglob("result.json")
    content = json.loads(path.read_text())
    jsonschema.Draft7Validator(schema.load("result")).validate(content)
    assert content["data"]["q"] == pytest.approx([Q[0]] * 3 + [Q[1]] * 3)
    assert len(content["nlsq"]["contrast"]) == 6
    assert "q = 0.006500 Å⁻¹, φ = 40°" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.long
def test_speckle_errors_hold_for_several_q(source: str) -> None:
    parts = load(source, config.checked({"data": {"q": "all"}}).data)
    noise = {"noise": "speckle", "pixels": 4000, "modes": 3}
    result = fit(joined(parts), {"fit": FIT, "model": {"type": "static"}, "errors": noise})
    assert result.speckle is not None
    assert len(result.speckle.detector.pixels) == 6
    assert np.isfinite(result.headline["J"].error)


def test_one_q_is_read_as_before(source: str) -> None:
    assert load_data(source, q=Q[0]).q == pytest.approx(Q[0])

"""catalogue.parquet: means, covariance, response and log likelihood of every object, with units, in little memory."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from conftest import CALIBRATED, SCENE, Lanewise, Write, load
from lanewise.engine.results import Result
from lanewise.families.shear.catalogue import columns, file, galaxies
from lanewise.manifest.plan import Single
from lanewise.manifest.problem import Members
from lanewise.manifest.status import LaneStatus
from lanewise.storage import commits


@pytest.mark.long
def test_means_and_covariance_are_those_of_the_draws(write: Write, lanewise: Lanewise, tmp_path: Path) -> None:
    manifest = write(config=CALIBRATED)
    campaign = load(manifest)
    campaign.run()
    code, out, _ = lanewise("catalogue", manifest)
    path = tmp_path / "results" / "catalogue.parquet"
    assert (code, out) == (0, f"4 objects: {path}\n")
    found = pd.read_parquet(path)
    assert list(found["run_id"]) == [one.run_id for one in campaign.plan.realizations]
    names = ["g1", "g2", "flux", "x", "y"]
    for at, row in found.iterrows():
        posterior = campaign.posterior(row["run_id"])["posterior"]
        draws = np.stack([posterior[name].to_numpy().ravel() for name in names])
        np.testing.assert_allclose(row[[f"{name}_mean" for name in names]].to_numpy(float), draws.mean(axis=1))
        covariance = np.cov(draws)
        for i, a in enumerate(names):
            for j, b in enumerate(names[i:], start=i):
                assert row[f"cov_{a}_{b}"] == pytest.approx(covariance[i, j], rel=1e-9), at
    summary = campaign.summary
    assert list(found["chi2"]) == list(summary["chi2"])
    # S/N of a known flux: the noise and the image are those of every realization.
    assert found["signal_to_noise"].between(100, 300).all()
    assert list(found["flags"] == 0) == list(summary["status"] == "ok")
    # No pull is a response of 1; the mean over objects is the λ̂ of the campaign.
    lambda_hat = 1 - summary["g1_std"].astype(float) ** 2 / 0.2**2
    assert list(found["response_g1"]) == pytest.approx(list(lambda_hat), rel=1e-9)
    metadata = {field.name: field.metadata for field in parquet.read_schema(path)}
    assert metadata["cov_g1_flux"][b"unit"] == "reduced shear · flux".encode()
    assert all(one[b"meaning"] for one in metadata.values())


def test_of_a_mode_there_are_variances(write: Write, lanewise: Lanewise, tmp_path: Path) -> None:
    manifest = write(config=SCENE)
    campaign = load(manifest)
    campaign.run()
    assert lanewise("catalogue", manifest, "-o", str(tmp_path / "c.parquet"))[0] == 0
    found = pd.read_parquet(tmp_path / "c.parquet")
    assert list(found["cov_g1_g1"] ** 0.5) == pytest.approx(list(campaign.summary["g1_std"]))
    assert list(found["response_g1"]) == pytest.approx(list(1 - found["cov_g1_g1"] / 0.2**2))
    assert found["cov_g1_g2"].isna().all()


DOCS = Path(__file__).parents[3] / "docs" / "observations.md"
# One program, and 4000 draws of a shape.
ROUND: dict[str, Any] = {
    **SCENE,
    "image": {**SCENE["image"], "noise": {"sigma": 4e-3}},
    "inference": {"method": "laplace", "precision": "float64", "laplace_config": {"samples": 4000}},
}


def bernstein_armstrong(e: np.ndarray, g: complex, sigma: float) -> np.ndarray:
    """Density of sheared ellipticities, up to a constant, by complex numbers."""
    intrinsic = (e - g) / (1 - np.conj(g) * e)
    jacobian = (1 - abs(g) ** 2) ** 2 / np.abs(1 - np.conj(g) * e) ** 4
    size = np.abs(intrinsic) ** 2
    return np.where(size < 1, np.exp(-size / (2 * sigma**2)) * (1 - np.minimum(size, 1)) ** 2 * jacobian, 0)


@pytest.mark.long
def test_log_likelihood_on_nodes_is_that_of_a_quadrature(
    write: Write, lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """∫ p(e | g) N(d; e) de, where N is the Gaussian likelihood of the shape, from mean, covariance and prior."""
    manifest = write(config=ROUND)
    load(manifest).run()
    sigma, path = 0.1, tmp_path / "catalogue.parquet"
    options = ("--ellipticity", f"BernsteinArmstrong:{sigma}", "--half-width", "0.08", "-o", str(path))
    assert lanewise("catalogue", manifest, *options)[0] == 0
    found = pd.read_parquet(path)
    metadata = {field.name: field.metadata for field in parquet.read_schema(path)}
    names = [f"ln_l_{i}_{j}" for i in range(5) for j in range(5)]
    places = [complex(float(metadata[name][b"g1"]), float(metadata[name][b"g2"])) for name in names]
    assert max(abs(one.real) for one in places) < 0.08
    axis = np.linspace(-0.9, 0.9, 721)
    e = axis + 1j * axis[:, None]
    for _, row in found.iterrows():
        covariance = np.array([[row["cov_g1_g1"], row["cov_g1_g2"]], [row["cov_g1_g2"], row["cov_g2_g2"]]])
        off = np.stack([e.real - row["g1_mean"], e.imag - row["g2_mean"]])
        posterior = np.exp(-0.5 * np.einsum("i...,ij,j...", off, np.linalg.inv(covariance), off))
        likelihood = posterior / np.exp(-0.5 * np.abs(e) ** 2 / 0.2**2)
        expected = np.log([np.sum(bernstein_armstrong(e, g, sigma) * likelihood) for g in places])
        values = row[names].to_numpy(float)
        assert np.ptp(expected) > 0.5
        # The posterior's width is less than half of sigma: one of 4000 draws tells ln L to .01.
        np.testing.assert_allclose(values - values.mean(), expected - expected.mean(), atol=0.03)
    # The lines of the page that add objects; the middle node is at zero shear.
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, told := dict[str, Any]())
    assert told["polynomial"][0] == pytest.approx(found["ln_l_2_2"].sum(), abs=1e-9)
    at = dict(zip(names, places, strict=True))["ln_l_4_1"]
    powers = [at.real**i * at.imag**j for i in range(5) for j in range(5)]
    assert told["polynomial"] @ powers == pytest.approx(found["ln_l_4_1"].sum(), abs=1e-9)


@pytest.mark.parametrize(
    ("config", "option", "message"),
    [
        (ROUND, "Gauss:0.1", "expected TYPE:SIGMA with 0 < SIGMA < 1 and one of Gaussian, Rayleigh"),
        (ROUND, "Gaussian:wide", "expected TYPE:SIGMA"),
        (ROUND, "Gaussian:0.19", "the prior of g1 must be at least 1.2 times as wide as the distribution, 0.228"),
        (SCENE, "Gaussian:0.1", "a mode has no draws"),
        (
            {**ROUND, "gal": {**ROUND["gal"], "ellipticity": {"e1": 0.1, "e2": 0.0}}},
            "Gaussian:0.1",
            "expected a galaxy that is round before a shear",
        ),
    ],
)
def test_what_cannot_tell_a_likelihood_of_the_shear_is_told(
    write: Write, lanewise: Lanewise, config: dict[str, Any], option: str, message: str
) -> None:
    code, _, error = lanewise("catalogue", write(config=config), "--ellipticity", option)
    assert code == 64
    assert message in error


@pytest.mark.long
def test_a_population_has_a_row_for_each_galaxy(write: Write, lanewise: Lanewise, tmp_path: Path) -> None:
    galaxy = {"flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.1}, "position": {"type": "Normal", "sigma": 0.5}}
    config = {
        **SCENE,
        "gal": {**SCENE["gal"], **galaxy},
        "population": {"galaxies": 6, "ellipticity": {"type": "BernsteinArmstrong", "sigma": 0.1}, "half_width": 0.2},
        "inference": {"method": "importance", "importance_config": {"samples": 64}},
    }
    manifest = write(config=config, realizations={"count": 1})
    campaign = load(manifest)
    campaign.run()
    code, out, _ = lanewise("catalogue", manifest)
    path = tmp_path / "results" / "catalogue.parquet"
    assert (code, out) == (0, f"12 galaxies: {path}\n")
    found = pd.read_parquet(path)
    record = campaign.record
    kept = [one for index in (0,) for one in commits.load_results(record.store, record.commits([index])[index])]
    expected = np.concatenate(
        [one.members.record["ln_l"][:, 0] for one in kept if isinstance(one, Result) and one.members]
    )
    names = [f"ln_l_{i}_{j}" for i in range(5) for j in range(5)]
    np.testing.assert_array_equal(found[names].to_numpy().reshape(-1, 5, 5), expected)
    assert list(found["id"])[:2] == [f"{kept[0].run_id}/0", f"{kept[0].run_id}/1"]
    assert (found["flags"] == 0).all()
    assert found["selected"].all()
    assert found["draws_effective"].between(2, 64).all()
    metadata = {field.name: field.metadata for field in parquet.read_schema(path)}
    # Ascending in both, g2 fastest.
    assert float(metadata["ln_l_0_1"][b"g2"]) > float(metadata["ln_l_0_0"][b"g2"])
    assert float(metadata["ln_l_0_1"][b"g1"]) == float(metadata["ln_l_0_0"][b"g1"])


@pytest.mark.parametrize("missed", [np.full((5, 5), -0.7), None])
def test_a_galaxy_that_is_cut_has_the_probability_of_the_cut(missed: np.ndarray | None) -> None:
    """Of three galaxies the second was cut, and the third failed."""
    status = np.array([LaneStatus.OK, LaneStatus.OK, LaneStatus.FAILED])
    values = np.full((3, 1, 5, 5), np.nan)
    values[0] = -2.0
    small = np.array([[20.0], [np.nan], [np.nan]])
    members = Members(status, {"ln_l": values, "size": small, "khat": small / 100})
    result = Result("r", 1, LaneStatus.OK, "", "importance", {}, members=members)
    found = list(galaxies.rows(result, Single("r", 1, {}), missed))
    assert [row["selected"] for row in found] == [True, False, True]
    assert [row["flags"] for row in found] == [0, 0, columns.flags(LaneStatus.FAILED)]
    assert [row.get("ln_l_1_2") for row in found] == [-2.0, None if missed is None else -0.7, None]
    assert [row.get("khat") for row in found] == [0.2, None, None]


def test_every_status_has_a_bit_of_its_own() -> None:
    bits = [columns.flags(status) for status in LaneStatus if status > LaneStatus.OK]
    assert sorted(bits) == [1, 2, 4, 8, 16]
    assert columns.flags(LaneStatus.OK) == 0


def test_a_large_catalogue_is_never_in_memory_as_a_whole(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are read when their rows are written: ten times the rows take no more memory."""

    def peak(n_chunks: int) -> int:
        campaign = load(write(realizations={"count": 100 * n_chunks}, shear={"grid": [0.01]}, batch={"size": 100}))
        draws = {name: np.ones((1, 1)) for name in ("g1", "g2", "x", "y")}
        results = {
            chunk.index: [Result(one.run_id, 1, LaneStatus.OK, "", "map", {}, draws) for one in chunk.realizations]
            for chunk in campaign.plan.chunks
        }
        monkeypatch.setattr(type(campaign.record), "commits", lambda _, indices: {index: index for index in indices})
        monkeypatch.setattr(commits, "load_results", lambda _, index: results[index])
        tracemalloc.start()
        assert file.write(campaign.record, str(tmp_path / "c.parquet")) == 100 * n_chunks
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(file, "_GROUP", 500)
    peak(5)
    assert peak(100) < 1.5 * peak(10)
    assert parquet.ParquetFile(tmp_path / "c.parquet").num_row_groups == 2

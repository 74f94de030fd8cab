"""catalogue.parquet: means and covariance of every object, with units, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from conftest import CALIBRATED, SCENE, Lanewise, Write, load
from lanewise.engine.results import Result
from lanewise.families.shear import catalogue
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
    assert found["cov_g1_g2"].isna().all()


def test_every_status_has_a_bit_of_its_own() -> None:
    bits = [catalogue.flags(status) for status in LaneStatus if status > LaneStatus.OK]
    assert sorted(bits) == [1, 2, 4, 8, 16]
    assert catalogue.flags(LaneStatus.OK) == 0


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
        assert catalogue.write(campaign.record, str(tmp_path / "c.parquet")) == 100 * n_chunks
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(catalogue, "_GROUP", 500)
    peak(5)
    assert peak(100) < 1.5 * peak(10)
    assert parquet.ParquetFile(tmp_path / "c.parquet").num_row_groups == 2

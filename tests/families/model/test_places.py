"""Campaigns of kind model wherever their data and results lie, and however they end: the same bytes."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from conftest import S3, load, tree
from families.model.campaigns import table, write
from lanewise.families.model.datasets import padded
from lanewise.storage.store import Store

SIZES = (5, 7)


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 16), (16, 16), (17, 64), (64, 64), (65, 96), (97, 128), (128, 128), (129, 192), (193, 256)]
)
def test_few_sizes_serve_all_data_sets(n_rows: int, size: int) -> None:
    assert padded(n_rows) == size


@pytest.mark.long
def test_files_give_what_a_table_gives_and_the_report_has_their_units(tmp_path: Path) -> None:
    load(write(tmp_path, data=table(SIZES).replace("x,y", "x,y [mJy]"))).run()
    rows = pd.read_csv(tmp_path / "stars.csv").rename(columns={"y [mJy]": "y"})
    (tmp_path / "data").mkdir()
    for name, part in rows.groupby("star"):
        with h5py.File(tmp_path / "data" / f"{name}.h5", "w") as file:
            for column in ("x", "y"):
                file[column] = part[column].to_numpy()
            file["y"].attrs["units"] = "mJy"
    np.savez(tmp_path / "data" / "s2.npz", x=np.arange(3.0), y=np.arange(3.0))
    files = write(tmp_path, inputs={"files": "data/*", "columns": ["x", "y"]}, output={"url": str(tmp_path / "files")})
    campaign = load(files)
    assert campaign.run().all_ok
    campaign.aggregate()
    assert list(campaign.summary["id"]) == ["s0", "s1", "s2"]
    for name in ("s0", "s1"):
        assert tree(tmp_path / "files" / name) == tree(tmp_path / "results" / name)
    assert "Columns: x, y [mJy]." in (tmp_path / "files" / "report.html").read_text()


@pytest.mark.long
def test_tables_and_results_in_a_bucket(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], tmp_path: Path
) -> None:
    load(write(tmp_path, data=table(SIZES))).run()
    use_s3(servers(False))
    raw = io.BytesIO()
    pd.read_csv(tmp_path / "stars.csv").to_parquet(raw, index=False)
    Store("s3://bucket/models").put("stars.parquet", raw.getvalue())
    inputs = {"table": "s3://bucket/models/stars.parquet", "id": "star", "columns": ["x", "y"]}
    campaign = load(write(tmp_path, inputs=inputs, output={"url": "s3://bucket/models/results"}))
    assert campaign.run().all_ok
    for name, content in tree(tmp_path / "results").items():
        assert campaign.store.read(name) == content, name


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    batch = {"size": 1, "width": 2}
    load(write(tmp_path, batch=batch, output={"url": str(tmp_path / "whole")})).run()
    path = write(tmp_path, batch=batch)
    commits = tmp_path / "results" / "_lanewise" / "commits"
    child = subprocess.Popen([sys.executable, "-c", "from lanewise.cli import main; main()", "run", path])
    end = time.monotonic() + 120
    while not any(commits.glob("*.commit")):
        assert child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    outcome = load(path).run()
    assert outcome.reused >= 1
    assert outcome.reused + outcome.computed == 4
    assert tree(tmp_path / "results") == tree(tmp_path / "whole")

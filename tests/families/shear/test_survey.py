"""A survey of a few hundred small stamps: the process is killed, and the next one goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from conftest import SCENE, Lanewise, Write, load, tree

OBJECTS, PIXELS = 240, 12
CONFIG: dict[str, Any] = {
    **SCENE,
    "image": {"pixel_scale": 0.3, "size_x": PIXELS, "size_y": PIXELS, "noise": {"type": "PerPixel"}},
    "gal": {**SCENE["gal"], "half_light_radius": 0.3, "type": "Gaussian"},
}


def survey(folder: Path) -> dict[str, Any]:
    """Gaussians of one size in two files, with noise."""
    rng, rows = np.random.default_rng(3), []
    at = (np.arange(PIXELS) - (PIXELS - 1) / 2) * 0.3
    variance = 0.4**2 + 0.3**2 / (2 * np.log(2)) + 0.3**2 / 12
    stamp = 0.3**2 / (2 * np.pi * variance) * np.exp(-(at**2 + at[:, None] ** 2) / (2 * variance))
    for name in ("first.h5", "second.h5"):
        with h5py.File(folder / name, "w") as file:
            file["image"] = stamp + 2e-3 * rng.normal(size=(OBJECTS // 2, PIXELS, PIXELS))
            file["weight"] = np.full((OBJECTS // 2, PIXELS, PIXELS), 2e-3**-2)
        planes = {role: f"{name}#{role}" for role in ("image", "weight")}
        rows += [{"id": f"{name}-{one}", **planes, "index": one} for one in range(OBJECTS // 2)]
    pd.DataFrame(rows).to_parquet(folder / "objects.parquet")
    return {"table": "objects.parquet"}


@pytest.mark.slow
def test_a_killed_survey_goes_on_and_ends_as_if_it_had_not_been(
    write: Write, lanewise: Lanewise, tmp_path: Path
) -> None:
    asked = {"config": CONFIG, "observations": survey(tmp_path), "shear": ..., "realizations": ...}
    asked |= {"batch": {"size": 20, "width": 4}}
    killed, whole = str(tmp_path / "killed"), str(tmp_path / "whole")
    manifest = write(url=killed, **asked)
    command = [sys.executable, "-c", "from lanewise.cli import main; main()", "run", manifest]
    commits = tmp_path / "killed" / "_lanewise" / "commits"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while len(list(commits.glob("*.commit"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {one.name: one.read_bytes() for one in commits.glob("*.commit")}
    assert 2 <= len(before) < OBJECTS // 20
    assert load(manifest).run().all_ok
    # What was committed is not computed again.
    assert {name: (commits / name).read_bytes() for name in before} == before
    assert load(write("whole.yaml", url=whole, **asked)).run().all_ok
    for name, path in (("manifest.yaml", killed), ("whole.yaml", whole)):
        assert lanewise("catalogue", str(tmp_path / name), "-o", f"{path}.parquet")[0] == 0
    found = pd.read_parquet(f"{killed}.parquet")
    assert len(found) == found["id"].nunique() == OBJECTS
    pd.testing.assert_frame_equal(found, pd.read_parquet(f"{whole}.parquet"), check_exact=True)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    # Within four errors of the mean: once in 16 000 tests.
    assert abs(found["g1_mean"].mean()) < 4 * found["g1_mean"].std() / OBJECTS**0.5

"""Inputs that cannot be reached: no result and exit 74 in a cluster; only what was read and is wrong is a failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from conftest import S3, SCENE, Lanewise, Write, load
from lanewise.errors import InputUnreachable
from lanewise.families.heterodyne import simulate
from lanewise.families.shear import stamp_files
from lanewise.families.shear.model.draw import draw
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

OBSERVED: dict[str, Any] = {"shear": ..., "realizations": ..., "observations": {"images": "stamp*.npy"}}


@pytest.fixture
def stamps(tmp_path: Path) -> list[Path]:
    """Two images of a galaxy: a fit of noise alone may end where finer models are compiled, too."""
    stamp_files.load.cache_clear()
    paths = [tmp_path / f"stamp{number}.npy" for number in range(2)]
    galaxy = draw(SCENE)
    for number, path in enumerate(paths):
        np.save(path, galaxy + np.random.default_rng(number).normal(scale=1e-3, size=(24, 24)))
    return paths


def pinned(write: Write, **changes: Any) -> str:
    """A manifest whose files are pinned, as a cluster's pods get it."""
    content = dict(load(write(**changes)).manifest.content)
    path = write("pinned.yaml")
    Path(path).write_text(yaml.safe_dump(content))
    return path


def test_file_that_is_away_stops_its_chunk_and_the_chunk_is_computed_when_it_is_back(
    lanewise: Lanewise, write: Write, stamps: list[Path]
) -> None:
    path = pinned(write, batch={"size": 1, "width": 4}, **OBSERVED)
    away = stamps[1].rename(stamps[1].with_name("away"))
    stamp_files.load.cache_clear()
    code, out, err = lanewise("run", path, "--cluster")
    assert (code, f"{stamps[1]}: is not there, as seen from" in err) == (74, True)
    assert "not committed: chunk 1 of 2" in out
    assert set(load(path).record.commits()) == {0}
    away.rename(stamps[1])
    assert lanewise("run", path, "--cluster")[0] == 0
    assert set(load(path).record.commits()) == {0, 1}


@pytest.mark.parametrize(
    ("cluster", "code"), [((), 65), (("--cluster",), 74), ("JOB_COMPLETION_INDEX", 74)], ids=["alone", "flag", "index"]
)
@pytest.mark.parametrize("missing", ["manifest", "config", "images", "pattern", "truths"])
def test_path_that_is_not_there_is_a_mistake_at_a_desk_and_a_mount_in_a_cluster(
    lanewise: Lanewise,
    write: Write,
    stamps: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    cluster: Any,
    code: int,
) -> None:
    if isinstance(cluster, str):
        monkeypatch.setenv(cluster, "0")
        cluster = ()
    changes: dict[str, Any] = {
        "manifest": {},
        "config": {"config": "absent.yaml"},
        "images": {**OBSERVED, "observations": {"images": "absent.npy"}},
        "pattern": {**OBSERVED, "observations": {"images": "absent*.npy"}},
        "truths": {**OBSERVED, "observations": {"images": "stamp*.npy", "truths": "absent.csv"}},
    }[missing]
    path = write(**changes)
    if missing == "manifest":
        Path(path).unlink()
    found, _, err = lanewise("run", path, *cluster)
    assert (found, "absent" in err or "manifest.yaml: no such file" in err) == (code, True)


def test_mistake_beside_a_missing_file_is_a_mistake_in_a_cluster_too(lanewise: Lanewise, write: Write) -> None:
    assert lanewise("run", write(config="absent.yaml", batch__size=0), "--cluster")[0] == 65


@pytest.mark.parametrize(
    ("cut", "cluster", "code"), [(True, (), 1), (False, (), 1), (True, ("--cluster",), 0), (False, ("--cluster",), 74)]
)
def test_one_fit_from_flags_has_the_pages_exit_code(
    lanewise: Lanewise, tmp_path: Path, cut: bool, cluster: tuple[str, ...], code: int
) -> None:
    file = tmp_path / "het.h5"
    if cut:
        where = simulate.Experiment(45, 0.25, 0.0054, (0.0,), 0.3, 1.0, 0.005)
        c2 = simulate.simulate(simulate.EXAMPLE, where, 1)
        file.write_bytes(simulate.encode(c2, simulate.EXAMPLE, where, "flat")[:3000])
    flags = ("--data", str(file), "--output-dir", str(tmp_path / "out"))
    assert lanewise("run", "heterodyne", *flags, *cluster)[0] == code


def test_bucket_that_is_not_there_is_no_fault_of_the_data(
    servers: Callable[[bool], S3], use_s3: Callable[[S3], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEWISE_STORAGE_DEADLINE", "2")
    use_s3(servers(False))
    with pytest.raises(InputUnreachable, match=r"s3://absent/a\.npy: is not there"):
        inputs.read(Input("s3://absent/a.npy", "0" * 64))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    use_s3(servers(False))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(InputUnreachable, match=r"s3://bucket/a\.npy"):
        inputs.read(Input("s3://bucket/a.npy", "0" * 64))

"""A heterodyne manifest: inputs, sweep, tasks and their identities. Nothing is fitted here."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml

import lanewise
from conftest import load
from lanewise.errors import ManifestError, UsageError
from lanewise.families.heterodyne import sweep, tasks
from lanewise.operations import plan_summary
from lanewise.operations.extend import write as extend

MANIFEST: dict[str, Any] = {
    "apiVersion": "lanewise/v1",
    "kind": "heterodyne",
    "name": "test",
    "inputs": "data/*.h5",
    "config": {"fit": {"starts": 16}},
    "output": {"url": "unset"},
}
Make = Callable[..., str]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a manifest beside three data files; keys of it replaced, or left out with `...`."""
    (tmp_path / "data").mkdir(exist_ok=True)
    for name in ("b", "a", "c"):
        (tmp_path / "data" / f"{name}.h5").write_bytes(name.encode())

    def manifest(**changes: Any) -> str:
        content = {**copy.deepcopy(MANIFEST), **changes}
        content["output"] = {"url": str(tmp_path / "results")}
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not ...}, sort_keys=False))
        return str(path)

    return manifest


def names(path: str) -> list[str]:
    return [r.planned.name for r in load(path).plan.realizations]


def complaint(path: str) -> tuple[str, str, int]:
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert len(caught.value.complaints) == 1, str(caught.value)
    found = caught.value.complaints[0]
    return found.field, found.message, found.line


def test_inputs_are_paths_lists_patterns_and_urls(make: Make, tmp_path: Path, memory: str) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/far/x.h5", b"x")
    assert names(make(inputs="data/a.h5")) == ["a"]
    assert names(make()) == ["a", "b", "c"]
    assert names(make(inputs=["data/c.h5", "memory://bucket/far/*.h5", str(tmp_path / "data" / "a.h5")])) == [
        "c",
        "x",
        "a",
    ]


@pytest.mark.parametrize(
    ("swept", "points"),
    [
        ({"grid": {"data.start_frame": [1, 5], "fit.seed": [0, 1]}}, [(1, 0), (1, 1), (5, 0), (5, 1)]),
        ({"zip": {"data.start_frame": [1, 5], "fit.seed": [0, 1]}}, [(1, 0), (5, 1)]),
        ({"list": [{"data.start_frame": 5, "fit.seed": 3}]}, [(5, 3)]),
    ],
)
def test_every_input_meets_every_point_of_the_sweep(make: Make, swept: Any, points: list[tuple[int, int]]) -> None:
    found = [tasks.of(r) for r in load(make(inputs=["data/a.h5", "data/b.h5"], sweep=swept)).plan.realizations]
    assert [(t.config.data.start_frame, t.config.fit.seed) for t in found] == points * 2
    assert {t.config.fit.starts for t in found} == {16}
    first, second = points[0]
    assert found[0].name == f"a_start_frame_{first}_seed_{second}"
    assert found[0].seed == second


def test_an_identity_follows_from_content_and_config_not_from_place_or_neighbours(make: Make, tmp_path: Path) -> None:
    alone = load(make(inputs="data/b.h5", config={"fit": {"seed": 4}, "data": {"dt": 1}})).plan.realizations[0]
    (tmp_path / "moved.h5").write_bytes(b"b")
    grid = {"grid": {"fit.seed": [3, 4], "data.dt": [1.0]}}
    plan = load(make(inputs=["data/a.h5", "moved.h5"], config={}, sweep=grid)).plan
    assert [r.identity == alone.identity for r in plan.realizations] == [False, False, False, True]
    assert alone.run_id == f"het_{alone.identity[:8]}"
    assert len({r.run_id for r in plan.realizations}) == 4


def test_names_stay_readable_and_unique(make: Make, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.h5").write_bytes(b"another a")
    short = hashlib.sha256(b"another a").hexdigest()[:8]
    assert names(make(inputs=["data/a.h5", "other/a.h5"]))[1] == f"a_{short}"
    points = ({"data.dt": 0.1, "data.phi": [0]}, {"data.dt": 0.1, "data.phi": [5]})
    assert sweep.labels(points) == ["dt_0.1_phi_1", "dt_0.1_phi_2"]
    assert sweep.labels(({"parameters.D0_ref.min": 1}, {"parameters.D0_ref.min": -1})) == ["min_1", "min_-1"]
    assert sweep.labels(({"parameters.v0.min": 1, "parameters.f0.min": 0},)) == [
        "parameters_v0_min_1_parameters_f0_min_0"
    ]
    assert sweep.labels(({"scaling.mode": "a b"}, {"scaling.mode": "a/b"})) == ["mode_a-b_1", "mode_a-b_2"]
    assert sweep.plain("très long/nom.v2") == "tr-s-long-nom.v2"


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"inputs": ...}, "", "expected the key 'inputs'"),
        ({"inputs": []}, "inputs", "expected at least 1 element, got 0"),
        ({"inputs": "none/*.h5"}, "inputs", "none/*.h5: no file matches; check the pattern"),
        ({"inputs": ["data/a.h5", "data/z.h5"]}, "inputs[1]", "data/z.h5: no such file; check the path"),
        ({"inputs": ["data"]}, "inputs[0]", "is a directory; name its files, e.g."),
        ({"inputs": ["data/a.h5", "data/*.h5"]}, "inputs[1]", "a.h5 is named a second time"),
        ({"inputs": [{"path": "x.h5", "sha256": "abc"}]}, "inputs[0].sha256", "expected 64 hexadecimal digits"),
        ({"inputs": [{"path": "x.h5"}]}, "inputs[0]", "expected the key 'sha256'"),
        ({"sweep": {}}, "sweep", "expected one of 'grid' (all combinations), 'zip' (side by side) or 'list'"),
        ({"sweep": {"grid": {}}}, "sweep.grid", "expected at least 1 key, got 0"),
        ({"sweep": {"grid": {"fit.seed": 1}}}, "sweep.grid.fit.seed", "expected a list, got 1; write [1]"),
        ({"sweep": {"grid": {"fit.sed": [1]}}}, "sweep.grid.fit.sed", "fit.sed: unknown key; did you mean 'seed'?"),
        (
            {"sweep": {"grid": {"fit.seed": [0, -1]}}},
            "sweep.grid.fit.seed",
            "fit.seed: expected an integer ≥ 0, got -1",
        ),
        (
            {"sweep": {"list": [{"fit.seed": 0}, {"data.dt": 1}]}},
            "sweep.list[1]",
            "expected the keys of the first point",
        ),
        ({"sweep": {"list": [{"data.dt": 0}]}}, "sweep.list[0]", "data.dt: expected a number > 0, got 0"),
        ({"sweep": {"zip": {"fit.seed": [0, 1], "data.dt": [1]}}}, "sweep.zip", "fit.seed has 2, data.dt has 1"),
        ({"sweep": {"grid": {"fit.seed": [0, 0]}}}, "sweep", "would be the same fit as a_seed_0_1"),
        ({"sweep": {"grid": {"fit.polish": [40]}}}, "sweep.grid.fit.polish", "expected polish ≤ starts, got 40 and 16"),
        ({"shear": {"grid": [0.1]}}, "shear", "a key of kind shear; kind heterodyne runs over 'inputs' and 'sweep'"),
        ({"realizations": {"count": 2}}, "realizations", "write sweep: {grid: {fit.seed: [0, 1, 2]}}"),
        ({"acceptance": {}}, "acceptance", "judged by config.fit.agreement"),
        ({"convergence": {}}, "convergence", "judged by config.fit.agreement"),
        ({"batch": {"width": 4}}, "batch.width", "a fit maps its own starts"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_remedy(make: Make, changes: Any, field: str, message: str) -> None:
    where, text, line = complaint(make(**changes))
    assert where == field
    assert message in text
    assert line > 0


def test_two_files_of_one_content_are_one_fit(make: Make, tmp_path: Path) -> None:
    (tmp_path / "data" / "d.h5").write_bytes(b"a")
    assert "d would be the same fit as a: same content" in complaint(make())[1]


def test_a_pinned_file_is_not_read_to_plan(make: Make) -> None:
    pinned = {"path": "s3://nobody/has/this.h5", "sha256": hashlib.sha256(b"a").hexdigest()}
    there, far = (load(make(inputs=one)).plan.realizations[0] for one in ("data/a.h5", [pinned]))
    assert there.identity == far.identity


def test_a_heterodyne_campaign_is_not_extended(make: Make) -> None:
    path = make()
    before = Path(path).read_text()
    with pytest.raises(UsageError, match="no realizations to add; add files to 'inputs'"):
        extend(load(path).record, 2)
    assert Path(path).read_text() == before


def test_a_plan_says_memory_and_time_of_its_fits_and_refuses_too_little_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", c2=np.ones((2, 500, 500)), q=0.01, phi=np.array([0.0, 90.0]), dt=0.1)
    campaign = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "large",
        "inputs": "data.npz",
        "config": {"errors": "independent"},
        "output": {"url": "out"},
        "resources": {"memory": "2Gi"},
    }
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump(campaign))
    needs = plan_summary.summarise(lanewise.load(str(path)).record, needs=True).solver
    assert needs is not None
    assert needs.what == "1 fit at a time, the largest of 2×500×500"
    speckle = lanewise.load(str(path), ["config.errors=auto"])
    more = plan_summary.summarise(speckle.record, needs=True).solver
    assert more is not None
    assert more.host_bytes > needs.host_bytes
    assert more.seconds > needs.seconds
    binned = lanewise.load(str(path), ["config.data.bin_frames=5"])
    less = plan_summary.summarise(binned.record, needs=True).solver
    assert less is not None
    assert less.what == "1 fit at a time, the largest of 2×100×100"
    small = lanewise.load(str(path), ["resources.memory=512Mi"])
    with pytest.raises(ManifestError, match=r"resources\.memory: 1 fit at a time, .* needs about 0\.8 GiB, got 512Mi"):
        plan_summary.summarise(small.record, needs=True)

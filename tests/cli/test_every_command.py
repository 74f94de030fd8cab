"""Every command on a manifest of every kind: it does its work, or says in one line why this kind has none of it."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import CALIBRATED, MANIFEST, SCENE, Lanewise
from families.model.campaigns import write as write_model
from lanewise.manifest import registry
from lanewise.operations import tune

FIT = {"candidates": 32, "starts": 4, "hops": 2, "polish": 2, "agreement": 1, "rounds": 1, "reduced_chi2_max": 9.0}
MANIFESTS: dict[str, dict[str, Any]] = {
    "shear": {"shear": {"grid": [0.01, 0.02]}, "batch": {"size": 2, "width": 4}},
    "calibration": {
        "config": CALIBRATED,
        # The next seeds happen to have a k̂ beyond the threshold, which 200 draws scatter about.
        "realizations": {"count": 2, "base_seed": 7},
        # The width that `tune` tries below.
        "batch": {"size": 2, "width": 1},
        "convergence": {"ess_min": 20},
    },
    "heterodyne": {"config": {"fit": FIT}, "inputs": "data/*.h5"},
    "model": {
        "model": "model.py:model",
        "inputs": {"table": "stars.csv", "id": "star", "columns": ["x", "y"]},
        "inference": {"method": "laplace", "laplace_config": {"samples": 400}},
        "outputs": {"log_likelihood": True},
        "batch": {"size": 3, "width": 2},
    },
}
OWN_KEYS = ("shear", "realizations", "batch")
NOT_CONVERGED, USAGE, INVALID = 2, 64, 65
# In the order of use; the code is 0 but where another is named.
COMMANDS: list[tuple[str, dict[str, int]]] = [
    ("validate M", {}),
    ("plan M", {}),
    ("plan M --json --no-memory", {}),
    ("plan M --explain", {}),
    ("run M --batch-index 0", {}),
    ("run M", {}),
    ("status M", {}),
    ("status M --json", {}),
    ("status M --watch --interval 0.1", {}),
    ("retry M", {}),
    ("extract M", {}),
    ("extract M --output summary.csv", {}),
    ("stats M", {"calibration": USAGE, "heterodyne": USAGE, "model": USAGE}),
    ("catalogue M", {"heterodyne": USAGE, "model": USAGE}),
    ("stats summary.csv --output-dir stats", {"heterodyne": INVALID, "model": INVALID}),
    ("aggregate M --wait --deadline 1 --strict", {"shear": 4, "calibration": 4}),
    ("check M --max-abs-m 0.5 --output-dir checked", {"calibration": USAGE, "heterodyne": USAGE, "model": USAGE}),
    ("aggregate M --figures", {"shear": USAGE, "calibration": USAGE, "model": USAGE}),
    ("plan M --no-memory --target-sigma-m 0.1", {"calibration": USAGE, "heterodyne": USAGE, "model": USAGE}),
    ("compare M M", {"shear": USAGE, "calibration": USAGE, "heterodyne": USAGE}),
    ("verify M", {}),
    ("export M --layout directories -o unpacked", {}),
    ("clean M --dry-run", {}),
    ("doctor", {}),
    ("doctor M", {}),
    ("doctor M --json", {}),
    ("tune M --widest 1", {"heterodyne": USAGE}),
    # The files are this machine's.
    ("render kubernetes M --image i --set output.url=s3://bucket/run", {"heterodyne": USAGE, "model": USAGE}),
    ("render slurm M --chunks-per-task 2", {}),
    ("extend M --count 1", {"heterodyne": USAGE, "model": USAGE}),
    ("rechunk M --size 4", {}),
    ("run M --overwrite", {}),
    ("init KIND FLAGS", {}),
    ("init KIND FLAGS -o written.yaml", {}),
    ("run KIND FLAGS --batch-size 1 --output-dir flagged --set FAST WIDTH", {}),
]
FLAGS = {
    "shear": "--shear-grid 0.01",
    "calibration": "--n-realizations 1",
    "heterodyne": "--data data/het_s42.h5",
    "model": "--model model.py:model --table stars.csv --id star --columns x y --method laplace",
}
WIDTH = {
    "shear": "--set batch.width=4",
    "calibration": "--set batch.width=1 --set convergence.ess_min=20",
    "heterodyne": "",
    "model": "--set batch.width=2",
}
# The small config of the manifest, so that the same compiled programs serve.
FAST = {kind: f"config={json.dumps(content.get('config', SCENE))}" for kind, content in MANIFESTS.items()}
FAST["model"] = "inference.laplace_config.samples=400"


@pytest.fixture(scope="module", params=sorted(MANIFESTS))
def campaign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind, and a directory with a manifest of it."""
    kind = str(request.param)
    folder = tmp_path_factory.mktemp(kind)
    content = {key: part for key, part in copy.deepcopy(MANIFEST).items() if key not in OWN_KEYS}
    content |= {"kind": kind, "output": {"url": "results"}, **MANIFESTS[kind]}
    if kind == "model":
        write_model(folder)
        del content["config"]
    (folder / "M.yaml").write_text(yaml.safe_dump(content))
    return kind, folder


def test_every_family_of_lanewise_is_in_the_table() -> None:
    assert set(MANIFESTS) == set(registry.kinds())


@pytest.mark.long
def test_every_command_serves_every_kind(
    campaign: tuple[str, Path], lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, folder = campaign
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tune, "_ENOUGH_S", 0.0)
    # Of the shape of the survey that ships, which is fitted elsewhere: one program.
    simulated = lanewise("simulate", "heterodyne", "data", "--frames", "40", "--count", "2")
    assert simulated[0] == 0
    codes, expected, seen = [], [], set()
    for line, others in COMMANDS:
        words = line.replace("FLAGS", FLAGS[kind]).replace("WIDTH", WIDTH[kind]).replace("KIND", kind).split()
        words = ["M.yaml" if word == "M" else FAST[kind] if word == "FAST" else word for word in words]
        code, out, err = lanewise(*words)
        assert "Traceback" not in err
        assert code != 1, (line, err)
        if code in {USAGE, INVALID}:
            assert err.startswith(("M.yaml: ", "--", "summary.csv:")), (line, err)
        elif code not in {3, 4, 5}:
            assert out, line
        codes.append((line, code))
        expected.append((line, others.get(kind, 0)))
        seen.add(words[0])
    assert codes == expected
    assert seen == _commands(lanewise) - {"simulate"}
    assert (folder / "results" / "report.html").exists()
    assert os.path.getsize(folder / "written.yaml") > 0


def _commands(lanewise: Lanewise) -> set[str]:
    """The commands that the help lists."""
    listed = lanewise("--help")[1].partition("Commands:\n")[2].partition("\n\n")[0]
    return {line.split()[0] for line in listed.splitlines()}

"""The examples of the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Lanewise
from lanewise.families.model import first
from lanewise.manifest.document import Document

EXAMPLES = Path(__file__).parents[3] / "examples"
MANIFESTS = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yaml"))


def test_the_lines_are_those_of_init() -> None:
    made = first.files(Document("m.yaml", {"model": first.MODEL, "inputs": {"table": first.TABLE}}))
    assert (EXAMPLES / "lines" / "lines.py").read_bytes() == made[first.FILE]
    assert (EXAMPLES / "lines" / "stars.csv").read_bytes() == made[first.TABLE]


@pytest.mark.parametrize("name", MANIFESTS)
def test_an_example_is_short(name: str) -> None:
    for model in (EXAMPLES / name).parent.glob("*.py"):
        assert len(model.read_text().splitlines()) <= 60, model


@pytest.mark.long
@pytest.mark.parametrize("name", MANIFESTS)
def test_an_example_is_valid(name: str, lanewise: Lanewise) -> None:
    code, out, err = lanewise("validate", str(EXAMPLES / name))
    assert (code, err) == (0, ""), out
    assert "valid; 1" in out


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_an_example_converges(name: str, lanewise: Lanewise, tmp_path: Path) -> None:
    manifest, url = str(EXAMPLES / name), f"output.url={tmp_path}/results"
    assert lanewise("run", manifest, "--set", url)[0] == 0
    code, out, err = lanewise("aggregate", manifest, "--set", url, "--strict")
    assert (code, err) == (0, ""), out


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_the_posteriors_of_an_example_are_calibrated(name: str, lanewise: Lanewise, tmp_path: Path) -> None:
    sets = [f"output.url={tmp_path}/results", "output.layout=packed", "calibration.count=600"]
    options = [word for one in sets for word in ("--set", one)]
    assert lanewise("run", str(EXAMPLES / name), *options)[0] in {0, 2}
    lanewise("aggregate", str(EXAMPLES / name), *options)
    found = json.loads((tmp_path / "results" / "stats" / "calibration_results.json").read_text())
    # 600 truths decide the coverage of four latents to ± .1 with 95 % confidence each.
    assert found["verdict"]["verdict"] == "PASS", found["verdict"]
    assert found["tally"]["n_used"] >= 0.95 * 600

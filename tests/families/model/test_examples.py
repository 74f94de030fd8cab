"""The examples of the repository."""

from __future__ import annotations

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


@pytest.mark.slow
@pytest.mark.parametrize("name", MANIFESTS)
def test_an_example_converges(name: str, lanewise: Lanewise, tmp_path: Path) -> None:
    manifest, url = str(EXAMPLES / name), f"output.url={tmp_path}/results"
    assert lanewise("run", manifest, "--set", url)[0] == 0
    code, out, err = lanewise("aggregate", manifest, "--set", url, "--strict")
    assert (code, err) == (0, ""), out

"""The documents say what the code does today: the reference, the transcripts, and the manifests of the cookbook."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from conftest import Lanewise
from lanewise import __version__, api
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.manifest import yaml_text
from lanewise.manifest.plan import Single

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^```(\w+)(?: title=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# To write the transcripts anew: LANEWISE_WRITE_TRANSCRIPTS=1 pytest tests/test_docs.py
_WRITE = "LANEWISE_WRITE_TRANSCRIPTS"


def test_the_reference_is_what_the_schemas_say() -> None:
    page = runpy.run_path(str(DOCS / "reference.py"))["page"]()
    assert (DOCS / "reference.md").read_text() == page, "run make docs"


def test_the_transcripts_are_what_the_commands_print(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / "manifests.md"
    text = written = page.read_text()
    for language, title, content in _FENCE.findall(text):
        if title:
            Path(title).write_text(content)
        if language == "console":
            line = content.splitlines()[0]
            now = f"{line}\n{_said(lanewise, line, monkeypatch)}"
            written = written.replace(content, now)
    if os.environ.get(_WRITE):
        page.write_text(written)
    assert text == written, f"{_WRITE}=1 writes them anew"


def _said(lanewise: Lanewise, line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a line of a transcript prints, on either stream."""
    words = shlex.split(line.removeprefix("$ "))
    with monkeypatch.context() as patch:
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            patch.setenv(name, value)
        assert words.pop(0) == "lanewise"
        _, out, err = lanewise(*words)
    return out + err


def test_the_installation_names_the_extras_that_there_are() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    page = (DOCS / "install.md").read_text()
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `(?:cuda|s3|dev).*$", page, re.MULTILINE)))
    assert sorted(named) == sorted([*project["optional-dependencies"], "cuda12"])
    assert f"lanewise-{__version__}-py3-none-any.whl" in page
    assert project["requires-python"] == ">=3.11"
    assert "3.11 or newer" in page


def _recipes() -> dict[str, str]:
    """The manifests of the cookbook by name."""
    found = [
        content for language, _, content in _FENCE.findall((DOCS / "cookbook.md").read_text()) if language == "yaml"
    ]
    return {re.findall(r"^name: (\S+)$", text, re.MULTILINE)[0]: text for text in found}


# What a recipe needs beside itself, or is too large to be carried out whole.
_FEWER = {"thousands": ["realizations.count=2", "batch.size=4"], "calibration": ["realizations.count=4"]}


@pytest.mark.parametrize("name", _recipes())
def test_a_recipe_of_the_cookbook_is_valid(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(_recipes()[name])
    _ingredients(name, lanewise)
    assert api.load("recipe.yaml").remarks == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", _recipes())
def test_a_recipe_of_the_cookbook_is_carried_out(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(_recipes()[name])
    _ingredients(name, lanewise)
    options = [option for pair in ["output.url=out", *_FEWER.get(name, [])] for option in ("--set", pair)]
    code, out, err = lanewise("run", "recipe.yaml", *options)
    assert (code, err) == (0, ""), out
    code, out, err = lanewise("aggregate", "recipe.yaml", *options)
    assert (code, err, Path("out/report.html").exists()) == (0, "", True), out


def _ingredients(name: str, lanewise: Lanewise) -> None:
    """Files that a recipe reads."""
    if name == "own-images":
        scene = shear_config.parse(yaml_text.parse(Path("recipe.yaml").read_text(), "recipe.yaml").value["config"])
        planned = [Single(f"m{n}", 1 + n, {"g1": 0.01 * n, "g2": 0.0}) for n in range(4)]
        images = [family.observe(scene, one).data["image"] for one in planned]
        np.savez("stamps.npz", stamps=np.stack(images))
        Path("truths.csv").write_text("g1,g2\n" + "".join(f"{m.truth['g1']},0\n" for m in planned))
    if "kind: heterodyne" in Path("recipe.yaml").read_text():
        assert lanewise("simulate", "heterodyne", "data", "--count", "2", "--frames", "40")[0] == 0

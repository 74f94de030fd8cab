"""The documents say what the code does today: the reference, the transcripts, and the manifests of the how-to pages."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from astropy.io import fits

from conftest import Lanewise
from lanewise import __version__, api, cli, errors
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.machine.progress import LOG_VARIABLE
from lanewise.manifest import yaml_text
from lanewise.manifest.plan import Single
from lanewise.problems.shear import draw
from lanewise.statistics.verdict import EXIT_CODES

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r'^```(\w+)(?: title="(\S+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
README = DOCS.parent / "README.md"
_PAGES = [README, DOCS.parent / "CONTRIBUTING.md", DOCS.parent / "k8s/README.md", *sorted(DOCS.rglob("*.md"))]
# To write the transcripts anew: LANEWISE_WRITE_TRANSCRIPTS=1 pytest tests/test_docs.py
_WRITE = "LANEWISE_WRITE_TRANSCRIPTS"


def test_the_reference_is_what_the_schemas_say() -> None:
    page = runpy.run_path(str(DOCS / "reference.py"))["page"]()
    assert (DOCS / "reference.md").read_text() == page, "run make reference"


@pytest.mark.long
def test_the_transcripts_are_what_the_commands_print(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _follow(DOCS / "manifests.md", lanewise, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [page.stem for page in (DOCS / "tutorials").glob("*.md")])
def test_a_tutorial_does_what_it_says(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _follow(DOCS / f"tutorials/{name}.md", lanewise, monkeypatch)


@pytest.mark.slow
def test_the_page_on_consensus_does_what_it_says(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _follow(DOCS / "howto/consensus.md", lanewise, monkeypatch)


@pytest.mark.slow
def test_the_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads((DOCS / "tutorials/notebook.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
            assert "error" not in {output["output_type"] for output in cell["outputs"]}
    shown = [output["data"]["text/plain"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    assert repr(names["results"]) in map("".join, shown)  # what the page shows is what the cells give today


def _follow(page: Path, lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a page says, from top to bottom: its files, its commands, its Python, whose output is the text below."""
    names: dict[str, Any] = {}
    printed = io.StringIO()

    def done(block: re.Match[str]) -> str:
        language, title, content = block.groups()
        now = content
        if title:
            Path(title).write_text(content)
        elif language == "python":
            with contextlib.redirect_stdout(printed):
                exec(content, names)
        elif language == "text" and printed.getvalue():
            now = printed.getvalue()
            printed.truncate(printed.seek(0))
        elif language == "console":
            line = content.splitlines()[0]
            now = f"{line}\n{_said(lanewise, line, monkeypatch)}"
        return block[0] if _timeless(now) == _timeless(content) else block[0].replace(content, now)

    text = page.read_text()
    written = _FENCE.sub(done, text)
    if os.environ.get(_WRITE):
        page.write_text(written)
    assert _timeless(text) == _timeless(written), f"{_WRITE}=1 writes them anew"


def _timeless(text: str) -> str:
    """A transcript without the time that something took, and without the progress of slow chunks."""
    quick = re.sub(r"^chunk \d+: \d+ of \d+.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\b\d+(\.\d+)? (s|min|h)\b", "…", quick)


def _said(lanewise: Lanewise, line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a line of a transcript prints, on either stream."""
    words = shlex.split(line.removeprefix("$ "))
    with monkeypatch.context() as patch:
        patch.delenv(LOG_VARIABLE, raising=False)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            patch.setenv(name, value)
        assert words.pop(0) == "lanewise"
        _, out, err = lanewise(*words)
    return out + err


def test_the_readme_is_short_and_begins_with_the_two_targets() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    assert [line.split("#")[0].strip() for line in _shell(text)[:2]] == ["make run", "make test"]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_a_page_links_to_what_there_is_and_its_pictures_are_small(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", _prose(page.read_text())):
        file = page.parent / target if target else page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(file.read_text()), f"{page}: {target}#{anchor}"
        if file.suffix in {".svg", ".png"}:
            assert file.stat().st_size < 150_000, f"{page}: {target}"


def _prose(text: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# The pages that programs write.
_WRITTEN = {"reference.md", "storage-faults.md"}
_MOST_WORDS = 35


@pytest.mark.parametrize("page", [page for page in _PAGES if page.name not in _WRITTEN], ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    assert [one for one in _sentences(page.read_text()) if len(one.split()) > _MOST_WORDS] == []


def _sentences(text: str) -> list[str]:
    """The sentences of a page without its code, formulas, headings and tables; a colon or a semicolon ends one, too."""
    text = re.sub(r"^\$\$.*?^\$\$", "", _prose(text), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *\|.*|^#.*", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "code", re.sub(r"\]\([^)]*\)", "]", text))
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    return [one for block in blocks for one in re.split(r"(?<!\bal)(?<!\be\.g)(?<=[.!?:;])\s", " ".join(block.split()))]


def test_the_site_lists_every_page() -> None:
    listed = (DOCS.parent / "mkdocs.yml").read_text()
    assert [page for page in DOCS.rglob("*.md") if f"{page.relative_to(DOCS)}\n" not in listed] == []


def test_the_exit_codes_of_the_faq_are_those_of_the_errors() -> None:
    table = (DOCS / "faq.md").read_text().partition("## Exit codes")[2]
    codes = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in cell.split(",")}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.LanewiseError)]
    known = {one.exit_code for one in classes} | {0, errors.NOT_CONVERGED, errors.INTERRUPTED, errors.TERMINATED}
    assert codes == known | set(EXIT_CODES.values())


def test_the_help_of_every_command_is_on_the_site() -> None:
    page = runpy.run_path(str(DOCS / "site/help.py"))["page"]()
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert {"lanewise plan", "lanewise init shear", "lanewise render slurm"} <= set(titles)
    assert page.count("Usage: lanewise") == len(titles)


# What people search for, and the page that answers; its words must be in one of its headings.
_SEARCHED = {
    "where is my posterior": "faq.md",
    "why inconclusive": "faq.md",
    "exit 75": "faq.md",
    "realizations hours σ_m = 1e-3": "howto/cost.md",
    "add a prior": "howto/prior.md",
    "my own PSF": "faq.md",
    "four GPUs": "howto/workers.md",
    "stop resume": "howto/stop-and-resume.md",
    "cost": "howto/cost.md",
    "change the batch size keep results": "howto/chunk-size.md",
}


@pytest.mark.parametrize(("query", "page"), _SEARCHED.items())
def test_a_heading_has_the_words_that_people_search_for(query: str, page: str) -> None:
    titles = re.findall(r"^#+ (.*)$", _prose((DOCS / page).read_text()), re.MULTILINE)
    words = set(query.lower().split())
    assert any(words <= set(re.split(r"[ ?,:]+", title.lower())) for title in titles), titles


def _anchors(text: str) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_commands_of_the_readme_end_well(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DOCS.parent / "manifests", tmp_path / "manifests")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line, comments=True) for line in _shell(README.read_text()) if line.startswith("lanewise ")]
    assert [words[1] for words in commands] == ["render", "render", "status"]
    for _, *words in commands:
        code, _, err = lanewise(*(word for word in words if word != "--watch"))  # it would wait for the chunks
        assert code == 0, err
        assert err.strip() in README.read_text()  # the next command, or nothing
    jobs = [document["kind"] for document in yaml.safe_load_all(Path("job.yaml").read_text())]
    assert jobs == ["ConfigMap", "Job", "Job"]
    assert "sbatch" in Path("submit.sh").read_text()


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DOCS.parent / "manifests", tmp_path / "manifests")
    monkeypatch.chdir(tmp_path)
    (code,) = (content for language, _, content in _FENCE.findall(README.read_text()) if language == "python")
    exec(code, {})
    out = capsys.readouterr().out
    assert "g1_+0.0500_g2_+0.0000_s47" in out
    assert "posterior" in out


def test_the_manifest_of_the_readme_is_the_one_that_it_runs() -> None:
    (shown,) = (content for language, _, content in _FENCE.findall(README.read_text()) if language == "yaml")
    there = yaml.safe_load((DOCS.parent / "manifests/level0.yaml").read_text())
    there["output"].pop("layout")
    assert yaml.safe_load(shown) == there


def _shell(text: str) -> list[str]:
    """The lines of the shell blocks; a line that goes on behind a backslash is one."""
    blocks = "".join(content for language, _, content in _FENCE.findall(text) if language == "sh")
    return blocks.replace("\\\n", " ").splitlines()


def test_the_page_of_commands_names_all_of_them() -> None:
    page = (DOCS / "commands.md").read_text()
    root: Any = typer.main.get_command(cli.app)
    names = root.list_commands(typer.Context(root))
    assert "run" in names
    assert [name for name in names if f"`lanewise {name} " not in page] == []


def test_the_installation_names_the_extras_that_there_are() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    page = (DOCS / "install.md").read_text()
    named = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `(?:cuda|s3|dev).*$", page, re.MULTILINE)))
    assert sorted(named) == sorted([*project["optional-dependencies"], "cuda12"])
    assert f"lanewise-{__version__}-py3-none-any.whl" in page
    assert project["requires-python"] == ">=3.11"
    assert "3.11 or newer" in page


def _recipes() -> dict[str, str]:
    """The whole manifests of the how-to pages by name; those with the name of a file belong to what the page does."""
    pages = "\n".join(page.read_text() for page in sorted((DOCS / "howto").glob("*.md")))
    whole = [content for language, title, content in _FENCE.findall(pages) if language == "yaml" and not title]
    found = [content for content in whole if "\nkind: " in content]
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
    if name == "own-population":
        scene = yaml_text.parse(Path("recipe.yaml").read_text(), "recipe.yaml").value["config"]
        scene["image"]["noise"]["sigma"] = 5e-3
        members = family.observe(shear_config.parse(scene), Single("a", 1, {"g1": 0.05, "g2": 0.0})).members
        stamps = np.stack([data["image"] for data in members if data is not None])
        fits.PrimaryHDU(stamps).writeto("stamps.fits")
        fits.PrimaryHDU(np.full_like(stamps, 5e-3**2)).writeto("variance.fits")
    if name == "bands":
        scene = yaml_text.parse(Path("recipe.yaml").read_text(), "recipe.yaml").value["config"]
        # Of a flux of 1 in r, the bulge has .3; in g it has .15 of a flux of .64.
        seen = {"r": {"flux": 1.0, "bulge_fraction": 0.3}, "g": {"flux": 0.64, "bulge_fraction": 0.15 / 0.64}}
        for band, light in seen.items():
            np.save(f"{band}.npy", np.asarray(draw(scene, g1=0.02, **light)))
        rows = [f"{at},{band}.npy,{band}\n" for at in range(2) for band in seen]
        Path("objects.csv").write_text("id,image,band\n" + "".join(rows))
    if name == "catalogue":
        sizes = {
            "size_disk_true": [0.5, 0.6],
            "size_minor_disk_true": [0.4, 0.3],
            "position_angle_unlensed": [20.0, 70.0],
        }
        bulge = {"size_bulge_true": [0.2, 0.15], "size_minor_bulge_true": [0.15, 0.15]}
        table = {**sizes, **bulge, "disk_magnorm": [24.5, 25.0], "bulge_magnorm": [26.0, 27.0]}
        pd.DataFrame(table).to_parquet("galaxies.parquet")
    if "kind: heterodyne" in Path("recipe.yaml").read_text():
        assert lanewise("simulate", "heterodyne", "data", "--count", "2", "--frames", "40")[0] == 0

"""A first manifest: what the flags of the published pages become."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import load
from lanewise import api
from lanewise.cli.families import spread
from lanewise.errors import ManifestError, UsageError
from lanewise.families.calibration import starter as calibration
from lanewise.families.heterodyne import starter as heterodyne
from lanewise.families.shear import starter as shear
from lanewise.manifest import yaml_text
from lanewise.manifest.document import Document
from lanewise.operations import starter


def _page() -> Document:
    grid = ["0.01", "0.02", "0.05"]
    return shear.manifest(shear_grid=grid, n_realizations=2, batch_size=4, output_dir="out/batched")


def test_the_flags_of_the_page_become_its_campaign(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(starter.text(_page(), str(path)))
    plan = load(str(path)).plan
    assert [chunk.run_ids for chunk in plan.chunks] == [
        tuple(f"g1_+0.0{g}00_g2_+0.0000_s{seed}" for g, seed in ((1, 42), (1, 43), (2, 44), (2, 45))),
        tuple(f"g1_+0.0{g}00_g2_+0.0000_s{seed}" for g, seed in ((5, 46), (5, 47))),
    ]


def test_a_named_shear_gets_the_defaults_of_the_page() -> None:
    value = shear.manifest(g1_true=0.0).value
    assert (value["shear"], value["realizations"], value["batch"]) == (
        {"grid": [0.0], "g2": 0.0},
        {"count": 1, "base_seed": 42},
        {"size": 1},
    )


def test_without_flags_a_first_campaign_has_pairs_and_a_bound() -> None:
    value = shear.manifest().value
    assert (value["shear"], value["realizations"]["count"], value["batch"], value["acceptance"]) == (
        {"grid": [0.02, 0.05], "g2": 0.0, "paired": True},
        256,
        {"size": 64},
        {"max_abs_m": 0.01},
    )
    assert shear.manifest(n_realizations=2, batch_size=4, level="level_0").value["acceptance"] == {"level": "level_0"}


@pytest.mark.parametrize(("output", "name"), [("a/Level_0 run/", "level-0-run"), (None, "shear"), ("s3://b/x", "x")])
def test_the_campaign_is_called_as_its_results(output: str | None, name: str) -> None:
    assert shear.manifest(output_dir=output).value["name"] == name


def test_the_text_says_what_the_schema_says_and_reads_back_to_the_same_value() -> None:
    made = _page()
    text = starter.text(made)
    assert yaml_text.parse(text, "made").value == made.value == yaml.safe_load(text)
    assert "count: 2       # Realizations (or pairs) per shear point\n" in text
    # What is not set is shown with its default, ready to be uncommented.
    uncommented = re.sub(r"^( *)# (paired|width|rng_seed|simulated): ", r"\1\2: ", text, flags=re.M)
    value = yaml_text.parse(uncommented, "made").value
    assert (value["shear"]["paired"], value["batch"]["width"], value["config"]["inference"]["rng_seed"]) == (
        False,
        16,
        0,
    )


def test_the_modeline_finds_the_schema_of_the_project_or_of_the_package(tmp_path: Path) -> None:
    inside = Path(__file__).parents[2] / "manifests" / "my.yaml"
    first = starter.text(_page(), str(inside)).splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/manifest.schema.json"
    first = starter.text(_page(), str(tmp_path / "my.yaml")).splitlines()[0]
    assert Path(first.partition("$schema=file://")[2]).is_file()


def test_a_config_is_named_as_the_manifest_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = shear.manifest(config="configs/scene.yaml")
    assert "config: ../configs/scene.yaml" in starter.text(made, "manifests/my.yaml")
    assert "config: configs/scene.yaml" in starter.text(made)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch_size": 0}, "--batch-size: batch.size: expected an integer ≥ 1, got 0"),
        ({"shear_grid": ["0.01 1.2"]}, "--shear-grid: shear.grid[1]: expected a number > -1 and < 1, got 1.2"),
        ({"g1_true": 1.2}, "--g1-true: shear.grid[0]: expected a number > -1 and < 1, got 1.2"),
        ({"name": "Not This"}, "--name: name: expected lower-case letters"),
        ({"config": "absent.yaml"}, "--config: config: ./absent.yaml: no such file"),
    ],
)
def test_a_complaint_names_the_flag(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)):
        api.load(shear.manifest(**flags))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"shear_grid": ["0.01", "x"]}, "--shear-grid: expected numbers, got 'x'"),
        ({"shear_grid": ["0.01"], "g1_true": 0.1}, "give one of the two"),
    ],
)
def test_flags_that_cannot_be_read_are_usage_errors(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shear.manifest(**flags)


def test_a_calibration_draws_from_the_priors_of_the_first_scene() -> None:
    made = calibration.manifest(n_realizations=3, output_dir="out/sbc")
    assert yaml_text.parse(starter.text(made), "made").value == made.value
    plan = api.load(made).plan
    assert [realization.planned.seed for realization in plan.realizations] == [42, 43, 44]
    assert len({realization.planned.truth["g1"] for realization in plan.realizations}) == 3


def test_data_and_a_sweep_become_a_heterodyne_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / f"{name}.h5").write_bytes(name.encode())
    made = heterodyne.manifest(["data/a.h5", "data/b.h5"], sweep=["fit.seed=0,1,2"], output_dir="o")
    (tmp_path / "manifests").mkdir()
    path = tmp_path / "manifests" / "my.yaml"
    path.write_text(starter.text(made, "manifests/my.yaml", heterodyne.STARTER.paths))
    assert len(api.load(made).plan.realizations) == 6
    assert api.load("manifests/my.yaml").plan == api.load(made).plan


@pytest.mark.parametrize(
    ("config", "output", "url"),
    [
        ("configs/Warm_1.yaml", None, "results/warm-1"),
        ("c.yaml", "out/sf100/", "out/sf100/"),
        (None, None, "results/heterodyne"),
    ],
)
def test_configs_that_are_run_one_by_one_have_results_of_their_own(
    config: str | None, output: str | None, url: str
) -> None:
    made = heterodyne.manifest(["a.h5"], config=config, output_dir=output)
    assert made.value["output"]["url"] == url


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"method": "mcmc"}, "--method mcmc: expected nlsq, cmc, both"),
        ({"method": "cmc", "config": "none.yaml"}, "--config none.yaml: No such file"),
        ({"sweep": ["fit.seed"]}, "--sweep fit.seed: expected path=value"),
    ],
)
def test_heterodyne_flags_that_cannot_be_read_are_usage_errors(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        heterodyne.manifest(["a.h5"], **flags)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shear-grid", "0.01", "-0.02", "--x"], ["--shear-grid=0.01", "--shear-grid=-0.02", "--x"]),
        (["--shear-grid", "--x"], ["--shear-grid", "--x"]),
        (["--shear-grid"], ["--shear-grid"]),
        (["--data", "a", "b", "--shear-grid", "1", "c"], ["--data=a", "--data=b", "--shear-grid=1", "c"]),
        (["run", "m.yaml", "--set", "a=1"], ["run", "m.yaml", "--set", "a=1"]),
    ],
)
def test_a_flag_of_the_pages_takes_several_values(words: list[str], expected: list[str]) -> None:
    several = {**shear.STARTER.several, **heterodyne.STARTER.several}
    assert spread(words, several) == expected

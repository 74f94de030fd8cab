"""Shards of one data set in tasks of their own, and a campaign that combines them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from lanewise import cli
from lanewise.errors import DataError, ManifestError
from lanewise.families.heterodyne import config, earlier, tasks
from lanewise.families.heterodyne.family import SAMPLING_LADDER
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest import loading, schema
from lanewise.manifest.manifest import Config, Rung

RUN = CliRunner()
FEW = {"candidates": 64, "starts": 8, "polish": 4, "hops": 4, "agreement": 2}
SHARDS = {"num_shards": 3, "sampler": "importance"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data, and the results of one campaign that sampled each of three shards in a chunk."""
    found = tmp_path_factory.mktemp("apart")
    where = ["--model", "static", "--frames", "32", "--dt", "0.3", "--seed", "1"]
    assert RUN.invoke(cli.app, ["simulate", "heterodyne", str(found / "data"), *where]).exit_code == 0
    path = manifest(found, "shards", SHARDS, sweep={"grid": {"cmc.shard": [0, 1, 2]}})
    assert RUN.invoke(cli.app, ["run", path, "--batch-index", "2"]).exit_code == 0
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    return found


def manifest(place: Path, name: str, cmc: Mapping[str, Any], **more: Any) -> str:
    """A campaign that samples the data set, one task in a chunk."""
    content = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": name,
        "inputs": str(place / "data" / "*.h5"),
        "config": {"method": "cmc", "model": {"type": "static"}, "fit": FEW, "errors": "independent", "cmc": dict(cmc)},
        "batch": {"size": 1},
        "output": {"url": str(place / name)},
        **more,
    }
    path = place / f"{name}.yaml"
    path.write_text(json.dumps(content))
    return str(path)


def results(place: Path, name: str) -> list[dict[str, Any]]:
    """The sections `cmc` of a campaign's results."""
    found = [json.loads(path.read_text()) for path in sorted((place / name).glob("het_*/result.json"))]
    for content in found:
        jsonschema.Draft7Validator(schema.load("result")).validate(content)
    return [content["cmc"] for content in found]


def task(path: str) -> Task:
    """The one task of a manifest."""
    loaded = loading.load(path)
    (found,) = tasks.tasks(tasks.extent_of(loaded), loaded.content["config"])
    return found


@pytest.mark.long
def test_shards_in_chunks_of_their_own_are_those_of_one_run(place: Path) -> None:
    apart = results(place, "shards")
    assert [one["combination"] for one in apart] == ["one shard"] * 3
    assert sorted(one["shard"]["number"] for one in apart) == [0, 1, 2]
    whole = manifest(place, "whole", SHARDS)
    assert RUN.invoke(cli.app, ["run", whole]).exit_code == 0
    combined = manifest(place, "combined", {**SHARDS, "shard_results": str(place / "shards" / "het_*" / "result.json")})
    assert RUN.invoke(cli.app, ["run", combined]).exit_code == 0
    ((expected,), (found,)) = (results(place, name) for name in ("whole", "combined"))
    assert found["combination"] == expected["combination"] == "exact"
    runs = {path.name for path in (place / "shards").glob("het_*")}
    assert {row["source"] for row in found["shards"]["table"]} == runs
    # Equal draws: the keys of a shard depend on its number alone, and the common points on the seed.
    for row, other in zip(found["shards"]["table"], expected["shards"]["table"], strict=True):
        assert (row["shard"], row["points"]) == (other["shard"], other["points"])
        assert row["means"]["J"] == pytest.approx(other["means"]["J"], rel=1e-6)
        assert row["distance"] == pytest.approx(other["distance"], rel=1e-4)
    for name, mean in expected["means"].items():
        assert found["means"][name] == pytest.approx(mean, rel=1e-5), name
    # One shard alone has a third of the data.
    for one in apart:
        assert one["sds"]["J"] > 1.3 * expected["sds"]["J"]


@pytest.mark.long
def test_reports_of_shards_and_of_their_consensus(place: Path) -> None:
    assert RUN.invoke(cli.app, ["aggregate", str(place / "shards.yaml")]).exit_code == 0
    page = (place / "shards" / "report.html").read_text()
    assert "one shard" in page
    # A shard has less data than the fit: there is nothing to compare.
    assert "NLSQ against CMC" not in page
    told = " ".join(RUN.invoke(cli.app, ["plan", str(place / "shards.yaml")]).output.split())
    assert "of which 1 of 3 shards of 496 values is sampled" in told


@pytest.mark.long
def test_a_shard_without_a_result_is_sampled(place: Path) -> None:
    files = sorted(map(str, (place / "shards").glob("het_*/result.json")))
    one = results(place, "shards")[0]["shard"]["number"]
    path = manifest(place, "some", {**SHARDS, "shard_results": files[1:]})
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    ((found),) = results(place, "some")
    assert [row["shard"] for row in found["shards"]["table"] if not row["source"]] == [one]
    assert found["combination"] == "exact"


@pytest.mark.long
def test_only_results_of_the_same_shards_count(place: Path) -> None:
    files = str(place / "shards" / "het_*" / "result.json")
    assert len(earlier.shards(task(manifest(place, "same", {**SHARDS, "shard_results": files})))) == 3
    for change in ({"num_shards": 5}, {"seed": 7}, {"shard_by": "age"}):
        with pytest.raises(DataError, match=r"none of 3 files is of a shard of het_s1\.h5"):
            earlier.shards(task(manifest(place, "other", {**SHARDS, **change, "shard_results": files})))


@pytest.mark.long
def test_the_last_step_of_a_retry_takes_another_split(place: Path) -> None:
    files = str(place / "shards" / "het_*" / "result.json")
    planned = task(manifest(place, "again", {**SHARDS, "shard_results": files}))
    climbed = [planned.changed(partial(_climbed, rung)) for rung in SAMPLING_LADDER]
    assert [one.config.cmc.split for one in climbed] == [0, 1]
    # A shard that is a task of its own stays what it is.
    alone = replace(planned, config=replace(planned.config, cmc=replace(planned.config.cmc, shard=1)))
    assert [alone.changed(partial(_climbed, rung)).config.cmc.split for rung in SAMPLING_LADDER] == [0, 0]
    # The shards of another split have not been sampled.
    assert [len(earlier.shards(one)) for one in climbed] == [3, 0]
    path = manifest(place, "split", {**SHARDS, "split": 1})
    assert RUN.invoke(cli.app, ["run", path]).exit_code == 0
    ((found),) = results(place, "split")
    others = {one["shard"]["number"]: one["means"]["J"] for one in results(place, "shards")}
    assert found["combination"] == "exact"
    for row in found["shards"]["table"]:
        assert not np.isclose(row["means"]["J"], others[row["shard"]], rtol=1e-6)


def _climbed(rung: Rung, one: Config) -> Config:
    return one.climbed(rung)


@pytest.mark.parametrize(
    ("cmc", "message"),
    [
        ({"shard": 4, "num_shards": 4}, r"expected a number below num_shards \(4\), got 4"),
        ({"shard": 1}, r"expected a number below num_shards \(1\), got 1"),
        ({"shard": 1, "num_shards": 4, "shard_results": "a.json"}, "combines none; remove it"),
    ],
)
def test_shards_that_cannot_be_are_errors(cmc: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        config.checked({"method": "cmc", "cmc": cmc})

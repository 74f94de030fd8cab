"""Galaxies of simulated images from a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import CALIBRATED, SCENE, Write, load
from lanewise import api
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import galaxy_table

COLUMNS = {
    "flux": "10 ** (-0.4 * (mag - 25))",
    "half_light_radius": "sqrt(major * minor)",
    "e1": "(major ** 2 - minor ** 2) / (major ** 2 + minor ** 2) * cos(2 * radians(angle))",
    "e2": "(major ** 2 - minor ** 2) / (major ** 2 + minor ** 2) * sin(2 * radians(angle))",
}


def galaxies(n: int = 200, seed: int = 1) -> pd.DataFrame:
    """Sizes [arcsec], angles [degree] and magnitudes; one row in eight is too faint for the cut."""
    draw = np.random.default_rng(seed)
    major = draw.lognormal(np.log(0.5), 0.2, n)
    return pd.DataFrame(
        {
            "major": major,
            "minor": major * draw.uniform(0.5, 1.0, n),
            "angle": draw.uniform(0, 180, n),
            "mag": np.where(np.arange(n) % 8 == 0, 30.0, draw.uniform(24.5, 25.5, n)),
        }
    )


@pytest.fixture
def file(tmp_path: Path) -> str:
    galaxies().to_parquet(tmp_path / "galaxies.parquet", index=False)
    return "galaxies.parquet"


def scene(file: str, **changes: Any) -> dict[str, Any]:
    prior = {"type": "TruncatedNormal", "mean": 0.0, "sigma": 0.3, "min": -0.9, "max": 0.9}
    table = {"file": file, "columns": COLUMNS, "cuts": ["mag < 26"], **changes}
    return {
        **SCENE,
        "gal": {
            **SCENE["gal"],
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.5},
            "half_light_radius": {"type": "LogNormal", "mean": 0.45, "sigma": 0.3},
            "ellipticity": {"e1": prior, "e2": prior},
        },
        "simulation": {"given": ["e1", "e2"], "catalogue": table},
    }


def test_truths_are_rows_that_pass_the_cuts(write: Write, file: str) -> None:
    plan = load(write(config=scene(file), shear={"grid": [0.02], "paired": True}, realizations__count=60)).plan
    truths = [one.planned.truth for one in plan.realizations]
    table = galaxies()
    kept = table[table["mag"] < 26]
    seen = set()
    for plus, minus in zip(truths[::2], truths[1::2], strict=True):
        flux = 10 ** (-0.4 * (kept["mag"] - 25))
        (at,) = np.flatnonzero(np.isclose(flux, plus["flux"], rtol=1e-12))
        row = kept.iloc[int(at)]
        assert plus["half_light_radius"] == pytest.approx(np.sqrt(row["major"] * row["minor"]))
        size = (row["major"] ** 2 - row["minor"] ** 2) / (row["major"] ** 2 + row["minor"] ** 2)
        assert np.hypot(plus["e1"], plus["e2"]) == pytest.approx(size)
        assert np.degrees(np.arctan2(plus["e2"], plus["e1"])) / 2 % 180 == pytest.approx(row["angle"])
        assert {**plus, "g1": 0} == {**minus, "g1": 0}
        seen.add(int(at))
    # Of 60 draws from 175 rows some 51 differ.
    assert 40 < len(seen) <= 60


def test_a_csv_gives_the_same_galaxies_and_another_content_is_another_identity(
    write: Write, tmp_path: Path, file: str
) -> None:
    galaxies().to_csv(tmp_path / "galaxies.csv", index=False)
    galaxies(seed=2).to_parquet(tmp_path / "other.parquet", index=False)
    plans = [load(write(config=scene(name))).plan for name in (file, "galaxies.csv", "other.parquet")]
    first, same, other = (plan.realizations[0].planned.truth for plan in plans)
    assert first == pytest.approx(same, rel=1e-12)
    assert first["flux"] != other["flux"]
    contents = [
        shear_config.of(load(write(config=scene(file, cuts=cuts))).manifest).content for cuts in ([], ["mag < 26"])
    ]
    assert contents[0]["simulation"] != contents[1]["simulation"]


def test_a_ring_turns_the_galaxy_of_the_row_and_other_latents_are_drawn(write: Write, file: str) -> None:
    config = scene(file, columns={name: COLUMNS[name] for name in ("e1", "e2")})
    config["simulation"]["truths"] = "drawn"
    plan = load(write(config=config, shear={"grid": [0.02], "ring": True})).plan
    plain, turned = (one.planned.truth for one in plan.realizations[:2])
    assert (plain["e1"], plain["e2"]) == (-turned["e1"], -turned["e2"])
    assert plain["flux"] == turned["flux"] != 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": {"flux": "lum"}}, "there is no column 'lum'; there are major, minor, angle, mag"),
        ({"columns": {"flux": "mag +"}}, "'mag \\+': is no formula"),
        ({"columns": {"flux": "__import__('os')"}}, "expected columns, numbers"),
        ({"columns": {"flux": "mag.real"}}, "expected columns, numbers"),
        ({"columns": {"flux": "mag - 27"}, "cuts": []}, r"rows have flux outside 0 … inf \(e.g. -"),
        ({"columns": {"half_light_radius": "sqrt(-major)"}}, "175 of 175 rows have half_light_radius outside"),
        ({"columns": {"e1": 0.9, "e2": "0.9 + 0 * mag"}}, "an ellipticity of 1 or more"),
        ({"columns": {"n": "mag"}}, "the simulated galaxy has no n"),
        ({"columns": {"g1": "mag"}}, "g1 is no property of a galaxy"),
        ({"cuts": ["mag < 0"]}, "none of 200 rows passes the catalogue's cuts"),
        ({"file": "absent.parquet"}, "absent.parquet"),
        ({"file": "manifest.yaml"}, "expected a table that ends in .parquet or .csv"),
    ],
)
def test_what_does_not_fit_is_told(write: Write, file: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        load(write(config=scene(**{"file": file, **changes})))
    assert "simulation.catalogue" in str(caught.value)


def test_a_calibration_draws_from_its_priors(write: Write, file: str) -> None:
    config = {**CALIBRATED, "simulation": {"catalogue": {"file": file, "columns": {"flux": COLUMNS["flux"]}}}}
    with pytest.raises(ManifestError, match="draws every truth from its prior"):
        load(write(kind="calibration", config=config, shear=...))


def test_a_formula_has_the_order_of_operations_of_arithmetic() -> None:
    table = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}
    found = galaxy_table.value("-a ** 2 + log10(100) * (b - 1) / 2", table, "t")
    np.testing.assert_array_equal(found, -(table["a"] ** 2) + 2 * (table["b"] - 1) / 2)
    np.testing.assert_array_equal(galaxy_table.value("a >= 2", table, "t"), [False, True])
    with pytest.raises(DataError, match="cannot be computed"):
        galaxy_table.value("a + b", {"a": np.array(["x"], object), "b": np.array([1.0])}, "t")


@pytest.mark.slow
def test_level_1_is_decided_for_a_catalogue(write: Write, tmp_path: Path, file: str) -> None:
    """The population of the table, whose shapes the model is given, at S/N 1000."""
    config = scene(file)
    config["image"] = {**config["image"], "size_x": 32, "size_y": 32, "noise": {"sigma": 1.2e-4}}
    path = write(
        config=config,
        shear={"grid": [0.02, 0.05], "paired": True, "ring": True},
        realizations={"count": 200, "base_seed": 1000},
        batch={"size": 400, "width": 16},
        acceptance={"max_abs_m": 1e-3},
    )
    loaded = api.load(path)
    assert loaded.run().all_ok
    results = loaded.aggregate()
    assert 3 * results.g1.m.error < 1e-3
    assert results.verdict.verdict == "PASS", results.verdict.reasons


@pytest.mark.slow
def test_a_search_that_ends_far_off_begins_again_from_more_noise(tmp_path: Path) -> None:
    """A galaxy of S/N 15 000: a step made its disc e⁹² times as large, and no grid draws that."""
    url = f"output.url={tmp_path / 'results'}"
    campaign = load("manifests/level1-catalogue.yaml", "realizations.base_seed=1155", "realizations.count=1", url)
    assert campaign.run().all_ok
    for truth, mean, width in zip(*(campaign.summary[f"g1_{what}"] for what in ("true", "mean", "std")), strict=True):
        assert abs(mean - truth) < 4 * width

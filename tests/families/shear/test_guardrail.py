"""`lanewise check`: as few pairs as decide |m|, in a folder that can be gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import CALIBRATED, SCENE, Lanewise, Write
from lanewise.families.shear import guardrail
from lanewise.families.shear.shears import Shears

PASS, FAIL, INCONCLUSIVE, USAGE = 0, 3, 4, 64
GRID = {"grid": [-0.1, 0.0, 0.05]}


def _events(out: str, name: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, out.splitlines()) if line["event"] == name]


def _write(write: Write, **changes: Any) -> str:
    return write(**{"shear": GRID, "acceptance": {"max_abs_m": 0.02}, **changes})


def test_the_small_form_is_paired_and_at_the_largest_shears(write: Write) -> None:
    points = [[0.02, 0.0], [0.01, -0.03], [-0.05, 0.01], [0.0, 0.0]]
    path = write(shear={"points": points}, acceptance={"requirement": "lsst", "max_excluded_frac": 0.1})
    small = guardrail.small_form(path, ["batch.width=2"], max_abs_m=None, url=None).manifest
    assert small.extent == Shears(((-0.05, 0.01), (0.01, -0.03)), paired=True)
    assert (small.acceptance.max_abs_m, small.acceptance.max_abs_c) == (1e-3, None)
    assert (small.acceptance.requirement, small.acceptance.max_excluded_frac) == (None, 0.1)
    assert (small.batch.width, small.batch.size) == (2, 4 * small.realizations.count)
    assert small.output.url.endswith("results-check")


def test_the_first_look_is_smaller_where_the_noise_is(write: Write) -> None:
    counts = [
        guardrail.small_form(
            _write(write), [f"config.image.noise.sigma={sigma}"], max_abs_m=None, url=None
        ).manifest.realizations.count
        for sigma in (1e-6, 1e-4, 1e-2)
    ]
    assert counts[0] == 8 < counts[1] < counts[2] == 32


@pytest.mark.long
def test_a_right_model_passes_and_is_not_computed_twice(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    path = _write(write)
    code, out, err = lanewise("check", path)
    (first,) = _events(out, "checked")
    assert (code, first["verdict"]) == (PASS, "PASS"), err
    bias = json.loads((tmp_path / "results-check/stats/bias_results.json").read_text())
    assert first["pairs"] == bias["g1"]["pairs"]["n_pairs"]
    assert bias["g1"]["m"]["value"] + 3 * bias["g1"]["m"]["error"] < 0.02
    code, out, _ = lanewise("check", path)
    (again,) = _events(out, "checked")
    assert (code, again["text"], _events(out, "committed")) == (PASS, first["text"], [])


@pytest.mark.long
@pytest.mark.parametrize("seed", [42, 7])
def test_a_planted_bias_fails(lanewise: Lanewise, write: Write, seed: int) -> None:
    path = _write(write, config={**SCENE, "simulation": {"bias": {"m": 0.05}}}, realizations={"base_seed": seed})
    code, out, _ = lanewise("check", path)
    assert (code, _events(out, "checked")[0]["verdict"]) == (FAIL, "FAIL")


@pytest.mark.long
def test_without_time_it_is_inconclusive_and_the_next_call_goes_on(
    lanewise: Lanewise, write: Write, tmp_path: Path
) -> None:
    arguments = ("check", _write(write), "--max-abs-m", "0.014")
    code, out, _ = lanewise(*arguments, "--minutes", "0")
    (short,) = _events(out, "checked")
    assert (code, short["verdict"], len(_events(out, "next"))) == (INCONCLUSIVE, "INCONCLUSIVE", 1)
    code, out, _ = lanewise(*arguments)
    (long,) = _events(out, "checked")
    assert code in {PASS, FAIL}
    assert _events(out, "reused")
    assert long["pairs"] > short["pairs"] == 32
    bias = json.loads((tmp_path / "results-check/stats/bias_results.json").read_text())
    assert bias["acceptance"]["reach"]["n_looks"] > 1
    assert bias["acceptance"]["reach"]["now"] > 3.8


@pytest.mark.long
def test_results_of_another_campaign_are_kept_unless_told_otherwise(lanewise: Lanewise, write: Write) -> None:
    path = _write(write)
    assert lanewise("check", path)[0] == PASS
    code, _, err = lanewise("check", path, "--set", "config.psf.sigma=0.41")
    assert (code, "psf" in err) == (65, True)
    assert lanewise("check", path, "--set", "config.psf.sigma=0.41", "--overwrite")[0] == PASS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acceptance": {}}, "sets no bound on m; add --max-abs-m or acceptance.max_abs_m"),
        ({"shear": {"grid": [0.0]}}, "every shear is 0"),
        (
            {"kind": "calibration", "config": CALIBRATED, "shear": ..., "acceptance": {}},
            "kind calibration has no shears to simulate",
        ),
    ],
)
def test_what_it_cannot_check_is_told(lanewise: Lanewise, write: Write, changes: dict[str, Any], message: str) -> None:
    code, _, err = lanewise("check", _write(write, **changes))
    assert (code, message in err) == (USAGE, True), err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("level1", PASS), ("control-psf", FAIL), ("control-bias", FAIL)])
def test_level_1_passes_and_its_controls_fail(lanewise: Lanewise, tmp_path: Path, name: str, code: int) -> None:
    """Without a limit of time, which would make the test one of this machine."""
    found, out, _ = lanewise("check", f"manifests/{name}.yaml", "--output-dir", str(tmp_path), "--minutes", "1000")
    assert found == code, _events(out, "checked")

"""The published configs, in both forms: they run, recover g, and give the posterior of the published model itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pytest
import yaml

from conftest import load
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family

# Python of an environment with shine-wl 0.0.3 (`pip install shine-wl==0.0.3`).
ANCESTOR = os.environ.get("LANEWISE_ANCESTOR", "")
SCENE: dict[str, Any] = {
    "image": {
        "pixel_scale": 0.263,
        "size_x": 48,
        "size_y": 48,
        "n_objects": 1,
        "fft_size": 128,
        "noise": {"type": "Gaussian", "sigma": 1.2e-3},
    },
    "psf": {"type": "Gaussian", "sigma": 0.382},
    "gal": {
        "type": "Exponential",
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
        "shear": {
            "type": "G1G2",
            "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
            "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        },
        "position": {"type": "Uniform", "x_min": 0.3, "x_max": 0.7, "y_min": 0.3, "y_max": 0.7},
    },
}
_MAP_INIT = {"enabled": True, "num_steps": 200, "learning_rate": 0.01}


def _form(name: str, warmup: int, samples: int, chains: int) -> dict[str, Any]:
    """The inference of a published config: flat as in version 0.0.3, or as the page of batched inference has it."""
    nuts = {"warmup": warmup, "samples": samples, "chains": chains, "dense_mass": False, "map_init": _MAP_INIT}
    if name == "flat":
        return {**SCENE, "inference": {**nuts, "rng_seed": 42}}
    return {**SCENE, "inference": {"method": "nuts", "nuts_config": nuts, "rng_seed": 42}}


def _campaign(tmp_path: Path, config: dict[str, Any], seed: int = 42) -> Any:
    (tmp_path / "published.yaml").write_text(yaml.safe_dump(config))
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "published",
        "config": "published.yaml",
        "shear": {"grid": [0.02]},
        "realizations": {"base_seed": seed},
        "batch": {"width": 4},
        "output": {"url": str(tmp_path / "results")},
    }
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    return load(str(tmp_path / "manifest.yaml"))


# Both forms are read every day, test_both_published_forms_of_inference_load, and NUTS runs on problems that are known.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "nested"])
def test_a_config_of_each_published_form_runs_and_recovers_g(tmp_path: Path, name: str) -> None:
    # Half-chains of 100 draws scatter R̂ beyond its threshold of 1.05 in one of a few seeds, those of 300 do not.
    campaign = _campaign(tmp_path, _form(name, 100, 600, 2))
    campaign.run()
    (row,) = campaign.summary.to_dict("records")
    assert (row["status"], row["method_used"]) == ("ok", "nuts")
    # One galaxy at S/N 100: four of its widths, a false alarm in 16 000.
    assert row["g1_std"] == pytest.approx(0.02, rel=0.3)
    assert abs(row["g1_mean"] - 0.02) < 4 * row["g1_std"]
    assert abs(row["g2_mean"]) < 4 * row["g2_std"]


OTHERS = [
    ("map", {"map_config": {"num_steps": 1000, "learning_rate": 0.01}}),
    ("vi", {"vi_config": {"num_steps": 1000, "learning_rate": 0.01, "num_samples": 1000}}),
]


@pytest.mark.parametrize(("method", "settings"), OTHERS)
def test_the_settings_of_the_other_published_methods_load(
    tmp_path: Path, method: str, settings: dict[str, Any]
) -> None:
    campaign = _campaign(tmp_path, {**SCENE, "inference": {"method": method, "rng_seed": 42, **settings}})
    inference = shear_config.of(campaign.manifest).inference
    assert (inference.method, inference.rng_seed) == (method, 42)


# That map recovers g is shown every day by level 0.
@pytest.mark.slow
@pytest.mark.parametrize(("method", "settings"), OTHERS)
def test_the_other_published_methods_recover_g(tmp_path: Path, method: str, settings: dict[str, Any]) -> None:
    campaign = _campaign(tmp_path, {**SCENE, "inference": {"method": method, "rng_seed": 42, **settings}})
    campaign.run()
    (row,) = campaign.summary.to_dict("records")
    assert (row["status"], row["method_used"]) == ("ok", method), row["reason"]
    # As above; one image tells g to 0.02.
    assert abs(row["g1_mean"] - 0.02) < 4 * 0.02
    assert abs(row["g2_mean"]) < 4 * 0.02


@pytest.mark.slow
@pytest.mark.skipif(not ANCESTOR, reason="LANEWISE_ANCESTOR names no Python with shine-wl 0.0.3")
def test_the_posterior_is_that_of_the_published_model(tmp_path: Path) -> None:
    config = _form("flat", 500, 2500, 4)
    campaign = _campaign(tmp_path, config)
    campaign.run()
    (realization,) = campaign.plan.realizations
    image = family.observe(shear_config.of(campaign.manifest), realization.planned).data["image"]
    np.save(tmp_path / "image.npy", image)
    program = str(Path(__file__).with_name("ancestor.py"))
    draws = tmp_path / "draws.npz"
    paths = [str(tmp_path / "published.yaml"), str(tmp_path / "image.npy"), str(draws)]
    subprocess.run([ANCESTOR, program, *paths, "500", "2000"], check=True, timeout=1800)
    theirs = dict(np.load(draws))
    posterior = campaign.posterior(realization.run_id)["posterior"]
    # Its names, and a centre that counts from the centre of the first pixel.
    for ours, name, shift in (("g1", "g1", 0.0), ("g2", "g2", 0.0), ("flux", "flux", 0.0), ("x", "x", -0.5)):
        found, expected = np.asarray(posterior[ours]), theirs[name] - shift
        assert arviz.ess(expected) > 1000
        width = expected.std()
        assert abs(found.mean() - expected.mean()) < 0.1 * width, ours
        assert found.std() == pytest.approx(width, rel=0.05), ours

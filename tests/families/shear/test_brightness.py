"""The S/N of a scene, and the floating-point type that is chosen for it, against float64."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from conftest import SCENE
from lanewise.engine.engine import Engine
from lanewise.errors import ManifestError
from lanewise.families.shear import brightness
from lanewise.families.shear import config as shear_config
from lanewise.manifest import loading, planning
from lanewise.manifest.document import Document
from lanewise.manifest.loading import load

SNR_100 = "manifests/snr100-nuts.yaml"


def test_the_scene_called_snr_100_has_it() -> None:
    config = shear_config.of(load(SNR_100))
    assert brightness.signal_to_noise(config.image, config.psf, config.galaxy) == pytest.approx(100, rel=0.15)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("inference.method=nuts", "float32"),
        # S/N 1000 of the galaxy in the middle of the prior, so that the brighter half has more.
        ("image.noise.sigma=1.2e-4", "float64"),
        # S/N 300 in the middle, and 1 of 10,000 galaxies has e times as much and a little more.
        ("gal.flux={type: LogNormal, mean: 3.0, sigma: 0.25}", "float32"),
        ("gal.flux={type: LogNormal, mean: 3.0, sigma: 0.35}", "float64"),
        ("image.noise.simulated=false", "float64"),
        ("simulation={gal: {flux: 20.0}}", "float64"),
        ("inference.precision=float64", "float64"),
    ],
)
def test_the_precision_carries_the_brightest_galaxies(override: str, expected: str) -> None:
    assert load(SNR_100, [f"config.{override}"]).config.precision == expected


def test_float32_is_refused_where_it_rounds_more_than_the_noise() -> None:
    asked = "config.inference.precision=float32"
    assert load(SNR_100, [asked]).config.precision == "float32"
    with pytest.raises(ManifestError, match=r"config\.inference\.precision: .*S/N is about 1e\+05.*float64"):
        load(SNR_100, [asked, "config.image.noise.sigma=1e-6"])
    with pytest.raises(ManifestError, match=r"config\.inference\.precision: an estimate from an image without noise"):
        load(SNR_100, [asked, "config.image.noise.simulated=false"])


SIZE = {"type": "LogNormal", "mean": 0.5, "sigma": 0.15}
SERSIC = {"type": "Sersic", "n": {"type": "Uniform", "min": 0.8, "max": 4.0}, "half_light_radius": SIZE}
SCENES: dict[str, dict[str, Any]] = {
    "modes": {},
    "Sersic": {"gal": SERSIC},
    "Moffat PSF, strict grid": {
        "image": {"accuracy": "strict"},
        "psf": {"type": "Moffat", "sigma": 0.9, "beta": 2.5},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("method", ["map", "importance"])
def test_float32_changes_no_answer_at_the_largest_signal_to_noise(name: str, method: str) -> None:
    scene = copy.deepcopy(SCENE)
    for key, changes in SCENES[name].items():
        scene[key] = {**scene[key], **changes}
    scene["image"] = {**scene["image"], "size_x": 48, "size_y": 48, "noise": {"sigma": 1.2e-4}}
    found = {}
    for precision in ("float64", "float32"):
        inference = {"method": method, "precision": precision}
        content = {
            "apiVersion": "lanewise/v1",
            "kind": "shear",
            "name": "precision",
            "config": {**scene, "inference": inference},
            "shear": {"grid": [0.02]},
            "realizations": {"count": 16},
            "batch": {"size": 16},
            "output": {"url": "memory://unused"},
        }
        manifest = loading.load(Document("precision", content))
        plan = planning.build(manifest)
        found[precision] = Engine(manifest, plan).run(plan.chunks[0])
    for double, single in zip(found["float64"], found["float32"], strict=True):
        assert double.status == single.status, single.reason
        for latent, values in double.posterior.items():
            shift, width = np.mean(single.posterior[latent]) - np.mean(values), double.width(latent)
            assert width is not None
            if method == "map":
                assert abs(shift) < 0.01 * width, latent
                assert single.width(latent) == pytest.approx(width, rel=0.01), latent
            else:
                # The random numbers of the two differ.
                errors = [one.diagnostics.mcse_mean[latent] for one in (double, single)]
                assert abs(shift) < 5 * float(np.linalg.norm(np.array(errors, float))), latent

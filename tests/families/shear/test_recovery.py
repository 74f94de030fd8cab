"""Noise-free galaxies of every kind give their shear back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SCENE, Write, load

# Sizes and psf such that what GalSim draws with its default accuracy is right to 2e-6 of the peak.
STAMP = {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": 1e-6, "simulated": False}}
SIZE = {"type": "LogNormal", "mean": 0.5, "sigma": 0.3}
INDEX = {"type": "Uniform", "min": 1.0, "max": 4.0}
SUM = {
    "type": "Sum",
    "half_light_radius": ...,
    "components": {
        "bulge": {"type": "DeVaucouleurs", "half_light_radius": 0.4, "fraction": {**INDEX, "min": 0.1, "max": 0.5}},
        "disc": {"type": "Exponential", "half_light_radius": SIZE},
    },
}


def _carry_out(write: Write, tmp_path: Path, gal: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    galaxy = {
        **SCENE["gal"],
        "half_light_radius": SIZE,
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        **gal,
    }
    galaxy = {key: part for key, part in galaxy.items() if part is not ...}
    config = {**SCENE, "image": STAMP, "gal": galaxy, **changes}
    campaign = load(write(config=config, shear={"grid": [0.02], "g2": -0.01}, realizations={"count": 1}))
    assert campaign.run().all_ok
    return [
        {
            "truth": json.loads((tmp_path / "results" / run / "truth.json").read_text()),
            "found": {k: float(v) for k, v in campaign.posterior(run).posterior.mean(("chain", "draw")).items()},
        }
        for run in sorted(path.name for path in (tmp_path / "results").glob("g1_*"))
    ]


@pytest.mark.parametrize(
    ("gal", "latent"),
    [
        pytest.param({"type": "Sersic", "n": INDEX}, "n", marks=pytest.mark.slow),
        pytest.param({"type": "Sersic", "n": 2.0}, None, marks=pytest.mark.slow),
        pytest.param({"type": "DeVaucouleurs"}, None, marks=pytest.mark.slow),
        pytest.param(
            {"type": "Moffat", "beta": {"type": "Uniform", "min": 2, "max": 5}}, "beta", marks=pytest.mark.slow
        ),
        pytest.param(SUM, "bulge_fraction", marks=pytest.mark.slow),
    ],
)
def test_map_returns_the_shear_of_a_noise_free_galaxy(
    gal: dict[str, Any], latent: str | None, write: Write, tmp_path: Path
) -> None:
    (result,) = _carry_out(write, tmp_path, gal)
    truth, found = result["truth"], result["found"]
    assert truth["g1"] == 0.02
    for name in ("g1", "g2"):
        assert abs(found[name] - truth[name]) < 1e-5, (name, found[name] - truth[name])
    if latent:
        assert found[latent] == pytest.approx(truth[latent], abs=2e-3)

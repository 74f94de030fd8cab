"""Campaigns of stamps whose pixels are flipped, turned, oblong or sheared: the bias in the frame of the sky."""

from __future__ import annotations

from pathlib import Path

import galsim
import numpy as np
import pandas as pd
import pytest

from conftest import Write, load
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.statistics.verdict import Verdict

N, SCALE, SIGMA, PAIRS = 32, 0.26, 4e-6, 100
SHEAR = (0.03, 0.04)
TURN = np.array([[np.cos(np.pi / 6), -np.sin(np.pi / 6)], [np.sin(np.pi / 6), np.cos(np.pi / 6)]])
# The last is that of a public report in which metacalibration gave m = −.198.
JACOBIANS = {
    "flip": np.diag([-SCALE, SCALE]),
    "turned by 30°": SCALE * TURN,
    "turned by 90°": SCALE * np.array([[0.0, -1.0], [1.0, 0.0]]),
    "oblong by 2 %": np.diag([1.02 * SCALE, SCALE]),
    "oblong by 10 %": np.diag([SCALE, 1.1 * SCALE]),
    "sheared": np.diag([0.237892, 0.290757]),
}


def stamp(jacobian: np.ndarray, sign: int, rng: np.random.Generator, offset: np.ndarray) -> np.ndarray:
    """A round galaxy under ±SHEAR through a round PSF, by GalSim, with noise; an S/N of 5e4."""
    galaxy = galsim.Gaussian(flux=1.0, half_light_radius=0.5).shear(g1=sign * SHEAR[0], g2=sign * SHEAR[1])
    seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4)])
    drawn = seen.drawImage(nx=N, ny=N, wcs=galsim.JacobianWCS(*jacobian.ravel()), offset=offset, dtype=np.float64)
    found: np.ndarray = drawn.array + rng.normal(scale=SIGMA, size=(N, N))
    return found


def measured(write: Write, place: Path, jacobian: np.ndarray, told: np.ndarray) -> BiasResults:
    """The bias of ± pairs of stamps with a Jacobian, in a table that tells one."""
    rng = np.random.default_rng(1)
    offsets = rng.uniform(-0.5, 0.5, size=(PAIRS, 2))
    stamps = [stamp(jacobian, sign, rng, offset) for offset in offsets for sign in (1, -1)]
    np.save(place / "stamps.npy", np.array(stamps))
    rows = pd.DataFrame({"image": "stamps.npy", "index": np.arange(2 * PAIRS)})
    rows["x"], rows["y"] = (N / 2 + np.repeat(offsets, 2, axis=0)).T
    for name, value in zip(("dudx", "dudy", "dvdx", "dvdy"), told.ravel(), strict=True):
        rows[name] = value
    rows.assign(id=rows["index"]).to_csv(place / "t.csv", index=False)
    truths = [
        {"g1": sign * SHEAR[0], "g2": sign * SHEAR[1], "group": pair} for pair in range(PAIRS) for sign in (1, -1)
    ]
    campaign = load(
        write(
            shear=...,
            realizations=...,
            batch={"size": 2 * PAIRS, "width": 16},
            observations={"table": "t.csv", "truths": truths},
            acceptance={"max_abs_m": 1e-3},
            config__image={"pixel_scale": SCALE, "size_x": N, "size_y": N, "noise": {"sigma": SIGMA}},
            config__gal={
                "type": "Gaussian",
                "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
                "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3},
                "shear": {name: {"type": "Normal", "mean": 0.0, "sigma": 0.2} for name in ("g1", "g2")},
                "position": {"type": "Normal", "sigma": 0.5},
            },
        )
    )
    campaign.run()
    found = campaign.aggregate()
    assert isinstance(found, BiasResults)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("jacobian", JACOBIANS.values(), ids=JACOBIANS)
def test_the_bias_is_below_a_thousandth_whatever_the_pixels(write: Write, tmp_path: Path, jacobian: np.ndarray) -> None:
    found = measured(write, tmp_path, jacobian, jacobian)
    print([(one.m.value, one.m.error) for one in found.components if one.m])
    assert found.verdict.verdict is Verdict.PASS, found


@pytest.mark.slow
def test_square_pixels_in_place_of_those_of_the_report_fail(write: Write, tmp_path: Path) -> None:
    square = np.eye(2) * np.sqrt(np.linalg.det(JACOBIANS["sheared"]))
    assert measured(write, tmp_path, JACOBIANS["sheared"], square).verdict.verdict is Verdict.FAIL

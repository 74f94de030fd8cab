"""Campaigns of images that GalSim draws, with a bias that is known: it comes back within the errors, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from conftest import Write, load
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.statistics.regression import Measure
from lanewise.statistics.verdict import Verdict
from tables import known

N_CAMPAIGNS = 50
# Pixel noise of S/N 100: flux 1, .263" pixels, half-light radius .5".
NOISE = 1.2e-3
GALAXY: dict[str, Any] = {
    "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
    "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.2},
    "shear": {name: {"type": "Normal", "mean": 0.0, "sigma": 0.3} for name in ("g1", "g2")},
    "position": {"x_min": 0.4, "x_max": 0.6, "y_min": 0.4, "y_max": 0.6},
}


def _campaign(write: Write, noise: float, **changes: Any) -> BiasResults:
    """Galaxies of drawn flux, size and centre, in pairs."""
    image = {"pixel_scale": 0.263, "size_x": 32, "size_y": 32, "noise": {"sigma": noise}}
    simulation = {
        "truths": "drawn",
        "gal": {"position": {"x_min": 0.48, "x_max": 0.52, "y_min": 0.48, "y_max": 0.52}},
        **changes.pop("simulation", {}),
    }
    config = {
        "image": image,
        "psf": {"type": "Gaussian", "sigma": 0.382, **changes.pop("psf", {})},
        "gal": GALAXY,
        "simulation": simulation,
        "inference": {"method": changes.pop("method")},
    }
    campaign = load(write(config=config, output__layout="packed", **changes))
    campaign.run()
    results = campaign.aggregate()
    assert isinstance(results, BiasResults)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("signal_to_noise", [10, 20, 100])
def test_m_is_right_or_the_campaign_is_invalid(write: Write, signal_to_noise: int) -> None:
    """Flux, size and centre free, pairs at ± .1 under a prior of .3: at S/N 10, m is 6 % too low."""
    results = _campaign(
        write,
        NOISE * 100 / signal_to_noise,
        method="auto",
        shear={"grid": [0.1], "g2": 0.0, "paired": True},
        realizations={"count": 400, "base_seed": 1},
        batch={"size": 800, "width": 16},
        acceptance={"max_abs_m": 0.02, "max_excluded_frac": 0.2},
    )
    m = known(known(results.g1).m)
    verdict = results.verdict.verdict
    print(signal_to_noise, verdict, m, known(results.g1).shrinkage, results.tally)
    if signal_to_noise == 100:
        assert verdict is not Verdict.INVALID
    assert verdict is Verdict.INVALID or abs(m.value) < 4 * known(m.error)
    assert verdict is not Verdict.FAIL


@pytest.mark.slow
def test_leakage_of_an_elliptical_psf_comes_back(write: Write, tmp_path: Path) -> None:
    """50 campaigns at g = ±(.05, .02), c = .04 e_PSF in both components: pulls of c, m and α are those of their errors.

    The sum of the squared pulls lies between its quantiles of 1e-4; errors are widened for few groups, so only above.
    """
    e_psf = 0.1
    of_psf = e_psf / (1 + np.sqrt(1 - 2 * e_psf**2))  # as a reduced shear
    planted = float(0.04 * of_psf)
    pulls: dict[str, list[float]] = {}
    values: dict[str, list[float]] = {}
    for at in range(N_CAMPAIGNS):
        results = _campaign(
            write,
            NOISE / 5,
            method="map",
            psf={"ellipticity": {"e1": e_psf, "e2": e_psf}},
            simulation={"bias": {"c": planted}},
            shear={"grid": [0.05], "g2": 0.02, "paired": True},
            realizations={"count": 20, "base_seed": 1 + 20 * at},
            batch={"size": 40, "width": 8},
            output__url=str(tmp_path / f"c{at}"),
        )
        expected: list[tuple[str, Measure, float]] = [("alpha", known(results.joint.leakage).alpha, 0.04)]
        for bias in results.components:
            expected += [("c", known(bias.c), planted), ("m", known(bias.m), 0.0)]
        for name, found, truth in expected:
            pulls.setdefault(name, []).append((found.value - truth) / known(found.error_realised))
            values.setdefault(name, []).append(found.value - truth)
    for name, pull in pulls.items():
        mean, n = float(np.mean(pull)), len(pull)
        print(name, f"mean pull {mean:.2f}, rms {np.std(pull):.2f}, mean offset {np.mean(values[name]):.2g}, n {n}")
        assert abs(mean) < 4 * np.std(pull) / np.sqrt(n)
        # Student's t with some 18 degrees of freedom: its variance is 18/16.
        assert np.sum(np.square(pull)) * 16 / 18 < stats.chi2.isf(1e-4, n)
        assert np.sum(np.square(pull)) * 16 / 18 > stats.chi2.ppf(1e-4, n)
    # The planted numbers are far larger than what is left over.
    assert abs(np.mean(values["c"])) < 0.1 * planted

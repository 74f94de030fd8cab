"""The status misfit: images that hold something that the model does not describe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import galsim
import numpy as np
import pytest

from conftest import Write, load
from lanewise.engine.engine import Engine
from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Result
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.outputs import OUTPUTS
from lanewise.manifest.plan import Realization, Single
from lanewise.manifest.problem import Observation

Change = Callable[[np.ndarray], np.ndarray]
# So narrow that it holds the fit where the image is brighter.
FLUX = {"type": "LogNormal", "mean": 1.0, "sigma": 0.002}


def _pixel(image: np.ndarray) -> np.ndarray:
    changed = image.copy()
    changed[3, 17] += 0.02
    return changed


def _neighbour(image: np.ndarray) -> np.ndarray:
    return image + 0.2 * np.roll(image, (-8, 7), axis=(0, 1))


def _results(write: Write, change: Change, **changes: object) -> list[Result]:
    campaign = load(write(config__gal__flux=FLUX, **changes))
    config = shear_config.of(campaign.manifest)

    def observe(realization: Realization) -> Observation:
        assert isinstance(realization.planned, Single)
        seen = simulate(config, realization.planned)
        return Observation.of({**seen.data, "image": change(seen.data["image"])}, seen.truth)

    return Engine(campaign.manifest, campaign.plan, observe=observe).run(campaign.plan.chunks[0])


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image, ""),
        (_pixel, "in the shape of a single pixel at x = 17.5, y = 3.5"),
        (_neighbour, "; mask it, or model it"),
        (lambda image: image + 1e-3, "χ² is"),
        (lambda image: 1.3 * image, "the priors hold the fit"),
    ],
    ids=["good", "cosmic ray", "neighbour", "pedestal", "prior"],
)
def test_what_the_model_does_not_describe_is_a_misfit_with_its_reason(write: Write, change: Change, words: str) -> None:
    for result in _results(write, change):
        assert result.status.word == ("misfit" if words else "ok"), result.reason
        assert words in result.reason


def test_a_limit_of_zero_reports_and_calls_nothing_a_misfit(write: Write) -> None:
    for result in _results(write, _neighbour, convergence={"misfit_p_min": 0}):
        assert result.status.word == "ok"
        assert result.diagnostics.goodness is not None
        assert result.diagnostics.goodness.p < 1e-6


def test_goodness_is_in_the_files_and_comes_back_from_the_packed_file(write: Write) -> None:
    result = _results(write, _neighbour)[0]
    (again,) = OUTPUTS.unpack(OUTPUTS.packed_nc([result]))
    assert again.diagnostics == result.diagnostics
    told = json.loads(LaneOutputs(("g1",)).files(result)["convergence.json"])
    # The galaxy is in the middle, at 12, 12.
    assert abs(told["goodness"]["peak_x"] - 19) <= 1
    assert abs(told["goodness"]["peak_y"] - 4) <= 1
    assert OUTPUTS.summary_row(result)["misfit_p"] == told["goodness"]["p"]


@pytest.mark.long
def test_a_simulated_model_bias_is_measured_and_not_a_misfit(write: Write, tmp_path: Path) -> None:
    other = {"gal": {"type": "DeVaucouleurs", "half_light_radius": 0.5}}
    campaign = load(write(config__gal__flux=FLUX, config__simulation=other, config__image__noise__sigma=1e-4))
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok"] * 4
    assert (campaign.summary["misfit_p"] < 1e-6).all()


@pytest.mark.slow
def test_good_images_are_kept_and_neighbours_of_s_n_10_are_found(write: Write) -> None:
    """At S/N 100: no good image of 300 is a misfit, and nine of ten neighbours whose own S/N is about 10 are found."""
    image = {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": 1.2e-3}}
    scene = {"config__image": image, "config__simulation": {"truths": "drawn"}, "shear": {"grid": [0.02]}}
    scene |= {"config__gal__half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}}
    good = _results(write, lambda seen: seen, **scene, realizations={"count": 300}, batch={"size": 300, "width": 16})
    p = [one.diagnostics.goodness.p for one in good if one.diagnostics.goodness]
    assert len(p) == 300
    assert "misfit" not in {one.status.word for one in good}
    # 3 are expected at most; more than 10 once in a thousand times.
    assert sum(one < 0.01 for one in p) <= 10

    psf = galsim.Gaussian(sigma=0.4)
    other = galsim.Convolve(galsim.Exponential(flux=0.1, half_light_radius=0.5), psf)
    light = other.drawImage(nx=48, ny=48, scale=0.263, offset=(8, -8), dtype=np.float64).array
    assert 9.5 < np.linalg.norm(light) / 1.2e-3 < 10.5
    blended = _results(write, lambda seen: seen + light, **scene, realizations={"count": 60}, batch={"size": 60})
    # With 95 % found, fewer than 52 of 60 are in four of a thousand such tests.
    assert sum(one.status.word == "misfit" for one in blended) >= 52

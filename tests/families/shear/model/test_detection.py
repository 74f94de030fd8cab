"""Where the search for the mode begins: seen in the image, whatever is masked, noisy or no number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conftest import SCENE
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.detection import Finder
from lanewise.manifest.plan import Single

# From the middle of a stamp of 32 × 30 pixels, .3–.7 of it: x within ±6.4, y within ±6.
PLACES = [(0.0, 0.0), (6.3, 5.9), (-6.3, 5.2), (0.4, -5.8), (-3.5, 2.5)]


def _scene(noise_sigma: float, noise: str = "Gaussian", **position: Any) -> ShearConfig:
    stamp = {"pixel_scale": 0.263, "size_x": 32, "size_y": 30, "noise": {"type": noise, "sigma": noise_sigma}}
    return shear_config.parse({**SCENE, "image": stamp, "gal": {**SCENE["gal"], "position": position}})


def _image(config: ShearConfig, x: float, y: float, seed: int = 1) -> dict[str, Any]:
    return dict(simulate(config, Single("r", seed, {"g1": 0.1, "g2": -0.1, "x": 16 + x, "y": 15 + y})).data)


# S/N of the flux about 1000, 20 and 5.
@pytest.mark.parametrize(("sigma", "within"), [(1e-4, 0.75), (6e-3, 1.0), (2.4e-2, 3.0)])
@pytest.mark.parametrize("place", PLACES)
def test_a_galaxy_is_seen_to_the_pixel(sigma: float, within: float, place: tuple[float, float]) -> None:
    config = _scene(sigma)
    assert Finder(config)(_image(config, *place)["image"]) == pytest.approx(place, abs=within)


@pytest.mark.parametrize("place", PLACES)
def test_what_is_masked_is_not_looked_at(place: tuple[float, float]) -> None:
    config = _scene(1e-4, "PerPixel")
    data = _image(config, *place)
    # A star brighter than the galaxy, columns that were never read, a galaxy half behind the mask.
    data["image"][12:16, 4:8], data["weight"][12:16, 4:8] = 10.0, 0.0
    data["image"][:, -3:], data["weight"][:, -3:] = np.nan, 0.0
    data["weight"][15 + round(place[1]) :] = 0.0
    assert Finder(config)(data["image"], data["weight"]) == pytest.approx(place, abs=1.5)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_where_nothing_is_bright_it_is_the_middle_of_the_prior(value: float) -> None:
    config = _scene(1e-4, x_min=0.5, x_max=0.8)
    image = np.full((30, 32), value)
    for weight in (None, np.zeros((30, 32)), np.full((30, 32), np.nan)):
        assert Finder(config)(image, weight) == pytest.approx([(0.0 + 9.6) / 2, 0.0], abs=1e-9)


def test_a_prior_without_a_whole_pixel_is_stood_in_and_no_bound_is_touched() -> None:
    config = _scene(1e-4, x_min=17.2, x_max=17.6, y_min=15.0, y_max=18.0)
    x, y = Finder(config)(_image(config, 1.4, 3.0)["image"])
    assert 1.2 < x < 1.6
    assert 2.9 < y < 3.0


@pytest.mark.parametrize("place", [(0.0, 0.0), (4.4, -3.6), (-4.4, 4.4)])
def test_a_normal_position_is_searched_within_five_sigma(place: tuple[float, float]) -> None:
    config = _scene(1e-4, type="Normal", sigma=1.0, x_mean=15.0)
    data = _image(config, place[0] - 1, place[1])
    # A star beyond: whatever is not likely is not looked at.
    data["image"][2:6, 26:30] = 10.0
    assert Finder(config)(data["image"]) == pytest.approx((place[0] - 1, place[1]), abs=0.75)


def test_the_search_for_a_wide_normal_position_ends_at_the_stamp() -> None:
    config = _scene(1e-4, type="Normal", sigma=40.0)
    for place in ((12.0, -11.0), (-13.0, 9.0)):
        assert Finder(config)(_image(config, *place)["image"]) == pytest.approx(place, abs=0.75)

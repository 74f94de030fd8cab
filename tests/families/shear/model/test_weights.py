"""Noise with a variance of its own in every pixel."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from conftest import SCENE, Write, load
from lanewise.errors import ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.manifest.plan import Single


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def scene(**noise: Any) -> dict[str, Any]:
    return {**SCENE, "image": {**SCENE["image"], "noise": {"type": "PerPixel", **noise}}}


def test_weights_masks_and_what_stands_under_them() -> None:
    config = scene()
    problem = ShearProblem(shear_config.parse(config))
    generator = np.random.default_rng(3)
    weight = generator.uniform(0.5, 2.0, (24, 24)) * 1e6
    weight[3:5, 7:20] = 0.0
    image = np.asarray(draw(config, g1=0.03)) + generator.normal(size=(24, 24)) / 1e3
    hidden = np.where(weight == 0, np.nan, image)
    data = problem.prepare({"image": hidden, "weight": weight})
    density, slope = jax.jit(problem.log_density), jax.jit(jax.grad(problem.log_density))
    densities, formulas = [], []
    for shift in (0.0, 0.05):
        position = problem.start(data) + shift
        values = dict(zip(problem.names, map(float, problem.constrain(position)), strict=True))
        residual = np.where(weight == 0, 0.0, image - np.asarray(draw(config, **values)))
        log_prior = -0.5 * ((values["g1"] / 0.2) ** 2 + (values["g2"] / 0.2) ** 2)
        # x and y are uniform over .3–.7 of the image, and their own position near its centre.
        formulas.append(-0.5 * np.sum(residual**2 * weight) + log_prior)
        densities.append(float(density(position, data)))
    assert abs(formulas[1] - formulas[0]) > 10
    assert densities[1] - densities[0] == pytest.approx(formulas[1] - formulas[0], rel=1e-5)
    assert np.isfinite(slope(problem.start(data), data)).all()


def test_a_weight_that_is_none_and_a_nan_that_is_not_masked_poison_the_lane() -> None:
    problem = ShearProblem(shear_config.parse(scene()))
    density = jax.jit(problem.log_density)
    image, weight = np.zeros((24, 24)), np.ones((24, 24))
    for poisoned in ({"image": np.full((24, 24), np.nan), "weight": weight}, {"image": image, "weight": -weight}):
        data = problem.prepare(poisoned)
        assert np.isnan(density(problem.start(data), data))


def test_one_weight_for_all_pixels_is_the_posterior_of_one_sigma() -> None:
    weighted, plain = (shear_config.parse(one) for one in (scene(sigma=1e-3), SCENE))
    position, curvatures = None, []
    for config in (weighted, plain):
        problem = ShearProblem(config)
        data = problem.prepare(simulate(config, Single("r", 5, {"g1": 0.02, "g2": 0.0})).data)
        position = problem.start(data) + 0.01
        slope, curvature_of = jax.jit(jax.grad(problem.log_density)), jax.jit(problem.curvature)
        curvatures.append((np.asarray(slope(position, data)), curvature_of(position, data)))
    (gradient, curvature), (expected, bend) = curvatures
    # The stamp's grid is right to 1e-6 of the peak, S/N 500.
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(curvature, bend, atol=1e-5 * np.abs(bend).max())


def test_simulated_images_need_a_sigma(write: Write) -> None:
    with pytest.raises(ManifestError, match=r"PerPixel without sigma.*add image\.noise\.sigma"):
        load(write(config=scene()))
    load(write(config=scene(sigma=1e-3)))
    with pytest.raises(ManifestError, match=r"image\.noise: expected the key 'sigma'"):
        load(write(config={**SCENE, "image": {**SCENE["image"], "noise": {}}}))

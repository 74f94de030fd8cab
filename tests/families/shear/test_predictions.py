"""What is foreseen of a scene, against GalSim and against what the likelihood itself says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import galsim
import jax
import numpy as np
import pytest
from scipy import stats

from lanewise.families.shear import predictions
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.manifest.loading import load

SNR_100 = "manifests/snr100-nuts.yaml"


def config(*overrides: str) -> Any:
    """The S/N 100 scene with some keys replaced."""
    return load(SNR_100, [f"config.{pair}" for pair in overrides]).config


@pytest.mark.long
@pytest.mark.parametrize("sigma", ["1.2e-3", "3e-4"])
@pytest.mark.parametrize("radius", ["0.3", "0.5", "1.0"])
def test_the_width_of_g_is_that_of_the_likelihood(sigma: str, radius: str) -> None:
    scene = config(f"image.noise.sigma={sigma}", f"gal.half_light_radius={radius}", "gal.flux=1.0")
    with jax.enable_x64(True):
        problem = ShearProblem(scene)
        nothing = problem.prepare({"image": np.zeros((scene.image.size_y, scene.image.size_x))})
        curvature = jax.jit(problem.curvature)(problem.start(nothing), nothing)
        covariance = np.linalg.inv(curvature - np.eye(len(curvature)) * 1e-12)
    at = problem.names.index("g1")
    # The curvature holds the prior on g, which the width of one image does not.
    likelihood = 1 / np.sqrt(1 / covariance[at, at] - 1 / scene.latents["g1"].fields["sigma"] ** 2)
    assert predictions.shear_width(scene) == pytest.approx(likelihood, rel=0.35)


PROFILES: dict[str, tuple[str, Callable[[], Any]]] = {
    "Exponential": ("", lambda: galsim.Exponential(half_light_radius=1.5)),
    "Gaussian": ("", lambda: galsim.Gaussian(half_light_radius=1.5)),
    "DeVaucouleurs": ("", lambda: galsim.DeVaucouleurs(half_light_radius=1.5)),
    "Sersic": ("n: 2.5, ", lambda: galsim.Sersic(n=2.5, half_light_radius=1.5)),
    "Moffat": ("beta: 3.0, ", lambda: galsim.Moffat(beta=3.0, half_light_radius=1.5)),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_light_outside_is_galsims(kind: str) -> None:
    shape, draw = PROFILES[kind]
    shear = "{g1: {type: Normal, mean: 0, sigma: 1}, g2: 0}"
    scene = config(f"gal={{type: {kind}, {shape}flux: 1.0, half_light_radius: 1.5, shear: {shear}}}")
    image = draw().drawImage(nx=512, ny=512, scale=0.1, method="no_pixel").array
    y, x = np.indices(image.shape) - 255.5
    # The stamp's edge, brought nearer by as much as the point-spread function spreads the galaxy.
    edge = 24 * 0.263 / np.hypot(1.0, 0.382 * np.sqrt(2 * np.log(2)) / 1.5)
    expected = 1 - image[np.hypot(x, y) * 0.1 < edge].sum()
    assert predictions.light_outside(scene) == pytest.approx(expected, abs=0.01)


def remarks(*overrides: str) -> str:
    return "\n".join(predictions.remarks(config(*overrides)))


def test_a_prior_that_speaks_and_a_stamp_that_cuts_are_told() -> None:
    assert remarks() == ""
    assert "gal.shear.g1: the prior's sigma is 0.02, and one image measures g1 to about ±0.02" in remarks(
        "gal.shear.g1={type: Normal, mean: 0, sigma: 0.02}"
    )
    assert "gal.shear.g1: the prior ends at -0.03 and 0.03, and one image measures g1 to about ±0.02" in remarks(
        "gal.shear.g1={type: Uniform, min: -0.03, max: 0.03}"
    )
    assert remarks("gal.shear.g1={type: Uniform, min: -0.1, max: 0.1}") == ""
    assert "of the galaxy's light falls outside the stamp" in remarks("gal.half_light_radius=3.0")


def test_a_prior_with_ends_keeps_the_variance_of_a_truncated_gaussian() -> None:
    for half in (0.5, 2.0, 4.0):
        assert predictions._kept_between(half) == pytest.approx(stats.truncnorm(-half, half).var(), rel=1e-9)

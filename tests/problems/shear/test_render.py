"""The renderer against GalSim, and the posterior built on it."""

from __future__ import annotations

from typing import Any

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lanewise import device
from lanewise.problems.base import Member
from lanewise.problems.shear import config as shear_config
from lanewise.problems.shear import draw
from lanewise.problems.shear.model import ShearProblem
from lanewise.problems.shear.simulate import simulate

TIGHT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9, maximum_fft_size=16384)
NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.1}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def scene(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "image": {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": 1e-3}},
        "psf": {"type": "Gaussian", "sigma": 0.382},
        "gal": {"type": "Exponential", "flux": 1.0, "half_light_radius": 0.5, "shear": {"g1": NORMAL, "g2": NORMAL}},
    }
    return {key: {**base[key], **changes.get(key, {})} for key in base}


@pytest.mark.parametrize("galaxy", ["Exponential", "Gaussian"])
@pytest.mark.parametrize("psf", [{"type": "Gaussian", "sigma": 0.382}, {"type": "Moffat", "sigma": 0.9, "beta": 2.5}])
@pytest.mark.parametrize(
    ("g1", "g2", "e1", "e2", "x", "y"),
    [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.05, -0.02, 0.0, 0.0, 0.3, -0.4), (0.02, 0.0, 0.3, -0.2, 0.0, 0.5)],
)
def test_drawn_galaxies_equal_galsim_with_tight_settings(
    galaxy: str, psf: dict[str, Any], g1: float, g2: float, e1: float, e2: float, x: float, y: float
) -> None:
    profile = {"Exponential": galsim.Exponential, "Gaussian": galsim.Gaussian}[galaxy]
    point = (
        galsim.Moffat(beta=psf["beta"], fwhm=psf["sigma"], gsparams=TIGHT)
        if psf["type"] == "Moffat"
        else galsim.Gaussian(sigma=psf["sigma"], gsparams=TIGHT)
    )
    sheared = profile(flux=2.0, half_light_radius=0.5, gsparams=TIGHT).shear(e1=e1, e2=e2).shear(g1=g1, g2=g2)
    expected = galsim.Convolve([sheared, point], gsparams=TIGHT).drawImage(
        nx=48, ny=48, scale=0.263, offset=(x, y), dtype=np.float64
    )
    values = {"g1": g1, "g2": g2, "e1": e1, "e2": e2, "flux": 2.0, "x": x, "y": y}
    found = draw(scene(psf=psf, gal={"type": galaxy}), **values)
    # JAX-GalSim has GalSim's default accuracy: 1e-7 of the peak for a Gaussian PSF, 2e-5 in the wings of a Moffat.
    peak = expected.array.max()
    np.testing.assert_allclose(found, expected.array, rtol=0, atol=(3e-5 if psf["type"] == "Moffat" else 3e-7) * peak)


def test_draw_fills_in_fixed_values_and_prior_centres() -> None:
    config = scene()
    np.testing.assert_array_equal(draw(config), draw(config, flux=1.0, g1=0.0, x=0.0))
    with pytest.raises(ValueError, match="unknown parameter 'fluxx'; did you mean 'flux'"):
        draw(config, fluxx=0.1)


def test_draw_is_differentiable() -> None:
    config = scene()
    slope = jax.grad(lambda g: jnp.sum(draw(config, g1=g) ** 2 * jnp.arange(48)))(0.03)
    h = 1e-5
    up, down = (float(jnp.sum(draw(config, g1=0.03 + s) ** 2 * jnp.arange(48))) for s in (h, -h))
    assert abs(slope - (up - down) / (2 * h)) < 1e-6 * abs(slope)


def test_simulated_image_has_the_truth_at_the_centre_and_its_seeds_noise() -> None:
    clean = shear_config.parse(scene(image={"noise": {"sigma": 1e-3, "simulated": False}}))
    noisy = shear_config.parse(scene())
    member = Member("r", 7, {"g1": 0.02, "g2": 0.0})
    image, truth = simulate(clean, member).data["image"], simulate(clean, member).truth
    assert (truth["g1"], truth["x"], truth["y"], truth["half_light_radius"]) == (0.02, 0.0, 0.0, 0.5)
    np.testing.assert_allclose(image, image[::-1, ::-1], atol=1e-12)  # centred between the four middle pixels
    noise = simulate(noisy, member).data["image"] - image
    expected = galsim.ImageD(48, 48)
    expected.addNoise(galsim.GaussianNoise(galsim.BaseDeviate(7), sigma=1e-3))
    np.testing.assert_allclose(noise, expected.array, atol=1e-15)


def test_log_density_is_that_of_the_formula() -> None:
    config = shear_config.parse(scene(gal={"flux": {"type": "LogNormal", "mean": 2.0, "sigma": 0.3}}))
    problem = ShearProblem(config)
    member = Member("r", 7, {"g1": 0.02, "g2": 0.0})
    image = simulate(config, member).data["image"]
    position = problem.start({"image": image}) + 0.1
    values = dict(zip(problem.names, map(float, problem.constrain(position)), strict=True))
    assert problem.names == ("g1", "g2", "flux", "x", "y")

    residual = (image - np.asarray(draw(scene(), **values))) / 1e-3
    log_prior = sum(-0.5 * (values[g] / 0.1) ** 2 - np.log(0.1) for g in ("g1", "g2"))
    z = np.log(values["flux"] / 2.0) / 0.3
    log_prior += -0.5 * z**2 - np.log(0.3 * values["flux"]) - 1.5 * np.log(2 * np.pi)
    log_prior += -2 * np.log(0.4 * 48)  # x and y: uniform over .3–.7 of the image
    # x = lo + width · s(u): dx/du = width · s (1 − s); flux = exp(u)
    s = np.array([(values[a] / 48 + 0.2) / 0.4 for a in "xy"])
    jacobian = np.log(values["flux"]) + np.sum(np.log(0.4 * 48 * s * (1 - s)))
    expected = -0.5 * np.sum(residual**2) + log_prior + jacobian
    assert abs(float(problem.log_density(position, {"image": image})) - expected) < 1e-7 * abs(expected)


@pytest.mark.parametrize("ellipticity", [{"e1": NORMAL, "e2": NORMAL}, {"e1": 0.0, "e2": 0.0}])
@pytest.mark.parametrize("g1", [0.0, 0.8, 1.5])
def test_gradients_are_finite_at_zero_and_where_no_galaxy_exists(g1: float, ellipticity: dict[str, Any]) -> None:
    problem = ShearProblem(shear_config.parse(scene(gal={"ellipticity": ellipticity})))
    data = {"image": np.zeros((48, 48))}
    position = problem.start(data).at[0].set(g1)
    value, gradient = jax.value_and_grad(problem.log_density)(position, data)
    assert np.isfinite(gradient).all()
    assert np.isfinite(value) == (g1 < 1)

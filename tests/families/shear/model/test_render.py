"""The renderer against GalSim, and the posterior built on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_galsim_renderer import jax_galsim
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model import render
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.model.fourier import ModeLikelihood
from lanewise.families.shear.model.grid import Grid, GridRenderer, modes_of
from lanewise.families.shear.model.likelihood import PixelLikelihood, choose
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.families.shear.model.render import CAREFUL, STAMP, choose_grid, in_precision
from lanewise.families.shear.scene import Noise
from lanewise.machine import device
from lanewise.manifest.plan import Single

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
        "inference": {"precision": "float64"},
    }
    return {key: {**base[key], **changes.get(key, {})} for key in base}


@pytest.mark.long
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
    values = {"g1": g1, "g2": g2, "e1": e1, "e2": e2, "flux": 2.0}
    peak = expected.array.max()
    ours = draw(scene(psf=psf, gal={"type": galaxy}), **values, x=24 + x, y=24 + y)
    np.testing.assert_allclose(ours, expected.array, rtol=0, atol=1e-7 * peak)
    # JAX-GalSim has GalSim's default accuracy: 1e-7 of the peak for a Gaussian PSF, 2e-5 in the wings of a Moffat.
    config = shear_config.parse(scene(psf=psf, gal={"type": galaxy}))
    reference = jax_galsim(config)({**config.galaxy.centres, **values, "x": x, "y": y})
    np.testing.assert_allclose(
        reference, expected.array, rtol=0, atol=(3e-5 if psf["type"] == "Moffat" else 3e-7) * peak
    )


@pytest.mark.parametrize(("ny", "nx"), [(12, 15), (15, 12)])
def test_the_form_of_gpus_gives_the_image_of_the_form_of_cpus(ny: int, nx: int) -> None:
    config = shear_config.parse(scene(image={"size_x": nx, "size_y": ny}))
    (modes,) = modes_of(config, Grid(1.5, 1.25))
    re, im = np.random.default_rng(4).normal(size=(2, *modes.weight.shape))
    found = modes.by_two_products(re, im, (ny, nx))
    assert found.shape == (ny, nx)
    np.testing.assert_allclose(found, modes.by_halves(re, im, (ny, nx)), rtol=0, atol=1e-11)


def test_draw_fills_in_fixed_values_and_prior_centres() -> None:
    config = scene()
    np.testing.assert_array_equal(draw(config), draw(config, flux=1.0, g1=0.0, x=24.0))
    with pytest.raises(ValueError, match="unknown parameter 'fluxx'; did you mean 'flux'"):
        draw(config, fluxx=0.1)


def test_draw_is_differentiable() -> None:
    config = scene()
    moment = jax.jit(jax.value_and_grad(lambda g: jnp.sum(draw(config, g1=g) ** 2 * jnp.arange(48))))
    slope = moment(0.03)[1]
    h = 1e-5
    up, down = (float(moment(0.03 + s)[0]) for s in (h, -h))
    assert abs(slope - (up - down) / (2 * h)) < 1e-6 * abs(slope)


def test_simulated_image_has_the_truth_at_the_centre_and_its_seeds_noise() -> None:
    clean = shear_config.parse(scene(image={"noise": {"sigma": 1e-3, "simulated": False}}))
    noisy = shear_config.parse(scene())
    member = Single("r", 7, {"g1": 0.02, "g2": 0.0})
    image, truth = simulate(clean, member).data["image"], simulate(clean, member).truth
    assert (truth["g1"], truth["x"], truth["y"], truth["half_light_radius"]) == (0.02, 24.0, 24.0, 0.5)
    np.testing.assert_allclose(image, image[::-1, ::-1], atol=1e-12)  # centred between the four middle pixels
    noise = simulate(noisy, member).data["image"] - image
    expected = galsim.ImageD(48, 48)
    expected.addNoise(galsim.GaussianNoise(galsim.BaseDeviate(7), sigma=1e-3))
    np.testing.assert_allclose(noise, expected.array, atol=1e-15)


FORMS = {"modes": {"padding": 1}, "padded grid": {"padding": 2}}


def _formula(values: dict[str, float], image: np.ndarray) -> float:
    """Log density of the unconstrained position, term by term, with the careful image."""
    residual = (image - np.asarray(draw(scene(), **values))) / 1e-3
    log_prior = sum(-0.5 * (values[g] / 0.1) ** 2 for g in ("g1", "g2"))
    log_prior += -0.5 * (np.log(values["flux"] / 2.0) / 0.3) ** 2 - np.log(values["flux"])
    # x and y, uniform over .3–.7 of the image, are their own positions near its middle; flux = exp(u).
    return float(-0.5 * np.sum(residual**2) + log_prior + np.log(values["flux"]))


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_log_density_is_that_of_the_formula(form: str) -> None:
    flux = {"type": "LogNormal", "mean": 2.0, "sigma": 0.3}
    config = shear_config.parse(scene(gal={"flux": flux}, image=FORMS[form]))
    problem = ShearProblem(config)
    image = simulate(config, Single("r", 7, {"g1": 0.02, "g2": 0.0})).data["image"]
    data = problem.prepare({"image": image})
    assert problem.names == ("g1", "g2", "flux", "x", "y")
    densities, formulas = [], []
    for shift in (0.0, 0.05):
        position = problem.start(data) + shift
        values = dict(zip(problem.names, map(float, problem.constrain(position)), strict=True))
        densities.append(float(problem.log_density(position, data)))
        formulas.append(_formula(values, image))
    # Constants drop out of a difference; the forms agree with the careful image to 1e-6 of the peak.
    assert abs(formulas[1] - formulas[0]) > 100
    assert densities[1] - densities[0] == pytest.approx(formulas[1] - formulas[0], rel=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("form", ["modes", "padded grid"])
def test_gradient_hessian_and_curvature_agree_with_finite_differences(form: str) -> None:
    normal = {"type": "LogNormal", "mean": 1.0, "sigma": 0.3}
    gal = {"flux": normal, "half_light_radius": {**normal, "mean": 0.5}, "ellipticity": {"e1": NORMAL, "e2": 0.1}}
    config = shear_config.parse(scene(gal=gal, image=FORMS[form]))
    problem = ShearProblem(config)
    clean = dataclasses.replace(config, image=dataclasses.replace(config.image, noise=Noise(1e-3, simulated=False)))
    image = simulate(clean, Single("r", 7, {"g1": 0.02, "g2": 0.0})).data["image"]
    data = problem.prepare({"image": image})
    position = problem.start(data) + jnp.linspace(0.01, 0.03, len(problem.names))
    # Few programs: compiling is what takes the time.
    density = jax.jit(lambda u: problem.log_density(u, data))
    slope = jax.jit(jax.grad(lambda u: problem.log_density(u, data)))
    bends = jax.jit(lambda u: (jax.hessian(problem.log_density)(u, data), jax.hessian(problem.log_jacobian)(u)))
    h = 1e-5
    steps = h * np.eye(position.size)
    np.testing.assert_allclose(
        slope(position), [(density(position + d) - density(position - d)) / (2 * h) for d in steps], rtol=1e-5
    )
    hessian = np.asarray(bends(position)[0])
    numeric = np.stack([(slope(position + d) - slope(position - d)) / (2 * h) for d in steps])
    np.testing.assert_allclose(hessian, numeric, atol=1e-4 * np.abs(hessian).max())
    # At the truth of a noise-free image the residual vanishes, and Gauss–Newton is the Hessian.
    truth = problem.start(data).at[0].set(0.02)
    whole, bend = bends(truth)
    exact = -np.asarray(whole - bend)
    curvature = jax.jit(problem.curvature)(truth, data)
    np.testing.assert_allclose(curvature, exact, atol=1e-5 * np.abs(exact).max())


SIZE = {"type": "LogNormal", "mean": 0.5, "sigma": 0.3}
TWO_SIZES = {
    "type": "Sum",
    "components": {
        "a": {
            "type": "Sersic",
            "n": {"type": "Uniform", "min": 1, "max": 4},
            "half_light_radius": SIZE,
            "fraction": {"type": "Uniform", "min": 0, "max": 1},
        },
        "b": {"type": "Moffat", "beta": {"type": "Uniform", "min": 2, "max": 5}, "half_light_radius": SIZE},
    },
}


@pytest.mark.parametrize("form", ["modes", pytest.param("padded grid", marks=pytest.mark.slow)])
def test_gradient_by_every_parameter_of_a_sum_agrees_with_finite_differences(form: str) -> None:
    value = scene(gal=TWO_SIZES, image=FORMS[form])
    del value["gal"]["half_light_radius"]
    problem = ShearProblem(shear_config.parse(value))
    assert set(problem.names) >= {"a_n", "a_fraction", "a_half_light_radius", "b_beta", "b_half_light_radius"}
    image = np.random.default_rng(1).normal(size=(48, 48)) * 1e-3
    data = problem.prepare({"image": image})
    position = problem.start(data) + jnp.linspace(0.1, 0.3, len(problem.names))
    both = jax.jit(jax.value_and_grad(lambda u: problem.log_density(u, data)))
    h = 1e-5
    steps = h * np.eye(position.size)
    numeric = [(both(position + d)[0] - both(position - d)[0]) / (2 * h) for d in steps]
    np.testing.assert_allclose(both(position)[1], numeric, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Grid(1, 1)),
        ({"gal": {"half_light_radius": 1.5}}, Grid(1.75, 1)),  # the light leaves the stamp
        ({"psf": {"sigma": 0.2}}, Grid(1, 1.75)),  # the PSF passes modes beyond the Nyquist frequency
        ({"psf": {"type": "Moffat", "sigma": 0.9, "beta": 2.5}}, Grid(2, 1.5)),  # both
        ({"gal": {"type": "DeVaucouleurs"}}, Grid(1.5, 1.25, 2)),  # wings beyond every grid
        ({"image": {"padding": 2}}, Grid(2, 1)),
    ],
)
def test_a_strict_grid_is_the_cheapest_with_accurate_images(changes: dict[str, Any], expected: Grid) -> None:
    strict = {**changes, "image": {**changes.get("image", {}), "accuracy": "strict"}}
    assert choose_grid(shear_config.parse(scene(**strict))) == expected


MOFFAT = {"type": "Moffat", "sigma": 0.9, "beta": 2.5}
FREE = {
    "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
    "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"psf": MOFFAT}, Grid(1, 1)),
        ({"psf": MOFFAT, "gal": FREE}, Grid(1, 1)),
        ({"psf": MOFFAT, "gal": FREE, "image": {"noise": {"sigma": 1e-4}}}, Grid(1.5, 1)),  # ten times the S/N
        ({"psf": MOFFAT, "gal": FREE, "image": {"noise": {"sigma": 1e-5}}}, Grid(1.75, 1, 2)),
        ({"gal": {"half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3}}}, Grid(1, 1)),
        ({"gal": {"half_light_radius": 1.5}}, Grid(1.5, 1)),
        # Nobody knows what the error does to an estimate, or every error is seen.
        ({"psf": MOFFAT, "image": {"noise": {"type": "PerPixel"}}}, Grid(2, 1.5)),
        ({"psf": MOFFAT, "image": {"noise": {"sigma": 1e-3, "simulated": False}}}, Grid(2, 1.5)),
    ],
)
def test_a_grid_is_the_cheapest_that_gives_the_right_answer(changes: dict[str, Any], expected: Grid) -> None:
    assert choose_grid(shear_config.parse(scene(**changes))) == expected


@pytest.mark.long
@pytest.mark.parametrize(("sigma", "size"), [(1e-3, 0.5), (1e-4, 0.5), (1e-3, 0.8)])
def test_the_predicted_shift_is_that_of_the_mode(sigma: float, size: float) -> None:
    # An image of the careful grid, fitted on the other: the mode moves as the error of the image predicts.
    config = shear_config.parse(scene(psf=MOFFAT, image={"noise": {"sigma": sigma}}, gal={"half_light_radius": size}))
    at = {**config.galaxy.centres, "g1": 0.1, "g2": 0.05, "x": 2.0, "y": -2.0}
    careful, stamp = (jax.jit(GridRenderer(config, grid)) for grid in (CAREFUL, STAMP))
    image = careful(at)
    predicted = render._shifts(config, careful, at)(np.asarray(stamp(at) - image))

    names = list(config.latents)
    start = jnp.array([at[name] for name in names])
    width = jnp.array([prior.high - prior.centre for prior in config.latents.values()])

    def whitened(u: jax.Array) -> jax.Array:
        model = stamp({**at, **dict(zip(names, u, strict=True))})
        return jnp.concatenate([((image - model) / sigma).ravel(), (start - u) / width])

    jacobian = jax.jacfwd(whitened)
    u = start
    for _ in range(5):
        j = jacobian(u)
        u -= jnp.linalg.solve(j.T @ j, j.T @ whitened(u))
    covariance = jnp.linalg.inv(jacobian(u).T @ jacobian(u))
    shift = np.abs(u - start)
    limit = np.array(0.01 * np.sqrt(np.diag(covariance)))
    for shear in ("g1", "g2"):
        place = names.index(shear)
        limit[place] = min(limit[place], 1e-4 * np.hypot(0.1, 0.05))
    # The prediction leaves out that the error itself changes with the position: 12 % at the largest size.
    assert predicted == pytest.approx(float((shift / limit).max()), rel=0.15)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_modes_are_compared_up_to_a_wrap_around_of_a_millionth_in_either_precision(precision: str) -> None:
    device.prepare("cpu", precision)
    seen = {}
    for size in (0.52, 0.62):
        value = {
            **scene(gal={"half_light_radius": size}, image={"accuracy": "strict"}),
            "inference": {"precision": precision},
        }
        config = shear_config.parse(value)
        device.prepare("cpu", "float64")
        p = {**config.fixed, "g1": 0.1, "g2": 0.05, "x": 2.0, "y": -2.0, "flux": 1.0}
        careful, stamp = (
            np.asarray(jax.jit(GridRenderer(in_precision(config, "float64"), grid))(p)) for grid in (CAREFUL, STAMP)
        )
        device.prepare("cpu", precision)
        seen[float(np.abs(stamp - careful).max() / careful.max())] = choose(config, choose_grid(config))
    below, above = sorted(seen)
    assert below < 1e-6 < above < 1e-5
    assert isinstance(seen[below], ModeLikelihood)
    assert isinstance(seen[above], PixelLikelihood)


LATENT = {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}
PROFILES: list[dict[str, Any]] = [
    {"type": "Exponential"},
    {"type": "Gaussian"},
    {"type": "Sersic", "n": {"type": "Uniform", "min": 1, "max": 4}},
    {"type": "DeVaucouleurs"},
    {"type": "Moffat", "beta": {"type": "Uniform", "min": 2, "max": 5}},
]
# A series takes seconds to compile: one of them is enough for every day.
_SLOW = ("DeVaucouleurs", "Moffat")


@pytest.mark.parametrize(
    "gal",
    [pytest.param(g, id=g["type"], marks=[pytest.mark.slow] if g["type"] in _SLOW else []) for g in PROFILES],
)
def test_at_zero_shear_and_ellipticity_the_gradient_is_finite_and_that_of_finite_differences(
    gal: dict[str, Any],
) -> None:
    gal = {**gal, "half_light_radius": LATENT, "ellipticity": {"e1": NORMAL, "e2": NORMAL}}
    problem = ShearProblem(shear_config.parse(scene(gal=gal, image=FORMS["modes"])))
    data = problem.prepare({"image": np.random.default_rng(2).normal(size=(48, 48)) * 1e-3})
    position = problem.start(data)
    at = dict(zip(problem.names, map(float, problem.constrain(position)), strict=True))
    assert all(at[name] == 0 for name in ("g1", "g2", "e1", "e2"))
    both = jax.jit(jax.value_and_grad(lambda u: problem.log_density(u, data)))
    h = 1e-5
    steps = h * np.eye(position.size)
    numeric = np.array([(both(position + d)[0] - both(position - d)[0]) / (2 * h) for d in steps])
    # Sums of 1e5 rounded to 1e-16, over 2h: 1e-6 of noise; and the third derivative times h².
    np.testing.assert_allclose(both(position)[1], numeric, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("gal", "name", "far"),
    [
        ({"position": {"x_min": 0.1, "x_max": 0.9}}, "x", 15.0),  # pixels off the centre
        ({"half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}}, "half_light_radius", 0.2),  # 1.2"
        pytest.param(
            {"type": "Sersic", "n": 0.6, "half_light_radius": {"type": "LogNormal", "mean": 0.4, "sigma": 0.1}},
            "g1",
            0.9,
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("accuracy", ["strict", "answer"])
def test_a_fit_far_from_where_the_grid_was_predicted_is_seen(
    gal: dict[str, Any], name: str, far: float, accuracy: str
) -> None:
    # A thousand times the S/N, so that the error of every case matters to the answer.
    sigma = 1e-3 if accuracy == "strict" else 1e-6
    problem = ShearProblem(shear_config.parse(scene(gal=gal, image={"noise": {"sigma": sigma}, "accuracy": accuracy})))
    data = problem.prepare({"image": np.zeros((48, 48))})
    start = problem.start(data)
    flaw = jax.jit(lambda position: problem.flaw(position, data))
    assert float(flaw(start)) < 1
    moved = start.at[problem.names.index(name)].set(far)
    # The check is cheaper than a careful drawing, and says what that one would.
    p = dict(zip(problem.names, map(float, problem.constrain(moved)), strict=True))
    careful, chosen = (
        jax.jit(GridRenderer(shear_config.parse(scene(gal=gal)), grid)) for grid in (CAREFUL, problem.grid)
    )
    values = {**shear_config.parse(scene(gal=gal)).fixed, **p, "x": p["x"] - 24, "y": p["y"] - 24}
    difference = np.asarray(careful(values) - chosen(values))
    error = float(np.abs(difference).max() / careful(values).max()) / 1e-5
    assert error > 2
    if accuracy == "answer":
        # The shift of the estimates by the error of the image, from numerical slopes.
        def drawn(u: np.ndarray) -> np.ndarray:
            latents = dict(zip(problem.names, map(float, problem.constrain(jnp.asarray(u))), strict=True))
            return np.asarray(chosen({**values, **latents, "x": latents["x"] - 24, "y": latents["y"] - 24})).ravel()

        at, step = np.asarray(moved), 1e-5
        turns = step * np.eye(at.size)
        slopes = np.stack([(drawn(at + d) - drawn(at - d)) / (2 * step) for d in turns], axis=1) / sigma
        covariance = np.linalg.inv(slopes.T @ slopes)
        shift = covariance @ slopes.T @ difference.ravel() / sigma / np.sqrt(np.diag(covariance))
        error = min(error, float(np.abs(shift).max()) / 0.02)
    assert float(flaw(moved)) == pytest.approx(error, rel=0.3)
    # The engine fits such a lane again with a finer grid, which is accurate there.
    assert problem.finer is not None
    assert float(jax.jit(problem.finer.flaw)(moved, problem.finer.prepare({"image": np.zeros((48, 48))}))) < 1


@pytest.mark.long
@pytest.mark.parametrize("ellipticity", [{"e1": NORMAL, "e2": NORMAL}, {"e1": 0.0, "e2": 0.0}])
@pytest.mark.parametrize("g1", [0.0, 0.8, 1.5])
def test_gradients_are_finite_at_zero_and_where_no_galaxy_exists(g1: float, ellipticity: dict[str, Any]) -> None:
    problem = ShearProblem(shear_config.parse(scene(gal={"ellipticity": ellipticity})))
    data = problem.prepare({"image": np.zeros((48, 48))})
    position = problem.start(data).at[0].set(g1)
    value, gradient = jax.jit(jax.value_and_grad(problem.log_density))(position, data)
    assert np.isfinite(gradient).all()
    assert np.isfinite(value) == (g1 < 1)

"""The prior of the ellipticity with a power of the unit disc: density, curvature, posterior, and what is given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from conftest import SCENE, Write, load
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.manifest.plan import Single

SIGMA = 0.4
NORMAL = {"type": "Normal", "mean": 0.0, "sigma": SIGMA}
SHEAR = {"g1": {"type": "Normal", "mean": 0.0, "sigma": 0.05}, "g2": 0.0}
# So narrow that the centre is known.
POSITION = {"type": "Normal", "sigma": 1e-3}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def scene(power: float, noise: float, e1: Any = NORMAL, **changes: Any) -> dict[str, Any]:
    ellipticity = {"e1": e1, "e2": NORMAL, **({"disc_power": power} if power else {})}
    gal = {**SCENE["gal"], "ellipticity": ellipticity, "position": POSITION, "shear": SHEAR}
    return {**SCENE, "image": {**SCENE["image"], "noise": {"sigma": noise}}, "gal": gal, **changes}


def observed(config: ShearConfig, **truth: float) -> dict[str, np.ndarray]:
    found = family.observe(config, Single("r", 3, {"g1": 0.0, "g2": 0.0, "e1": 0.3, "e2": -0.2, **truth}))
    return dict(found.data)


@pytest.mark.parametrize("power", [0.0, 2.0, 0.5])
@pytest.mark.parametrize("e1", [NORMAL, {"type": "Uniform", "min": -0.8, "max": 0.9}], ids=["Normal", "Uniform"])
def test_the_density_is_the_normalised_prior_where_the_image_is_silent(e1: dict[str, Any], power: float) -> None:
    """On a grid over the disc, beyond it, and beyond the bounds of e1."""
    problem = ShearProblem(shear_config.parse(scene(power, 1e6, e1)))
    data = problem.prepare({"image": np.zeros((24, 24))})
    at = np.linspace(-1.1, 1.1, 46)
    first, second = (axis.ravel() for axis in np.meshgrid(at, at))
    inside = (first > -0.8) & (first < 0.9) if e1["type"] == "Uniform" else np.ones(first.shape, bool)
    first, second = first[inside], second[inside]
    size = first**2 + second**2
    weight = np.where(first**2 > 0, np.exp(-(first**2) / (2 * SIGMA**2)), 1.0) if e1 is NORMAL else 1.0
    expected = weight * np.exp(-(second**2) / (2 * SIGMA**2)) * np.where(size < 1, np.maximum(1 - size, 0) ** power, 0)
    names = problem.names
    begin = problem.start(data)

    def log_prior(a: jax.Array, b: jax.Array) -> jax.Array:
        values = dict(zip(names, problem.constrain(begin), strict=True)) | {"e1": a, "e2": b}
        position = problem._latents.position({**values, "x": 0.0, "y": 0.0}, jnp.float64)
        return problem.log_density(position, data) - problem.log_jacobian(position)

    density = np.exp(np.asarray(jax.jit(jax.vmap(log_prior))(jnp.asarray(first), jnp.asarray(second))))
    # The image has a noise of 1e6 and says 1e-12 of anything.
    np.testing.assert_allclose(density / density.sum(), expected / expected.sum(), rtol=0, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("e1", [NORMAL, {"type": "Uniform", "min": -0.9, "max": 0.35}], ids=["Normal", "Uniform"])
def test_the_curvature_has_the_factors(e1: dict[str, Any]) -> None:
    """At the truth of an image without noise, where Gauss–Newton is exact; e1 also where its interval bends."""
    config = shear_config.parse(scene(3.0, 1e-2, e1))
    without = shear_config.parse(scene(0.0, 1e-2, e1))
    problem, plain = ShearProblem(config), ShearProblem(without)
    clean = {"image": np.asarray(draw(config, e1=0.3, e2=-0.2, g1=0.0))}
    data = problem.prepare(clean)
    truth = {"g1": 0.0, "e1": 0.3, "e2": -0.2, "x": 0.0, "y": 0.0}
    position = problem._latents.position(truth, jnp.float64)
    found = jax.jit(problem.curvature)(position, data) - jax.jit(plain.curvature)(position, plain.prepare(clean))
    slope = jax.jacfwd(problem.constrain)(position)[1:3, 1:3]
    rest, e = 1 - 0.3**2 - 0.2**2, np.array([0.3, -0.2])
    formula = 3.0 * (2 / rest * np.eye(2) + 4 / rest**2 * np.outer(e, e))
    expected = np.zeros((5, 5))
    expected[1:3, 1:3] = slope.T @ formula @ slope
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())
    exact = -jax.jit(jax.hessian(lambda u: problem.log_density(u, data)))(position)
    if e1 is NORMAL:
        np.testing.assert_allclose(jax.jit(problem.curvature)(position, data), exact, rtol=1e-4, atol=1e-2)


def test_what_is_given_has_no_prior_and_its_partner_keeps_the_factor() -> None:
    """Given e1, the prior of e2 is Normal · (1 − e1² − e2²)^n; given both, the factor is a constant."""
    both, one = (shear_config.parse(scene(2.0, 1e-2, simulation={"given": given})) for given in (["e1", "e2"], ["e1"]))
    plain = shear_config.parse(scene(0.0, 1e-2, simulation={"given": ["e1", "e2"]}))
    single = shear_config.parse(scene(0.0, 1e-2, simulation={"given": ["e1"]}))
    data = observed(both)

    def change(config: ShearConfig, name: str, by: float) -> float:
        problem = ShearProblem(config)
        given = [{"e1": 0.3, "e2": -0.2}[key] for key in config.simulation.given]
        prepared = problem.prepare({**data, "given": np.array(given)})
        density, begin = jax.jit(problem.log_density), problem.start(prepared)
        moved = begin.at[problem.names.index(name)].add(by)
        return float(density(moved, prepared) - density(begin, prepared))

    assert change(both, "g1", 0.03) == pytest.approx(change(plain, "g1", 0.03), abs=1e-9)
    factor = 2 * (np.log(1 - 0.3**2 - 0.4**2) - np.log(1 - 0.3**2))
    assert change(one, "e2", 0.4) - change(single, "e2", 0.4) == pytest.approx(factor, abs=1e-9)


@pytest.mark.slow
def test_the_posterior_of_a_faint_galaxy_is_that_of_a_grid(write: Write) -> None:
    """S/N 15, where the factor moves the mean by many errors of the draws."""
    power = 8.0
    settings = {"method": "importance", "importance_config": {"samples": 1000}}
    value = scene(power, 1.4e-2, inference=settings)
    value["simulation"] = {"gal": {"ellipticity": {"e1": 0.55, "e2": -0.3}}}
    campaign = load(write(config=value, shear={"grid": [0.0]}, realizations={"count": 1, "base_seed": 5}))
    campaign.run()
    (realization,) = campaign.plan.realizations
    posterior = campaign.posterior(realization.run_id)["posterior"]
    config = shear_config.of(campaign.manifest)
    # The likelihood of a model without the factor.
    plain = ShearProblem(shear_config.parse(scene(0.0, 1.4e-2)))
    data = plain.prepare(family.observe(config, realization.planned).data)
    at = np.linspace(-0.98, 0.98, 50)
    first, second = (axis.ravel() for axis in np.meshgrid(at, at))
    disc = first**2 + second**2 < 0.999
    first, second = first[disc], second[disc]
    nodes, weights = hermegauss(5)

    def log_likelihood(g1: jax.Array, e1: jax.Array, e2: jax.Array) -> jax.Array:
        middle = jnp.asarray(12.0)
        return plain.log_likelihood({"g1": g1, "e1": e1, "e2": e2, "x": middle, "y": middle}, data)

    over = jax.jit(jax.vmap(jax.vmap(log_likelihood, (None, 0, 0)), (0, None, None)))
    logs = np.asarray(over(jnp.asarray(0.05 * nodes), jnp.asarray(first), jnp.asarray(second)))
    likelihood = weights @ np.exp(logs - logs.max())
    gaussian = np.exp(-(first**2 + second**2) / (2 * SIGMA**2))

    def mean(n: float) -> np.ndarray:
        density = likelihood * gaussian * (1 - first**2 - second**2) ** n
        found: np.ndarray = np.array([first, second]) @ density / density.sum()
        return found

    draws = np.stack([np.asarray(posterior[name]).ravel() for name in ("e1", "e2")])
    widths = draws.std(axis=1)
    assert campaign.summary["ess_g1"].item() > 500
    # An effective sample of 500 has a mean to 0.045 widths: 4 σ is 0.18.
    assert np.abs(draws.mean(axis=1) - mean(power)).max() < 0.18 * widths.min()
    assert np.abs(mean(0) - mean(power)).max() > 0.5 * widths.max()


@pytest.mark.slow
@pytest.mark.parametrize(("of_truths", "fails"), [(8.0, False), (0.0, True)])
def test_ranks_are_uniform_for_truths_of_the_same_prior_alone(write: Write, of_truths: float, fails: bool) -> None:
    """200 galaxies at S/N 40 with latent shape and shear; a calibrated campaign fails once in 100."""
    wide = {"g1": {**NORMAL, "sigma": 0.2}, "g2": {**NORMAL, "sigma": 0.2}}
    value = scene(8.0, 5e-3, inference={"method": "importance", "importance_config": {"samples": 1000}})
    value["gal"]["shear"] = wide
    value["simulation"] = {"gal": {"ellipticity": {"e1": NORMAL, "e2": NORMAL, "disc_power": of_truths}}}
    count = {"count": 200, "base_seed": 1}
    path = write(kind="calibration", shear=..., config=value, realizations=count, batch={"size": 100, "width": 25})
    campaign = load(path)
    campaign.run()
    found = {test.quantity: test.p for test in campaign.aggregate().quantities}
    assert set(found) == {"g1", "g2", "e1", "e2", "x", "y", "log_likelihood"}
    assert (min(found.values()) * len(found) < 0.01) == fails, found

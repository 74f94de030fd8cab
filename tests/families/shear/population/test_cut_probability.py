"""The probability of a cut for other parameters of the population, and their posterior with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from conftest import Write, load
from families.shear.population.test_free import INTERIM, NAMES, NOISE_E, NOISE_F, PRIOR_G, WIDE, toy
from families.shear.population.test_populations import POPULATION, committed, drawn
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.population import cut_probability, free, membership, selection
from lanewise.families.shear.population.cut_probability import Table
from lanewise.families.shear.population.nodes import Nodes
from lanewise.machine import device
from lanewise.manifest.status import LaneStatus

Array = NDArray[np.float64]
KNOWN = {"ellipticity_sigma": 0.15, "flux_mean": 1.0, "flux_sigma": 0.25}
SIZES = {"half_light_radius_mean": 0.5, "half_light_radius_sigma": 0.15}


def scene(limits: dict[str, Any], values: dict[str, float], free: dict[str, float], **changes: Any) -> dict[str, Any]:
    """A population with these values of its parameters, of which some are free."""

    def log_normal(quantity: str) -> dict[str, Any]:
        return {"type": "LogNormal", "mean": values[f"{quantity}_mean"], "sigma": values[f"{quantity}_sigma"]}

    quantities = ("flux", "half_light_radius") if "half_light_radius_mean" in values else ("flux",)
    priors = {name: {"type": "LogNormal", "mean": 1.1 * value, "sigma": 0.2} for name, value in free.items()}
    return {
        **POPULATION,
        "gal": {
            **POPULATION["gal"],
            **{name: {**log_normal(name), "mean": {"flux": 1.0}.get(name, 0.5), "sigma": 0.6} for name in quantities},
        },
        "population": {
            **POPULATION["population"],
            "ellipticity": {"type": "BernsteinArmstrong", "sigma": values["ellipticity_sigma"]},
            **{name: log_normal(name) for name in quantities},
            "selection": limits,
            **({"free": priors} if free else {}),
            **changes,
        },
    }


def probability(config: dict[str, Any], g: tuple[float, float], hyper: dict[str, float]) -> Array:
    """To be cut, by each set of galaxies and by all."""
    parsed = shear_config.parse(config)
    nodes = Nodes.of(parsed)
    table = cut_probability.table(parsed, nodes)
    return np.exp(cut_probability.log_missed(parsed, nodes, table, jnp.array(g), hyper))


CASES = [
    ({"snr_min": 130.0}, KNOWN, {**KNOWN, "ellipticity_sigma": 0.2, "flux_mean": 1.15, "flux_sigma": 0.3}),
    ({"snr_min": 130.0}, KNOWN | SIZES, {**KNOWN, "half_light_radius_mean": 0.56, "half_light_radius_sigma": 0.2}),
    (
        {"snr_min": 125.0, "size_min": 0.45},
        KNOWN | SIZES,
        {"ellipticity_sigma": 0.13, "flux_mean": 0.9, "flux_sigma": 0.3, **SIZES, "half_light_radius_mean": 0.45},
    ),
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fewer galaxies behind the probability, which are as good as 1500 images and take less time."""
    monkeypatch.setattr(cut_probability, "_LOG2_GALAXIES", 6)
    cut_probability.table.cache_clear()
    yield
    cut_probability.table.cache_clear()


@pytest.mark.long
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("limits", "known", "other"), CASES)
def test_probability_for_other_values_is_the_share_of_simulated_images_that_are_cut(
    limits: dict[str, float], known: dict[str, float], other: dict[str, float]
) -> None:
    device.prepare("cpu", "float64")
    values, n, g = known | other, 1500, 0.1
    expected = probability(scene(limits, known, known), (g, 0.0), values)[-1]
    assert 0.2 < expected < 0.8
    # The known values would not do.
    assert abs(expected - probability(scene(limits, known, known), (g, 0.0), known)[-1]) > 0.05
    missed = sum(one is None for one in drawn(scene(limits, values, {}, galaxies=n), g))
    # Four binomial errors: one false alarm in 16 000.
    assert missed / n == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))


@pytest.mark.long
@pytest.mark.parametrize(("limits", "known", "other"), CASES[:2])
def test_probability_for_other_values_is_that_of_a_population_that_has_them(
    limits: dict[str, float], known: dict[str, float], other: dict[str, float]
) -> None:
    """Against galaxies that are spread over that population, under shears of all nodes; and its slopes."""
    device.prepare("cpu", "float64")
    config, values = shear_config.parse(scene(limits, known, known)), known | other
    nodes = Nodes.of(config)
    table = cut_probability.table(config, nodes)

    def exact(values: dict[str, float]) -> Array:
        return np.exp(selection.log_missed(shear_config.parse(scene(limits, values, {})), nodes))

    expected = exact(values)
    zero, points = jnp.zeros(2), jnp.asarray(nodes.points)

    @jax.jit
    def missed(g: jax.Array, at: dict[str, float]) -> jax.Array:
        return jnp.exp(cut_probability.log_missed(config, nodes, table, g, at)[-1])

    found = np.array([missed(g, values) for g in points])
    np.testing.assert_allclose(found.reshape(nodes.shape), expected, atol=1.5e-3)
    # What a shear does to it is known better than the probability itself.
    np.testing.assert_allclose(
        found.reshape(nodes.shape) - found[len(found) // 2], expected - expected[2, 2], atol=2e-4
    )
    slopes = jax.grad(lambda at: missed(zero, at))(values)
    for name, slope in slopes.items():
        if values[name] == known[name]:
            continue
        step = 0.02 * values[name]
        up, down = (exact({**values, name: values[name] + sign * step})[2, 2] for sign in (1, -1))
        assert float(slope) == pytest.approx((up - down) / (2 * step), rel=0.05, abs=0.03 / values[name]), name


@pytest.mark.long
def test_sets_of_galaxies_scatter_as_much_as_they_are_off() -> None:
    device.prepare("cpu", "float64")
    limits, known, other = CASES[1]
    values = known | other
    *sets, every = probability(scene(limits, known, known), (0.0, 0.0), values)
    parsed = shear_config.parse(scene(limits, values, {}))
    expected = np.exp(selection.log_missed(parsed, Nodes.of(parsed)))[2, 2]
    error = np.std(sets, ddof=1) / np.sqrt(len(sets))
    assert 0 < error < 2e-3
    # Student's t of three degrees of freedom: one false alarm in 200, and the expected value has an error, too.
    assert abs(every - expected) < 7 * error + 2e-4


def selected(random: np.random.Generator, n: int, g: float, sigma_e: float, limit: float) -> tuple[Array, Array, int]:
    """Data (e1, e2) and ln flux of the galaxies of n whose measured ln flux is above a limit, and how many are not."""
    e = np.array([g, 0.0]) + sigma_e * random.normal(size=(n, 2))
    data = e + NOISE_E * random.normal(size=(n, 2))
    log_flux = 0.3 * random.normal(size=n) + NOISE_F * random.normal(size=n)
    passed = log_flux > limit
    return data[passed], log_flux[passed], int(np.sum(~passed))


def interim_draws(random: np.random.Generator, data: Array, log_flux: Array, n_draws: int) -> Array:
    """From the interim posteriors of (e1, e2, flux), shape (galaxy, draw, 3)."""

    def of(values: Array, noise: float, width: float) -> Array:
        spread = 1 / (noise**-2 + width**-2)
        scatter = np.sqrt(spread) * random.normal(size=(len(values), n_draws))
        return np.asarray((values * spread / noise**2)[:, None] + scatter)

    e1, e2 = (of(values, NOISE_E, INTERIM) for values in data.T)
    return np.stack([e1, e2, np.exp(of(log_flux, NOISE_F, WIDE))], axis=-1)


@pytest.mark.long
def test_posterior_of_the_flux_of_a_population_with_a_cut_is_that_of_a_grid() -> None:
    """A cut of the measured flux itself, which knows nothing of the shear; without it the fluxes are far off."""
    device.prepare("cpu", "float64")
    config, limit, n_draws = toy(("flux_mean", "flux_sigma")), 0.1, 64
    random = np.random.default_rng(8)
    data, log_flux, n_missed = selected(random, 1000, 0.02, 0.05, limit)
    latents = interim_draws(random, data, log_flux, n_draws)
    draws = free.draws_of(config, NAMES, latents, np.zeros(latents.shape[:2]))
    grid = np.linspace(-4, 4, 400)
    share = special.ndtr((limit - grid) / NOISE_F)
    zeros = jnp.zeros((2, 1))
    table = Table(
        zeros,
        zeros,
        zeros,
        jnp.asarray(np.stack([grid, grid])),
        jnp.asarray(np.broadcast_to(share[:, None], (2, 1, len(grid), 5))),
    )
    found, without = (
        free.posterior(config, draws, {"g1": 0.0}, 1000, cut)
        for cut in (free.Cut(jnp.asarray(float(n_missed)), table), None)
    )
    mean, sigma = np.meshgrid(np.linspace(-0.3, 0.3, 201), np.linspace(0.2, 0.5, 201), indexing="ij")
    width = np.hypot(sigma, NOISE_F)
    n, middle, scatter = len(log_flux), log_flux.mean(), log_flux.var()
    density = -n * (scatter + (middle - mean) ** 2) / (2 * width**2) - n * np.log(width)
    density += n_missed * special.log_ndtr((limit - mean) / width)
    density += stats.norm.logpdf(mean, 0, 0.2) + stats.norm.logpdf(np.log(sigma), np.log(0.3), 0.3)
    weight = np.exp(density - density.max()) / sigma
    weight /= weight.sum()
    for name, value in (("flux_mean", np.exp(mean)), ("flux_sigma", sigma)):
        expected = np.sum(weight * value)
        spread = np.sqrt(np.sum(weight * (value - expected) ** 2))
        # 64 draws leave a scatter of the sum of logarithms, of a tenth of the posterior's width.
        assert abs(found.draws[name].mean() - expected) < 0.3 * spread, name
        assert found.draws[name].std() == pytest.approx(spread, rel=0.1)
        assert abs(without.draws[name].mean() - expected) > 5 * spread
        assert found.cut_error[name] < 1e-9  # both sets are the same
    assert found.draws["g1"].std() < PRIOR_G
    assert found.cut_size == 2
    assert without.cut_error == {}


@pytest.mark.long
def test_populations_with_a_cut_and_free_parameters_tell_the_error_of_its_probability(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inferred = {name: KNOWN[name] for name in ("ellipticity_sigma", "flux_mean")}
    config = scene({"snr_min": 130.0}, KNOWN, inferred, galaxies=60)
    campaign = load(write(config=config, shear={"grid": [0.02]}, realizations={"count": 1}))
    campaign.run()
    (found,) = committed(campaign).values()
    assert found.status is LaneStatus.OK
    group = found.groups["population"]
    assert 0 < group["n_selected"][0] < 60
    assert group["cut_error"].shape == (4,)  # g1, g2 and both parameters
    assert (group["cut_error"] < 0.05).all()
    assert 500 < group["cut_size"][0] < cut_probability.N_SETS * 512
    campaign.aggregate()
    (row,) = campaign.summary.to_dict("records")
    assert row["cut_error"] == pytest.approx(group["cut_error"].max())
    assert row["cut_size"] == pytest.approx(group["cut_size"][0])
    assert "error of the cut" in (tmp_path / "results" / "report.html").read_text()
    monkeypatch.setattr(membership, "_CUT_ERROR_MAX", 1e-9)
    assert found.members is not None
    again = membership.combine(shear_config.parse(config), found, found.members)
    assert again.status is LaneStatus.NOT_CONVERGED
    assert "error of the cut's probability" in again.reason

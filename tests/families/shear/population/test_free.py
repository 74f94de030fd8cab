"""Shear and parameters of the population together, against exact posteriors of Gaussian toys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from families.shear.population.test_populations import POPULATION
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population import free
from lanewise.machine import device

Array = NDArray[np.float64]
# Errors of the data, widths of the interim priors, and of the prior on g1.
NOISE_E, NOISE_F, INTERIM, WIDE, PRIOR_G = 0.03, 0.1, 0.3, 0.6, 0.05
NAMES = ("g1", "g2", "flux")
FREE: dict[str, dict[str, Any]] = {
    "ellipticity_sigma": {"type": "LogNormal", "mean": 0.05, "sigma": 0.3},
    "flux_mean": {"type": "LogNormal", "mean": 1.0, "sigma": 0.2},
    "flux_sigma": {"type": "LogNormal", "mean": 0.3, "sigma": 0.3},
}


def toy(names: tuple[str, ...]) -> ShearConfig:
    """g1 is inferred with these parameters; shapes are so small that a shear adds to them, to 1e-3 of it."""
    prior = {"type": "Normal", "mean": 0.0, "sigma": PRIOR_G}
    found: dict[str, Any] = {
        **POPULATION,
        "gal": {
            **POPULATION["gal"],
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": WIDE},
            "shear": {"g1": prior, "g2": 0.0},
        },
        "population": {
            **{"galaxies": 100, "half_width": 0.2, "interim": INTERIM},
            "ellipticity": {"type": "Gaussian", "sigma": 0.05},
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
            "free": {name: FREE[name] for name in names},
        },
    }
    return shear_config.parse(found)


def galaxies(
    random: np.random.Generator, n: int, n_draws: int, g: float, sigma_e: float, flux: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """Data (e1, e2, ln flux) of n galaxies, and draws from their interim posteriors."""
    e = np.array([g, 0.0]) + sigma_e * random.normal(size=(n, 2))
    data = e + NOISE_E * random.normal(size=(n, 2))
    log_flux = np.log(flux[0]) + flux[1] * random.normal(size=n) + NOISE_F * random.normal(size=n)

    def drawn(value: Array, noise: float, width: float) -> Array:
        spread = 1 / (noise**-2 + width**-2)
        shape = (n, n_draws, *value.shape[1:])
        found: Array = (value * spread / noise**2)[:, None] + np.sqrt(spread) * random.normal(size=shape)
        return found

    fluxes = np.exp(drawn(log_flux, NOISE_F, WIDE))
    return data, log_flux, np.concatenate([drawn(data, NOISE_E, INTERIM), fluxes[..., None]], axis=-1)


@pytest.mark.long
def test_joint_posterior_of_shear_and_width_is_that_of_a_grid() -> None:
    device.prepare("cpu", "float64")
    config, n, n_draws = toy(("ellipticity_sigma",)), 400, 64
    data, _, latents = galaxies(np.random.default_rng(3), n, n_draws, 0.02, 0.06, (1.0, 0.3))
    draws = free.draws_of(config, NAMES, latents, np.zeros((n, n_draws)))
    found = free.posterior(config, draws, {"g1": 0.0}, 1000)
    g, sigma = np.meshgrid(np.linspace(0.0, 0.04, 161), np.linspace(0.045, 0.075, 161), indexing="ij")
    variance = sigma**2 + NOISE_E**2
    density = -((data[:, 0] - g[..., None]) ** 2 + data[:, 1] ** 2).sum(axis=-1) / (2 * variance) - n * np.log(variance)
    density += stats.norm.logpdf(g, 0, PRIOR_G) + stats.lognorm.logpdf(sigma, 0.3, scale=0.05)
    weight = np.exp(density - density.max())
    weight /= weight.sum()
    for name, value in (("g1", g), ("ellipticity_sigma", sigma)):
        mean = np.sum(weight * value)
        width = np.sqrt(np.sum(weight * (value - mean) ** 2))
        # 64 draws leave a scatter of the sum of logarithms, of a tenth of the posterior's width.
        assert abs(found.draws[name].mean() - mean) < 0.3 * width
        assert found.draws[name].std() == pytest.approx(width, rel=0.1)
    assert found.khat < 0.7


@pytest.mark.long
def test_galaxies_without_draws_do_not_count() -> None:
    device.prepare("cpu", "float64")
    config = toy(("ellipticity_sigma",))
    _, _, latents = galaxies(np.random.default_rng(3), 60, 64, 0.02, 0.06, (1.0, 0.3))
    lost, weight = np.concatenate([latents, np.full((2, 64, 3), np.nan)]), np.zeros((62, 64))
    whole, less = (
        free.posterior(config, free.draws_of(config, NAMES, one, weight[: len(one)]), {"g1": 0.0}, 100)
        for one in (latents, lost)
    )
    np.testing.assert_allclose(less.draws["g1"], whole.draws["g1"], atol=1e-6)


@pytest.mark.slow
def test_ranks_of_the_shear_and_of_free_parameters_are_uniform() -> None:
    """256 populations of 100 galaxies, truths from the priors, 64 draws of each galaxy."""
    device.prepare("cpu", "float64")
    config, random, n_draws = toy(tuple(FREE)), np.random.default_rng(5), 64
    ranks: dict[str, list[float]] = {}
    for _ in range(256):
        truth = {name: prior["mean"] * np.exp(prior["sigma"] * random.normal()) for name, prior in FREE.items()}
        truth["g1"] = PRIOR_G * random.normal()
        flux = truth["flux_mean"], truth["flux_sigma"]
        *_, latents = galaxies(random, 100, n_draws, truth["g1"], truth["ellipticity_sigma"], flux)
        draws = free.draws_of(config, NAMES, latents, np.zeros((100, n_draws)))
        found = free.posterior(config, draws, {"g1": 0.0}, 999)
        for name, value in truth.items():
            ranks.setdefault(name, []).append(float(np.mean(found.draws[name] < value)))
    assert set(ranks) == {"g1", *FREE}
    for name, each in ranks.items():
        # One false alarm in a thousand of each of four.
        assert stats.kstest(each, "uniform").pvalue > 1e-3, name

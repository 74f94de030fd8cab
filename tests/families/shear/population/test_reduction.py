"""What a galaxy leaves, against its likelihood computed directly from the draws."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from lanewise.families.shear.ellipticity_table import Table
from lanewise.families.shear.population import ellipticity, ensemble, membership, weights
from lanewise.families.shear.population.nodes import Axis, Nodes
from lanewise.families.shear.population_config import Population
from lanewise.families.shear.priors import Prior
from lanewise.machine import device

NODES = Nodes((Axis(0.06), Axis(0.06)))
NAMES = ("g1", "g2", "flux")
reduced = jax.jit(membership.reduced, static_argnums=(0, 1, 2, 5))


def galaxy(kind: str, keep: str = "nodes") -> tuple[Population, jax.Array, jax.Array]:
    device.prepare("cpu", "float64")
    random = np.random.default_rng(2)
    latents = np.concatenate([[0.35, -0.2] + 0.1 * random.normal(size=(64, 2)), random.normal(size=(64, 1))], axis=1)
    return Population(10, kind, 0.2, keep=keep), jnp.asarray(latents), jnp.asarray(0.2 * random.normal(size=64))


@partial(jax.jit, static_argnums=0)
def direct(population: Population, latents: jax.Array, log_weights: jax.Array, g: jax.Array) -> jax.Array:
    e = latents[:, :2]
    ratio = ellipticity.log_density(e, g, population.ellipticity, population.sigma)
    ratio += jnp.sum(e**2, axis=1) / (2 * population.interim**2)
    return weights.log_likelihood(ratio[:, None], weights.smooth(log_weights)[0])[0]


# ln L changes by about 1 over the range; the polynomial of degree 4 leaves less than 1e-4 of it for one galaxy, of
# either sign, where σ_e is .2.
@pytest.mark.parametrize("kind", ["Gaussian", "BernsteinArmstrong"])
def test_the_polynomial_is_the_likelihood_between_the_nodes(kind: str) -> None:
    population, latents, log_weights = galaxy(kind)
    value = np.asarray(reduced(population, NODES, NAMES, latents, log_weights)["ln_l"])
    for g in ((0.05, -0.04), (0.0, 0.02), (-0.055, 0.05)):
        (found,) = NODES.at(value, [np.array([one]) for one in g]).ravel()
        assert found == pytest.approx(float(direct(population, latents, log_weights, jnp.array(g))), abs=1e-4)


def test_a_table_of_a_distribution_leaves_the_same_likelihood() -> None:
    known, latents, log_weights = galaxy("BernsteinArmstrong")
    e = np.linspace(0.02, 0.98, 33)
    table = Table(tuple(e), tuple(e * np.exp(-(e**2) / (2 * 0.2**2)) * (1 - e**2) ** 2))
    by_table = replace(known, ellipticity="Table", sigma=table.width, table=table)
    found, expected = (reduced(one, NODES, NAMES, latents, log_weights)["ln_l"] for one in (by_table, known))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_derivatives_at_zero_shear_are_those_of_the_likelihood() -> None:
    population, latents, log_weights = galaxy("BernsteinArmstrong")
    value = np.asarray(reduced(population, NODES, NAMES, latents, log_weights)["ln_l"])
    zero, step = [np.zeros(1), np.zeros(1)], 1e-3
    at = {
        (a, b): float(direct(population, latents, log_weights, step * jnp.array([a, b])))
        for a in (-1, 0, 1)
        for b in (-1, 0, 1)
    }
    expected = {
        (1, 0): (at[1, 0] - at[-1, 0]) / (2 * step),
        (0, 1): (at[0, 1] - at[0, -1]) / (2 * step),
        (2, 0): (at[1, 0] - 2 * at[0, 0] + at[-1, 0]) / step**2,
        (1, 1): (at[1, 1] - at[1, -1] - at[-1, 1] + at[-1, -1]) / (4 * step**2),
    }
    for orders, derivative in expected.items():
        assert NODES.at(value, zero, orders)[0, 0] == pytest.approx(derivative, rel=0.01, abs=0.01)


def test_score_and_information_are_moments_over_the_draws() -> None:
    """Fisher's and Louis' identities: derivatives of ln p(e | g) at every draw, by differences of a complex formula."""
    population, *_ = galaxy("BernsteinArmstrong")
    random, n = np.random.default_rng(5), 20_000  # many: the correction for their number is small
    e = 0.15 - 0.1j + 0.1 * (random.normal(size=n) + 1j * random.normal(size=n))
    log_weights = 0.2 * random.normal(size=n)
    latents = jnp.asarray(np.stack([e.real, e.imag, np.ones(n)], axis=1))
    value = np.asarray(reduced(population, NODES, NAMES, latents, jnp.asarray(log_weights))["ln_l"])

    def log_p(a: int, b: int) -> np.ndarray:
        g = 1e-3 * complex(a, b)
        intrinsic = np.abs((e - g) / (1 - np.conj(g) * e)) ** 2
        jacobian = 2 * np.log(1 - abs(g) ** 2) - 4 * np.log(np.abs(1 - np.conj(g) * e))
        found: np.ndarray = 2 * np.log1p(-intrinsic) - intrinsic / (2 * population.sigma**2) + jacobian
        return found

    share = special.softmax(log_p(0, 0) + np.abs(e) ** 2 / (2 * population.interim**2) + log_weights)
    slope = np.stack([log_p(1, 0) - log_p(-1, 0), log_p(0, 1) - log_p(0, -1)]) / 2e-3
    bend = np.diag([share @ (log_p(*at) - 2 * log_p(0, 0) + log_p(-at[0], -at[1])) / 1e-6 for at in ((1, 0), (0, 1))])
    bend[0, 1] = bend[1, 0] = share @ (log_p(1, 1) - log_p(1, -1) - log_p(-1, 1) + log_p(-1, -1)) / 4e-6
    score = slope @ share
    information = -bend - np.cov(slope, aweights=share, ddof=0)
    found = ensemble.expansion(value, NODES)
    np.testing.assert_allclose(found.value, np.linalg.solve(information, score), rtol=5e-3)
    np.testing.assert_allclose(found.std, np.sqrt(np.diag(np.linalg.inv(information))), rtol=5e-3)


@pytest.mark.long
def test_kept_draws_give_the_same_likelihood() -> None:
    population, latents, log_weights = galaxy("Gaussian", keep="draws")
    left = reduced(population, NODES, NAMES, latents, log_weights)
    assert left["draws"].dtype == left["log_weight"].dtype == jnp.float32
    again = reduced(population, NODES, NAMES, left["draws"].astype(float), log_weights)
    np.testing.assert_allclose(again["ln_l"], left["ln_l"], atol=1e-5)
    np.testing.assert_allclose(left["log_weight"], weights.smooth(log_weights)[0], atol=1e-6)


def test_half_of_the_draws_add_what_their_likelihoods_differ() -> None:
    population, latents, log_weights = galaxy("Gaussian")
    left = reduced(population, NODES, NAMES, latents, log_weights)
    # Draws that are repeated: both halves are the same, and differ from the whole by their corrections alone.
    twice = reduced(population, NODES, NAMES, jnp.tile(latents, (2, 1)), jnp.tile(weights.smooth(log_weights)[0], 2))
    assert np.abs(twice["half"]).max() < np.abs(left["half"]).max()


def test_draws_outside_the_disc_do_not_count() -> None:
    population, latents, log_weights = galaxy("BernsteinArmstrong")
    outside = latents.at[5, 0].set(1.2)
    left = reduced(population, NODES, NAMES, outside, log_weights.at[5].set(-jnp.inf))
    assert np.isfinite(left["ln_l"]).all()
    assert float(left["khat"]) < 0.7


def test_a_distribution_of_the_population_replaces_the_interim_prior() -> None:
    """Weights by hand: of the ratio of both densities of the flux at every draw."""
    population, latents, log_weights = galaxy("Gaussian")
    fluxes = jnp.exp(0.3 * latents[:, 2])
    latents = latents.at[:, 2].set(fluxes)
    narrow, wide = Prior("LogNormal", (1.1, 0.25)), Prior("LogNormal", (1.0, 0.5))
    with_flux = replace(population, distributions=(("flux", narrow),))
    found = np.asarray(reduced(with_flux, NODES, NAMES, latents, log_weights, (wide,))["ln_l"])
    ratio = stats.lognorm.logpdf(fluxes, 0.25, scale=1.1) - stats.lognorm.logpdf(fluxes, 0.5, scale=1.0)
    e, g = latents[:, :2], NODES.points[7]
    ratio += ellipticity.log_density(e, jnp.asarray(g), "Gaussian", 0.2) + jnp.sum(e**2, axis=1) / (2 * 0.3**2)
    expected = weights.log_likelihood(ratio[:, None], weights.smooth(log_weights)[0])[0]
    assert found.ravel()[7] == pytest.approx(float(expected), abs=1e-9)

"""Linear Gaussian toys: the best shear of their populations is the mean of the data, however few the draws."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from scipy import special

from lanewise.families.shear.population import ellipticity, ensemble, weights
from lanewise.families.shear.population.nodes import Axis, Nodes
from lanewise.machine import device

SHAPE, NOISE, INTERIM = 0.2, 0.1, 0.3
G, TOGETHER, N_GROUPS = 0.02, 500, 20
NODES = Nodes((Axis(0.06), Axis(0.06, known=0.0)))


def flat(g: np.ndarray) -> np.ndarray:
    return np.zeros(g.shape[:-1])


@partial(jax.jit, static_argnums=(0, 1))
def totals(n_galaxies: int, n_draws: int) -> tuple[jax.Array, jax.Array]:
    """Σ ln L with and without the correction, shape (group, arm ±G, node); the arms share all random numbers."""
    spread = jnp.sqrt(1 / (NOISE**-2 + INTERIM**-2))

    def galaxies(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key, 3)
        data = SHAPE * jax.random.normal(keys[0], (TOGETHER, 1)) + NOISE * jax.random.normal(keys[1], (TOGETHER, 1))
        noise = spread * jax.random.normal(keys[2], (TOGETHER, n_draws))
        plus, minus = (arm(data + g, noise) for g in (G, -G))
        return jnp.stack([plus[0], minus[0]]), jnp.stack([plus[1], minus[1]])

    def arm(data: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        e = (data * spread**2 / NOISE**2 + noise)[..., None]
        ratio = -((e - NODES.axes[0].points) ** 2) / (2 * SHAPE**2) + e**2 / (2 * INTERIM**2)
        corrected = jax.vmap(weights.log_likelihood)(ratio, jnp.zeros(e.shape[:2]))
        return corrected.sum(axis=0), logsumexp(ratio, axis=1).sum(axis=0)

    parts = jax.lax.map(galaxies, jax.random.split(jax.random.key(1), n_galaxies // TOGETHER))
    corrected, plain = (part.reshape(N_GROUPS, -1, 2, 5).sum(axis=1) for part in parts)
    return corrected, plain


def m_of(groups: jax.Array) -> tuple[float, float]:
    """m with its error over the groups."""
    each = np.asarray(groups)[..., None]

    def m(total: np.ndarray) -> float:
        plus, minus = (ensemble.posterior(arm, NODES, flat).mean()[0] for arm in total)
        return float((plus - minus) / (2 * G) - 1)

    without = np.array([m(each.sum(axis=0) - one) for one in each])
    return m(each.sum(axis=0)), float(ensemble.jackknife_error(without))


@pytest.mark.long
@pytest.mark.parametrize(
    ("n_galaxies", "n_draws", "expected", "allowed"),
    [(100_000, 10, -0.0115, 5e-4), (500_000, 30, -0.0039, 1e-4), (50_000, 100, -0.0012, 4e-4)],
)
def test_correction_removes_the_bias_of_few_draws(
    n_galaxies: int, n_draws: int, expected: float, allowed: float
) -> None:
    device.prepare("cpu", "float64")
    (corrected, error), (plain, of_plain) = (m_of(groups) for groups in totals(n_galaxies, n_draws))
    assert max(error, of_plain) < allowed / 2  # two standard errors
    assert plain == pytest.approx(expected, abs=3 * of_plain + 5e-5)  # the number has four digits
    assert abs(corrected) < allowed


@pytest.mark.slow
def test_thirty_draws_and_three_hundred_give_the_same_shear() -> None:
    device.prepare("cpu", "float64")
    few, many = (totals(400_000, n)[0] for n in (30, 300))
    assert m_of(few)[0] == pytest.approx(m_of(many)[0], abs=1e-4)


@pytest.mark.long
def test_shear_of_a_thousand_nearly_round_galaxies() -> None:
    """σ_e = 1e-3, σ_m = 1e-4, g = .05. Only distances count in the toy: the nodes lie within ± .01 of .045."""
    device.prepare("cpu", "float64")
    random, n, g, middle = np.random.default_rng(7), 1000, 0.05, 0.045
    e = g + 1e-3 * random.normal(size=n)
    data = e + 1e-4 * random.normal(size=n) - middle
    draws = data[:, None] + 1e-4 * random.normal(size=(n, 64))
    nodes = Nodes((Axis(0.01), Axis(0.01, known=0.0)))
    ratio = -((draws[..., None] - nodes.axes[0].points) ** 2) / (2 * 1e-3**2)
    values = np.asarray(jax.vmap(weights.log_likelihood)(jnp.asarray(ratio), jnp.zeros(draws.shape)))[..., None]
    found = ensemble.posterior(values.sum(axis=0), nodes, flat)
    width, expected = np.sqrt(found.covariance[0, 0]), np.std(data) / np.sqrt(n)
    assert abs(found.mean()[0] + middle - g) / g <= 3e-3
    assert width == pytest.approx(expected, rel=0.1)
    # Without galaxies' draws: fifty blocks know the error to a tenth.
    left_out = ensemble.jackknife(found, nodes, ensemble.blocks(values))
    assert ensemble.jackknife_error(left_out)[0] == pytest.approx(expected, rel=0.3)
    # The toy is quadratic: one step from the derivatives at the centre is the estimate, and so is the mean of the data.
    assert ensemble.expansion(values.sum(axis=0), nodes).value[0] == pytest.approx(found.mean()[0], abs=0.02 * expected)
    assert found.mean()[0] == pytest.approx(data.mean(), abs=0.1 * expected)
    assert found.cut == ()


@pytest.mark.parametrize("n_draws", [10, 100])
def test_score_of_a_linear_population_is_the_mean_of_its_data(n_draws: int) -> None:
    """Its information is that of Gaussian data; the jackknife over galaxies measures the same error."""
    device.prepare("cpu", "float64")
    random, n, g = np.random.default_rng(3), 20_000, 0.04
    data = g + SHAPE * random.normal(size=n) + NOISE * random.normal(size=n)
    spread = (NOISE**-2 + INTERIM**-2) ** -0.5
    e = (data[:, None] * spread**2 / NOISE**2 + spread * random.normal(size=(n, n_draws)))[..., None]
    ratio = -((e - NODES.axes[0].points) ** 2) / (2 * SHAPE**2) + e**2 / (2 * INTERIM**2)
    values = np.asarray(jax.vmap(weights.log_likelihood)(jnp.asarray(ratio), jnp.zeros(e.shape[:2])))[..., None]
    found = ensemble.expansion(values.sum(axis=0), NODES)
    error = np.sqrt((SHAPE**2 + NOISE**2) / n)
    # The draws have a scatter of their own: of K, they add NOISE² / K or so to the variance of a galaxy.
    assert found.value[0] == pytest.approx(data.mean(), abs=4 * error * NOISE / SHAPE / np.sqrt(n_draws))
    assert found.std[0] == pytest.approx(error, rel=0.01)
    left_out = ensemble.expansion(values.sum(axis=0) - ensemble.blocks(values), NODES).value
    assert ensemble.jackknife_error(left_out)[0] == pytest.approx(error, rel=0.4)  # four errors of 50 blocks


@pytest.mark.slow
@pytest.mark.parametrize(("n_galaxies", "n_pairs", "expected"), [(1000, 400, -1.33e-4), (4000, 100, -0.32e-4)])
def test_posterior_mean_of_n_galaxies_is_biased_by_one_over_n(n_galaxies: int, n_pairs: int, expected: float) -> None:
    """Ellipticities without noise: by the nodes, and by the exact density at g2 = 0 on a fine grid."""
    device.prepare("cpu", "float64")
    random, sigma, half_width = np.random.default_rng(5), 0.2, 0.08
    nodes, fine = Nodes((Axis(half_width), Axis(half_width))), np.linspace(-half_width, half_width, 129)

    @jax.jit
    def total(e: jax.Array) -> jax.Array:
        density = ellipticity.log_density(e[:, None], jnp.asarray(nodes.points), "BernsteinArmstrong", sigma)
        return density.sum(axis=0).reshape(nodes.shape)

    def exact(e: np.ndarray) -> float:
        """The mean under a flat prior; the density is written out."""
        own = np.abs((e[:, None] - fine) / (1 - fine * e[:, None])) ** 2
        log_p = -own / (2 * sigma**2) + 2 * np.log1p(-own)
        log_p += 2 * np.log1p(-(fine**2)) - 4 * np.log(np.abs(1 - fine * e[:, None]))
        weights = special.softmax(log_p.sum(axis=0))
        return float(weights @ fine)

    means = np.empty((2, n_pairs, 2))
    for pair in range(n_pairs):
        drawn = np.array([ellipticity.draw("BernsteinArmstrong", sigma, random) for _ in range(n_galaxies)]) @ [1, 1j]
        for arm, g in enumerate((G, -G)):
            e = (drawn + g) / (1 + g * drawn)
            by_nodes = total(jnp.asarray(np.stack([e.real, e.imag], axis=-1)))
            means[:, pair, arm] = ensemble.posterior(np.asarray(by_nodes), nodes, flat).mean()[0], exact(e)
    m = (means[..., 0] - means[..., 1]) / (2 * G) - 1
    for found in m:
        error = found.std() / np.sqrt(n_pairs)
        assert error < abs(expected) / 20
        assert found.mean() == pytest.approx(expected, abs=4 * error)

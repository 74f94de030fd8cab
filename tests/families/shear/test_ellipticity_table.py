"""Tables of ellipticities against the closed forms that they tabulate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from lanewise.families.shear.ellipticity_table import Table
from lanewise.families.shear.population import ellipticity
from lanewise.machine import device

SIGMA, ORIGIN = 0.2, jnp.zeros(2)
SIZES = np.linspace(0.02, 0.98, 33)


def over_disc(kind: str, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The density, without a norm."""
    found: NDArray[np.float64] = np.exp(-(size**2) / (2 * SIGMA**2))
    return found * (1 - size**2) ** 2 if kind == "BernsteinArmstrong" else found


def tabulated(kind: str, factor: float = 1.0, sizes: NDArray[np.float64] = SIZES) -> Table:
    return Table(tuple(sizes), tuple(factor * sizes * over_disc(kind, sizes)))


@pytest.mark.parametrize(("kind", "allowed"), [("Gaussian", 1e-9), ("BernsteinArmstrong", 1e-4)])
def test_density_is_the_closed_form_that_was_tabulated(kind: str, allowed: float) -> None:
    """Also between the values, under a shear, and below the first of them."""
    device.prepare("cpu", "float64")
    random = np.random.default_rng(1)
    size, angle = np.append([0.0, 0.01], 0.75 * random.random(500)), 2 * np.pi * random.random(502)
    e = jnp.asarray(np.stack([size * np.cos(angle), size * np.sin(angle)], axis=-1))
    for g in ((0.0, 0.0), (0.05, -0.04)):
        found = ellipticity.log_density(e, jnp.array(g), "Table", 0.0, tabulated(kind, factor=7.0))
        expected = ellipticity.log_density(e, jnp.array(g), kind, SIGMA)
        np.testing.assert_allclose(found, expected, atol=allowed)


def test_spline_goes_through_the_table_and_its_density_is_normalised() -> None:
    """A density without a closed form; at the tabulated sizes the density of |e| has the ratios of the table."""
    device.prepare("cpu", "float64")
    sizes = np.array([0.05, 0.13, 0.22, 0.3, 0.45, 0.6])
    table = Table(tuple(sizes), (2.0, 5.0, 7.0, 4.0, 2.0, 0.3))

    def density(size: NDArray[np.float64]) -> NDArray[np.float64]:
        on_axis = jnp.asarray(np.stack([size, 0 * size], axis=-1))
        found: NDArray[np.float64] = np.asarray(ellipticity.log_density(on_axis, ORIGIN, "Table", 0.0, table))
        return 2 * np.pi * size * np.exp(found)

    found = density(sizes)
    np.testing.assert_allclose(found / found[0], np.array(table.density) / 2.0, rtol=1e-9)
    fine = np.linspace(0, 1, 100_001)[1:-1]
    values = density(fine) * 1e-5
    assert values.sum() == pytest.approx(1, abs=1e-5)
    assert float(fine**2 @ values) == pytest.approx(2 * table.width**2, rel=1e-4)
    assert float(values[fine > 0.6].sum()) == pytest.approx(table.beyond, abs=1e-5)
    assert table.beyond > 0.005


@pytest.mark.parametrize("kind", ["Gaussian", "BernsteinArmstrong"])
def test_draws_of_a_table_are_those_of_what_it_tabulates(kind: str) -> None:
    """By a quadrature of the closed form."""
    table, random = tabulated(kind), np.random.default_rng(2)
    drawn = np.array([ellipticity.draw("Table", 0.0, random, table) for _ in range(20_000)])
    fine = np.linspace(0, 1, 4001)
    below = np.append(0.0, np.cumsum(fine[1:] * over_disc(kind, fine[1:])))
    size = np.hypot(*drawn.T)
    # False alarms: one in ten thousand for each kind.
    assert stats.kstest(size, lambda at: np.interp(at, fine, below / below[-1])).pvalue > 1e-4
    assert stats.kstest(np.arctan2(drawn[:, 1], drawn[:, 0]), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4
    shares = (np.arange(20_000) + 0.5) / 20_000
    np.testing.assert_allclose(np.interp(np.sqrt(table.squares(shares)), fine, below / below[-1]), shares, atol=1e-3)


@pytest.mark.long
def test_derivatives_of_a_table_are_finite_everywhere() -> None:
    """Free parameters need them: at round galaxies, at a knot, and beyond the table."""
    device.prepare("cpu", "float64")
    e = jnp.array([[0.0, 0.0], [SIZES[3], 0.0], [0.99, 0.0]])

    def total(g: jax.Array, table: Table | None) -> jax.Array:
        return jnp.sum(ellipticity.log_density(e, g, "Table" if table else "Gaussian", SIGMA, table))

    for derivative in (jax.grad(total), jax.hessian(total)):
        np.testing.assert_allclose(derivative(ORIGIN, tabulated("Gaussian")), derivative(ORIGIN, None), atol=1e-6)

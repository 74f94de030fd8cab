from __future__ import annotations

import galsim
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lanewise.families.shear.population import ellipticity
from lanewise.machine import device


@pytest.mark.parametrize("kind", ellipticity.POWERS)
@pytest.mark.parametrize("g", [(0.0, 0.0), (0.3, -0.2)])
@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_density_of_sheared_ellipticities_integrates_to_one(kind: str, g: tuple[float, float], sigma: float) -> None:
    device.prepare("cpu", "float64")
    # Gauss–Legendre in |e|², the trapezoidal rule in the angle.
    squares, parts = np.polynomial.legendre.leggauss(200)
    size = np.sqrt((squares + 1) / 2)[:, None]
    angle = 2 * np.pi * np.arange(400) / 400
    e = np.stack([size * np.cos(angle), size * np.sin(angle)], axis=-1)
    density = np.exp(ellipticity.log_density(jnp.asarray(e), jnp.asarray(g), kind, sigma))
    assert density.mean(axis=1) @ parts / 4 * 2 * np.pi == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("kind", ellipticity.POWERS)
def test_draws_follow_the_density(kind: str) -> None:
    device.prepare("cpu", "float64")
    random, sigma = np.random.default_rng(1), 0.3
    drawn = np.array([ellipticity.draw(kind, sigma, random) for _ in range(4000)])
    size = np.linspace(0, 1, 2001)
    on_axis = jnp.asarray(np.stack([size[:-1], 0 * size[:-1]], axis=-1))
    density = 2 * np.pi * size[:-1] * np.exp(ellipticity.log_density(on_axis, jnp.zeros(2), kind, sigma))
    below = np.append(0.0, np.cumsum(density + np.append(density[1:], 0.0)) / 2 * size[1])
    # False alarms: one in ten thousand for each kind.
    assert stats.kstest(np.hypot(*drawn.T), lambda at: np.interp(at, size, below)).pvalue > 1e-4
    assert stats.kstest(np.arctan2(drawn[:, 1], drawn[:, 0]), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4


def test_a_shear_moves_ellipticities_as_galsim_does() -> None:
    whole = galsim.Shear(g1=0.05, g2=-0.03) + galsim.Shear(g1=0.2, g2=0.4)
    assert ellipticity.sheared((0.2, 0.4), (0.05, -0.03)) == pytest.approx((whole.g1, whole.g2), abs=1e-12)

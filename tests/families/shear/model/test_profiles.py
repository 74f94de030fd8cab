"""Profiles' transforms against quadrature, GalSim and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import galsim
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from lanewise.families.shear.model import hankel
from lanewise.families.shear.model.radial import EXACT, RadialSeries
from lanewise.machine import device
from tables import known

TIGHT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9)
K = np.array([0.003, 0.1, 1.0, 5.0, 30.0])  # times the half-light radius


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def _quadrature(k: float, profile: Callable[[np.ndarray], np.ndarray], reach: float) -> float:
    """∫ I(r) J₀(kr) 2πr dr by Gauss–Legendre on panels that follow both the cusp at 0 and the oscillation."""
    edges = np.union1d(np.geomspace(1e-16, reach, 300), np.arange(0, reach, np.pi / k))
    nodes, weights = np.polynomial.legendre.leggauss(16)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    r = middle + half * nodes
    return float(np.sum(profile(r) * special.j0(k * r) * 2 * np.pi * r * half * weights))


@pytest.mark.parametrize("n", [0.5, 0.8, 1.5, 2.5, 4.0, 6.0])
def test_sersic_transform_equals_quadrature(n: float) -> None:
    b = special.gammaincinv(2 * n, 0.5)
    flux = 2 * np.pi * n * special.gamma(2 * n) / b ** (2 * n)
    # The light beyond: e^(−b reach^(1/n)) of it, below 1e-12.
    reach = float((special.gammainccinv(2 * n, 1e-12) / b) ** n)
    expected = [_quadrature(k, lambda r: np.exp(-b * r ** (1 / n)) / flux, reach) for k in K]
    np.testing.assert_allclose(hankel.sersic(K**2, n), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("beta", [2.0, 2.5, 4.0])
def test_moffat_transform_equals_galsims(beta: float) -> None:
    expected = [galsim.Moffat(beta=beta, half_light_radius=1, gsparams=TIGHT).kValue(k, 0).real for k in K]
    np.testing.assert_allclose(hankel.moffat(K**2, beta), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [0.5, 0.7, 1.5, 2.5, 4.0, 6.0])
def test_sersic_transform_equals_galsims_to_galsims_accuracy(n: float) -> None:
    # GalSim interpolates in a table that is good to 3e-7, whatever its settings.
    expected = [galsim.Sersic(n=n, half_light_radius=1, gsparams=TIGHT).kValue(k, 0).real for k in K]
    np.testing.assert_allclose(hankel.sersic(K**2, n), expected, rtol=0, atol=3e-7)


RANGES = [("Sersic", 4.0, 4.0), ("Sersic", 1.0, 4.0), ("Sersic", 0.5, 6.0), ("Moffat", 2.5, 2.5), ("Moffat", 2.0, 10.0)]


@pytest.mark.long
@pytest.mark.parametrize(("precision", "error"), [("float64", 1e-9), ("float32", 2e-6)])
@pytest.mark.parametrize(("kind", "low", "high"), RANGES)
def test_series_has_the_stated_error(kind: str, low: float, high: float, precision: str, error: float) -> None:
    profile = RadialSeries(kind, low, high, precision)
    t = np.concatenate([[0.0], np.geomspace(1e-9, 1e7, 200)])
    for shape in np.linspace(low, high, 5):
        found = profile.transform(jnp.asarray(t, precision), jnp.asarray(shape, precision))
        assert found.dtype == precision
        np.testing.assert_allclose(found, EXACT[kind].transform(t, float(shape)), rtol=0, atol=error)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "low", "high"), [("Sersic", 0.5, 6.0), ("Moffat", 2.0, 10.0)])
def test_slopes_are_the_derivatives(kind: str, low: float, high: float) -> None:
    profile = RadialSeries(kind, low, high, "float64")
    t = jnp.asarray(np.geomspace(1e-6, 1e4, 60))
    for shape in (low * 1.01, 3.0, high * 0.99):
        value, by_t, by_shape = profile.slopes(t, shape)
        np.testing.assert_allclose(value, profile.transform(t, shape), rtol=0, atol=1e-14)
        h = 1e-5
        expected = (profile.transform(t * (1 + h), shape) - profile.transform(t * (1 - h), shape)) / (2 * h * t)
        np.testing.assert_allclose(by_t * t, expected * t, rtol=0, atol=1e-8)
        expected = (profile.transform(t, shape + h) - profile.transform(t, shape - h)) / (2 * h)
        np.testing.assert_allclose(known(by_shape), expected, rtol=0, atol=1e-8)


def test_derivative_by_the_index_is_that_of_the_exact_transform() -> None:
    t = np.geomspace(1e-4, 1e4, 40)
    _, _, found = RadialSeries("Sersic", 1.0, 4.0, "float64").slopes(jnp.asarray(t), 2.3)
    h = 1e-4
    expected = (hankel.sersic(t, 2.3 + h) - hankel.sersic(t, 2.3 - h)) / (2 * h)
    np.testing.assert_allclose(known(found), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [0.5, 1.0])
def test_sersic_of_index_half_and_one_are_gaussian_and_exponential(shape: float) -> None:
    k = np.geomspace(0.01, 10, 20)
    same = {0.5: galsim.Gaussian, 1.0: galsim.Exponential}[shape](half_light_radius=1, gsparams=TIGHT)
    found = RadialSeries("Sersic", shape, shape, "float64").transform(jnp.asarray(k**2), None)
    np.testing.assert_allclose(found, [same.kValue(value, 0).real for value in k], rtol=0, atol=2e-9)

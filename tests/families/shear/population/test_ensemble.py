from __future__ import annotations

import numpy as np
import pytest

from lanewise.families.shear.population import ensemble
from lanewise.families.shear.population.nodes import Axis, Nodes

BOTH = Nodes((Axis(0.06), Axis(0.06)))


def gaussian(mean: tuple[float, float], covariance: np.ndarray, nodes: Nodes = BOTH) -> np.ndarray:
    off = nodes.points - mean
    value: np.ndarray = -0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
    return value.reshape(nodes.shape)


def flat(g: np.ndarray) -> np.ndarray:
    return np.zeros(g.shape[:-1])


@pytest.mark.parametrize("width", [1e-2, 3e-5])
def test_posterior_of_a_gaussian_likelihood_and_its_draws(width: float) -> None:
    covariance = width**2 * np.array([[1.0, 0.3], [0.3, 0.5]])
    found = ensemble.posterior(gaussian((0.01, -0.02), covariance), BOTH, flat)
    np.testing.assert_allclose(found.mean(), [0.01, -0.02], atol=1e-4 * width)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-3 * width**2)
    draws = found.draws(1000)
    np.testing.assert_allclose(draws.mean(axis=0), found.mean(), atol=1e-9 * width)
    np.testing.assert_allclose(np.cov(draws.T), found.covariance, atol=1e-9 * width**2)
    inside = np.abs(draws - found.mean()) < np.sqrt(np.diag(found.covariance))
    np.testing.assert_allclose(inside.mean(axis=0), 0.6827, atol=0.02)
    assert found.cut == ()


def test_prior_enters_once() -> None:
    sigma = 0.01
    found = ensemble.posterior(
        gaussian((0.02, 0.0), np.diag([sigma**2] * 2)), BOTH, lambda g: -np.sum(g**2, axis=-1) / (2 * sigma**2)
    )
    np.testing.assert_allclose(found.mean(), [0.01, 0.0], atol=1e-6)
    np.testing.assert_allclose(found.covariance[0, 0], sigma**2 / 2, rtol=1e-4)


def test_a_posterior_beyond_the_nodes_is_told() -> None:
    found = ensemble.posterior(gaussian((0.07, 0.0), np.diag([1e-4, 1e-4])), BOTH, flat)
    assert found.cut == ("g1",)


def test_a_known_component_has_one_node() -> None:
    nodes = Nodes((Axis(0.06), Axis(0.06, known=0.01)))
    found = ensemble.posterior(gaussian((0.02, 0.0), np.diag([1e-5, 1e-5]), nodes), nodes, flat)
    assert nodes.shape == (5, 1)
    np.testing.assert_allclose(found.mean(), [0.02, 0.01], atol=1e-7)
    assert set(found.draws(100)[:, 1]) == {0.01}


def test_a_galaxy_without_a_value_is_left_out_of_its_block() -> None:
    values = np.arange(120.0).reshape(120, 1, 1)
    values[60] = np.nan
    found = ensemble.blocks(values)
    assert found.shape == (50, 1, 1)
    assert found[10, 0, 0] == 10 + 110


def test_score_of_a_gaussian_likelihood_is_its_mean_and_its_information_the_inverse_covariance() -> None:
    covariance = 1e-4 * np.array([[1.0, 0.3], [0.3, 0.5]])
    totals = np.stack([gaussian(mean, covariance) for mean in ((0.01, -0.02), (-0.03, 0.0))])
    found = ensemble.expansion(totals, BOTH)
    np.testing.assert_allclose(found.value, [[0.01, -0.02], [-0.03, 0.0]], atol=1e-12)
    np.testing.assert_allclose(found.std, [[1e-2, 1e-2 * np.sqrt(0.5)]] * 2, rtol=1e-9)


def test_score_has_no_width_without_a_maximum_and_no_value_where_the_shear_is_known() -> None:
    rising = ensemble.expansion(-gaussian((0.01, 0.0), np.diag([1e-4, 1e-4])), BOTH)
    assert np.isnan(rising.std).all()
    nodes = Nodes((Axis(0.06), Axis(0.06, known=0.01)))
    found = ensemble.expansion(gaussian((0.02, 0.0), np.diag([1e-4, 1e-4]), nodes), nodes)
    np.testing.assert_allclose([found.value[0], found.std[0]], [0.02, 0.01], rtol=1e-9)
    assert np.isnan([found.value[1], found.std[1]]).all()

"""Posteriors that reach the edge of what exists: a shear of 1, a Sersic index of one half."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import Write, load
from lanewise.engine.engine import Engine
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.manifest.plan import Single

NUTS = {"method": "nuts", "precision": "float64", "nuts_config": {"warmup": 300, "samples": 1000, "chains": 2}}
WIDE = {"type": "Normal", "mean": 0.0, "sigma": 0.7}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nuts", "hmc"])
def test_chains_of_an_index_whose_prior_leaves_its_domain_start(write: Write, method: str) -> None:
    """A third of the prior is below .5; at this S/N the posterior is hardly narrower."""
    chains: dict[str, Any] = {
        "nuts_config": {"warmup": 100, "samples": 100, "chains": 4},
        "hmc_config": {"samples": 100},
    }
    gal = {"config__gal__type": "Sersic", "config__gal__n": {"type": "Normal", "mean": 0.7, "sigma": 0.5}}
    inference = {"method": method, f"{method}_config": chains[f"{method}_config"], "precision": "float64"}
    noise = {"config__image__noise__sigma": 1e-2, "convergence": {"ess_min": 1, "rhat_max": 9}}
    campaign = load(write(**gal, **noise, config__inference=inference, realizations__count=4, batch__size=8))
    results = Engine(campaign.manifest, campaign.plan).run(campaign.plan.chunks[0])
    assert "non_finite" not in {one.status.word for one in results}
    assert min(float(one.posterior["n"].min()) for one in results) >= 0.5


@pytest.mark.slow
def test_a_posterior_that_reaches_a_shear_of_one_is_that_of_brute_force(write: Write) -> None:
    """Mean and width of g1 and g2 against sums over a grid, within .15 widths and 12 %: four errors of 700 draws."""
    scene = {"config__gal__shear": {"g1": WIDE, "g2": WIDE}, "config__image__noise__sigma": 2.5e-2}
    scene["config__gal__position"] = {"type": "Normal", "sigma": 1e-3}
    campaign = load(write(**scene, config__inference=NUTS, convergence={"divergence_frac_max": 1}))
    config, (chunk, *_) = shear_config.of(campaign.manifest), campaign.plan.chunks
    problem = ShearProblem(config)
    axis = np.linspace(-0.995, 0.995, 200)
    g1, g2 = (one.ravel() for one in np.meshgrid(axis, axis))
    inside = g1**2 + g2**2 < 1
    g1, g2 = g1[inside], g2[inside]

    def log_likelihood(shear: tuple[jax.Array, jax.Array], data: Any) -> jax.Array:
        middle = jnp.asarray(config.image.size_x / 2)
        return problem.log_likelihood({"g1": shear[0], "g2": shear[1], "x": middle, "y": middle}, data)

    program = jax.jit(lambda data: jax.lax.map(lambda shear: log_likelihood(shear, data), (g1, g2), batch_size=64))
    reached = []
    for realization, result in zip(
        chunk.realizations, Engine(campaign.manifest, campaign.plan).run(chunk), strict=True
    ):
        assert isinstance(realization.planned, Single)
        likelihood = np.asarray(program(problem.prepare(simulate(config, realization.planned).data)))
        found = likelihood - (g1**2 + g2**2) / (2 * 0.7**2)
        weight = np.exp(found - found.max())
        weight /= weight.sum()
        reached.append(float(weight[g1**2 + g2**2 > 0.9**2].sum()))
        for name, values in (("g1", g1), ("g2", g2)):
            mean = weight @ values
            width = np.sqrt(weight @ (values - mean) ** 2)
            draws = result.posterior[name]
            assert abs(draws.mean() - mean) < 0.15 * width
            assert abs(draws.std() / width - 1) < 0.12
    assert max(reached) > 1e-3  # beyond .9

"""Mode and whitening of galaxy images, down to an S/N where the image hardly tells where the galaxy is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import SCENE
from lanewise.lanes import over_lanes
from lanewise.methods import mode, whitening
from lanewise.problems.base import Member
from lanewise.problems.shear import config as shear_config
from lanewise.problems.shear.model import ShearProblem
from lanewise.problems.shear.simulate import simulate

_N_LANES = 32
FLUX, SIZE = {"type": "LogNormal", "mean": 1.0, "sigma": 0.3}, {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}


def _lanes(sigma: float) -> tuple[ShearProblem, Any]:
    image = {**SCENE["image"], "noise": {"sigma": sigma}}
    config = shear_config.parse(
        {**SCENE, "image": image, "gal": {**SCENE["gal"], "flux": FLUX, "half_light_radius": SIZE}}
    )
    jax.config.update("jax_enable_x64", True)
    problem = ShearProblem(config)
    images = [simulate(config, Member("r", seed, {"g1": 0.02, "g2": 0.0})).data for seed in range(1, _N_LANES + 1)]
    prepared = [problem.prepare(image) for image in images]
    return problem, {name: jnp.asarray(np.stack([one[name] for one in prepared])) for name in prepared[0]}


# S/N 100, 10 and 5 of the flux.
@pytest.mark.parametrize("sigma", [*(pytest.param(s, marks=pytest.mark.slow) for s in (1.5e-3, 1.5e-2)), 3e-2])
def test_every_mode_is_found_within_the_priors_bounds(sigma: float) -> None:
    problem, data = _lanes(sigma)

    def of_lane(lane: Any) -> tuple[mode.Mode, whitening.Fit, Any]:
        hill = mode.of_latents(problem, lane)
        found = mode.find(hill, problem.start(lane), 1e-3, 100)
        fit = whitening.fit(problem, lane)
        curvature = fit.whitening.factor.T @ -jax.hessian(hill.log_density)(fit.whitening.centre) @ fit.whitening.factor
        return found, fit, curvature

    found, fit, curvature = jax.jit(over_lanes(of_lane, sequential=True))(data)
    assert np.all(found.gradient_norm <= 1e-3)
    assert np.all(fit.sane)
    centres = np.asarray(jax.vmap(problem.constrain)(found.position))[:, -2:]
    # The prior's box: the middle .3–.7 of 24 pixels. None leans on it though nothing but steps of their own length
    # keeps them from it.
    assert np.all(np.abs(centres) < 0.8 * 4.8)
    if sigma == 1.5e-3:
        # Latents' and position's densities differ by the flux's and the size's Jacobians, which bend nothing: at
        # S/N 100 the whitened curvature is the unit matrix to a percent of its own.
        np.testing.assert_allclose(curvature, np.broadcast_to(np.eye(6), curvature.shape), atol=0.02)

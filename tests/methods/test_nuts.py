"""NUTS on a galaxy image against NumPyro's own, outside the engine, on the same data."""

from __future__ import annotations

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from jax_galsim_renderer import jax_galsim
from lanewise.engine.engine import Engine
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.manifest import loading, planning
from lanewise.manifest.plan import Single


@pytest.mark.slow
def test_a_lane_equals_numpyros_own_nuts() -> None:
    loaded = loading.load(
        "manifests/snr100-nuts.yaml",
        ["realizations.count=1", "shear.grid=[0.02]", "batch.width=4", "config.inference.precision=float64"],
    )
    built = planning.build(loaded)
    (ours,) = Engine(loaded, built).run(built.chunks[0])
    # The other side draws with JAX-GalSim, so that renderer and likelihood are compared too.
    config = shear_config.of(loaded)
    draw = jax_galsim(config)
    planned = built.realizations[0].planned
    assert isinstance(planned, Single)
    image = simulate(config, planned).data["image"]

    def model() -> None:
        # The default position prior is the middle .3–.7 of the stamp.
        latents = {
            "g1": numpyro.sample("g1", dist.Normal(0.0, 0.2)),
            "g2": numpyro.sample("g2", dist.Normal(0.0, 0.2)),
            "flux": numpyro.sample("flux", dist.LogNormal(0.0, 0.3)),
            "half_light_radius": numpyro.sample("half_light_radius", dist.LogNormal(np.log(0.5), 0.1)),
            "x": numpyro.sample("x", dist.Uniform(0.3 * 48, 0.7 * 48)),
            "y": numpyro.sample("y", dist.Uniform(0.3 * 48, 0.7 * 48)),
        }
        offset = {axis: latents[axis] - 24 for axis in "xy"}
        numpyro.sample("image", dist.Normal(draw({**config.galaxy.centres, **latents, **offset}), 1.2e-3), obs=image)

    kernel = numpyro.infer.NUTS(model, init_strategy=numpyro.infer.init_to_median)
    theirs = numpyro.infer.MCMC(kernel, num_warmup=300, num_samples=1500, num_chains=2, progress_bar=False)
    theirs.run(jax.random.key(1))
    for name, draws in theirs.get_samples().items():
        mine, other = ours.posterior[name], np.asarray(draws)
        # With about 2000 effective draws on either side the means differ by 0.03 σ and the widths by 2 % (1σ).
        assert abs(mine.mean() - other.mean()) < 0.1 * other.std(), name
        assert abs(mine.std() / other.std() - 1) < 0.05, name

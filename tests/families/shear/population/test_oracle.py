"""Posteriors of single galaxies of P1, against NumPyro's own NUTS on the same stamps."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro import diagnostics, distributions

from lanewise.api import load
from lanewise.engine.chunk_data import ChunkData, MemberAt, Unusable
from lanewise.engine.engine import Engine
from lanewise.families.shear import family
from lanewise.families.shear.config import of
from lanewise.manifest.problem import Data

N_GALAXIES, N_CHAINS, N_DRAWS = 16, 2, 3000


@pytest.mark.slow
def test_posteriors_of_galaxies_are_those_of_numpyros_nuts(tmp_path: Path) -> None:
    overrides = [f"config.population.galaxies={N_GALAXIES}", "config.population.keep=draws", f"output.url={tmp_path}"]
    overrides += ["config.inference.importance_config.samples=20000", "realizations.count=1", "batch.size=1"]
    campaign = load("manifests/p1.yaml", overrides)
    chunk = campaign.plan.chunks[0]
    (result,) = Engine(campaign.manifest, campaign.plan).run(chunk)
    assert result.members is not None
    assert result.members.counts == {"ok": N_GALAXIES}
    draws, log_weights = (result.members.record[name][:, 0] for name in ("draws", "log_weight"))

    config = of(campaign.manifest)
    problem = family.problem(config)
    n_latents = len(problem.names)
    data = ChunkData(chunk.realizations, lambda one: family.observe(config, one.planned), problem, N_GALAXIES)

    def model(data: Data) -> None:
        flat = distributions.ImproperUniform(distributions.constraints.real_vector, (), (n_latents,))
        position = numpyro.sample("position", flat)
        numpyro.factor("density", problem.log_density(position, data))

    mcmc = numpyro.infer.MCMC(
        numpyro.infer.NUTS(model, dense_mass=True),
        num_warmup=500,
        num_samples=N_DRAWS,
        num_chains=N_CHAINS,
        chain_method="sequential",
        progress_bar=False,
        jit_model_args=True,
    )
    off, widths = [], []
    for at in range(N_GALAXIES):
        arrays = data.arrays(MemberAt(0, at))
        assert not isinstance(arrays, Unusable)
        given = {name: jnp.asarray(value) for name, value in arrays.items()}
        start = jnp.tile(problem.start(given), (N_CHAINS, 1))
        mcmc.run(jax.random.key(at), given, init_params={"position": start})
        theirs = np.asarray(jax.vmap(jax.vmap(problem.constrain))(mcmc.get_samples(group_by_chain=True)["position"]))
        # Then the standard error of a mean is .03 of its width, and that of a width 2 %, 3 % in a skew posterior.
        assert all(diagnostics.effective_sample_size(theirs[..., one]) > 1000 for one in range(n_latents))
        weights = np.exp(log_weights[at] - log_weights[at].max(), dtype=np.float64)
        weights /= weights.sum()
        assert 1 / np.sum(weights**2) > 4000
        mean = weights @ draws[at]
        width = np.sqrt(weights @ (draws[at] - mean) ** 2)
        expected = theirs.std(axis=(0, 1))
        off.append((mean - theirs.mean(axis=(0, 1))) / expected)
        widths.append(width / expected)
    assert np.max(np.abs(off)) < 0.1
    assert np.max(np.abs(np.array(widths) - 1)) < 0.05

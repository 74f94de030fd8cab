"""Dose response: how many of n animals die at each dose, with more scatter between groups than a binomial has.

The response is logistic in the logarithm of the dose. The groups of one dose differ from each other, so that deaths are
beta-binomial; the concentration says how much: a large one is a binomial.
"""

import jax.nn
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(data):
    ld50 = numpyro.sample("log_ld50", dist.Normal(0, 1.5))  # of the dose in mg/kg
    slope = numpyro.sample("slope", dist.LogNormal(0.7, 0.5))
    concentration = numpyro.sample("concentration", dist.LogNormal(3, 0.8))
    numpyro.deterministic("ld50", jnp.exp(ld50))  # [mg/kg]
    p = jax.nn.sigmoid(slope * (jnp.log(data["dose"]) - ld50))
    p = jnp.clip(p, 1e-4, 1 - 1e-4)  # deaths by chance, and survivors; both keep the density finite
    deaths = dist.BetaBinomial(p * concentration, (1 - p) * concentration, data["n"])
    with numpyro.plate("group", p.shape[0]):
        numpyro.sample("deaths", deaths, obs=data["deaths"])

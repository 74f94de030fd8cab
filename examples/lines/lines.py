"""A straight line through points, a few of which are outliers.

`data` holds the columns of the table that the manifest names. Latents are what numpyro.sample draws without `obs`; what
numpyro.deterministic computes from them is in the results, too.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(data):
    slope = numpyro.sample("slope", dist.Normal(0, 5))
    intercept = numpyro.sample("intercept", dist.Normal(0, 10))
    width = numpyro.sample("width", dist.LogNormal(0, 1))
    outliers = numpyro.sample("outliers", dist.Beta(1, 9))  # their share; they scatter ten times as far
    numpyro.deterministic("angle", jnp.arctan(slope))
    line = intercept + slope * data["x"]
    share = jnp.stack([1 - outliers, outliers]) * jnp.ones((line.shape[0], 1))
    points = dist.MixtureSameFamily(dist.Categorical(share), dist.Normal(line[:, None], jnp.stack([width, 10 * width])))
    with numpyro.plate("point", line.shape[0]):
        numpyro.sample("y", points, obs=data["y"])

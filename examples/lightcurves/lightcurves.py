"""Light curves of variable stars whose period is known: amplitude, phase, and scatter beyond the errors of the points.

The wave is linear in its cosine and sine parts. Amplitude and phase follow from them. As latents they would be a bad
choice: the phase wraps at ±π, and where the amplitude is near 0 the data leave it free, so that the posterior is a ring
or a funnel. Normal priors of the parts are a Rayleigh prior of the amplitude and a uniform one of the phase.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(data):
    level = numpyro.sample("level", dist.Normal(12, 2))  # [mag]
    cosine = numpyro.sample("cosine", dist.Normal(0, 0.3))  # [mag]
    sine = numpyro.sample("sine", dist.Normal(0, 0.3))  # [mag]
    scatter = numpyro.sample("scatter", dist.LogNormal(-3.5, 0.7))  # [mag]
    numpyro.deterministic("amplitude", jnp.hypot(cosine, sine))
    numpyro.deterministic("phase", jnp.arctan2(sine, cosine))  # [rad], of the maximum
    angle = 2 * jnp.pi * data["time"] / data["period"]
    wave = level + cosine * jnp.cos(angle) + sine * jnp.sin(angle)
    with numpyro.plate("epoch", angle.shape[0]):
        numpyro.sample("mag", dist.Normal(wave, jnp.hypot(scatter, data["error"])), obs=data["mag"])

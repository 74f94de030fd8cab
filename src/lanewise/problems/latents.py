"""Latents with NumPyro priors, and the unconstrained position that stands for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import biject_to


class Latents:
    """Independent scalar latents.

    The position holds one unconstrained number per latent, `biject_to(prior.support)` of which is the latent.

    Args:
        priors: NumPyro distribution per latent.
    """

    def __init__(self, priors: Mapping[str, Any]) -> None:
        self.names = tuple(priors)
        self._priors = tuple(priors.values())
        self._transforms = tuple(biject_to(prior.support) for prior in self._priors)

    @property
    def widths(self) -> dict[str, float]:
        """Standard deviations of the priors; infinite where a prior has none."""
        return {name: float(prior.variance) ** 0.5 for name, prior in zip(self.names, self._priors, strict=True)}

    def position(self, values: Mapping[str, float], dtype: Any) -> jax.Array:
        """The position of given latents, shape (n,)."""
        return jnp.stack(
            [jnp.asarray(t.inv(values[name]), dtype) for name, t in zip(self.names, self._transforms, strict=True)]
        )

    def constrain(self, position: jax.Array) -> jax.Array:
        """The latents, shape (n,)."""
        return jnp.stack([t(u) for t, u in zip(self._transforms, position, strict=True)])

    def named(self, position: jax.Array) -> dict[str, jax.Array]:
        """The latents by name."""
        return dict(zip(self.names, self.constrain(position), strict=True))

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        parts = [t.log_abs_det_jacobian(u, t(u)) for t, u in zip(self._transforms, position, strict=True)]
        return jnp.sum(jnp.stack(parts))

    def log_prior(self, position: jax.Array) -> jax.Array:
        """Log prior density with respect to the *latents*."""
        values = self.constrain(position)
        # validate_args would turn a bound touched by rounding into an exception; the transforms keep values inside.
        return jnp.sum(jnp.stack([p.log_prob(value) for p, value in zip(self._priors, values, strict=True)]))

"""y ~ N(mean, σ²), mean ~ N(0, 1); position and latent are the same."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lanewise.manifest.problem import Data


class ToyProblem:
    names = ("mean",)
    model, finer = "", None
    remedy = "there is no other form of the model"

    def __init__(self, sigma: float) -> None:
        self.sigma, self.prior_widths = sigma, {"mean": 1.0}

    def prepare(self, data: Data) -> Data:
        return data

    def start(self, data: Data) -> jax.Array:
        return jnp.zeros(1)

    def constrain(self, position: jax.Array) -> jax.Array:
        return position

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        chi2: jax.Array = jnp.sum((data["y"] - position[0]) ** 2) / self.sigma**2
        return -0.5 * (chi2 + position[0] ** 2)

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        return jnp.zeros(())

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        return jnp.eye(1) * (1 + len(data["y"]) / self.sigma**2)

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        return jnp.zeros(())

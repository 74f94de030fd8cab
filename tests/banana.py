"""A bent posterior whose moments are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gaussian import GaussianProblem

WIDTH, SCATTER = 1.0, 0.5


class BananaProblem(GaussianProblem):
    """g1 ~ N(0, WIDTH²), g2 ~ N(bend (g1² − WIDTH²), SCATTER²), whatever the data; means are 0."""

    prior_widths: Mapping[str, float] = {}

    def __init__(self, bend: float) -> None:
        self._bend = bend
        self.widths = {"g1": WIDTH, "g2": math.sqrt(2 * bend**2 * WIDTH**4 + SCATTER**2)}

    def log_density(self, position: jax.Array, data: Any) -> jax.Array:
        g1, g2 = position
        off = (g2 - self._bend * (g1**2 - WIDTH**2)) / SCATTER
        density: jax.Array = -0.5 * (g1 / WIDTH) ** 2 - 0.5 * off**2 + 0.0 * jnp.sum(data["y"])
        return density

    def curvature(self, position: jax.Array, data: Any) -> jax.Array:
        def whitened(u: jax.Array) -> jax.Array:
            return jnp.stack([u[0] / WIDTH, (u[1] - self._bend * (u[0] ** 2 - WIDTH**2)) / SCATTER])

        jacobian: jax.Array = jax.jacfwd(whitened)(position)
        return jacobian.T @ jacobian

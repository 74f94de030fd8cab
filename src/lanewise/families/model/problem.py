"""The inference problem of one data set of a model campaign."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.model import trial
from lanewise.families.model.config import ModelConfig
from lanewise.manifest.problem import Data

# Draws of the prior that are tried as starts of the search for the mode.
_DRAWS = 64


class ModelProblem:
    """The posterior of a NumPyro model.

    The data are the columns of the table by name, and `mask`, False for rows that pad the data set.

    Raises:
        DataError: the model cannot be inferred; see `trial`.
    """

    model, finer = "", None
    remedy = "there is no other form of the model"
    prior_widths: Mapping[str, float] = {}
    # The methods use the Hessian.
    curvature = None

    def __init__(self, config: ModelConfig) -> None:
        self._density = trial.examine(config)
        self.names = self._density.names

    def prepare(self, data: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The data as they are."""
        return data

    def start(self, data: Data) -> jax.Array:
        """The prior's median or one of its draws: the one with the highest density, shape (n,).

        The draws have one key: equal data sets have equal starts.
        """
        keys = jax.random.split(jax.random.key(0), _DRAWS)
        draws = jax.vmap(lambda key: self._density.prior_position(key, data))(keys)
        starts = jnp.concatenate([jnp.median(draws, axis=0)[None], draws])
        values = jax.vmap(lambda at: self.log_density(at, data))(starts)
        return starts[jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))]

    def constrain(self, position: jax.Array) -> jax.Array:
        """The latents in their own units, shape (m,)."""
        return self._density.constrain(position)

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        """log |d latents / d position|."""
        return self._density.log_jacobian(position)

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        """Log posterior density of the position, up to a constant [nats]."""
        return self._density.log_density(position, data)

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        """0: there is one form of the model."""
        return jnp.zeros((), position.dtype)

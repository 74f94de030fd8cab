"""The density of a population like the galaxies of a table."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from lanewise.families.shear.population_catalogue import Mixture


def log_density(values: jax.Array, mixture: Mixture) -> jax.Array:
    """Log density of galaxies, by the unit of each parameter.

    Args:
        values: parameters in the order of `mixture.names`, positive, shape (…, name).

    Returns:
        ln p = ln [1/n Σ_row Π N(ln x; row, smoothing)] − Σ ln x, shape (…).
    """
    logs, rows = jnp.log(values), jnp.asarray(mixture.rows, values.dtype)
    n_rows, n = rows.shape
    norm = math.log(n_rows) + n * (math.log(mixture.smoothing) + math.log(2 * math.pi) / 2)

    def one(at: jax.Array) -> jax.Array:
        return logsumexp(-jnp.sum((at - rows) ** 2, axis=-1) / (2 * mixture.smoothing**2))

    # Draw by draw: a table may have many rows.
    found: jax.Array = jax.lax.map(one, logs.reshape(-1, n)).reshape(logs.shape[:-1]) - norm
    return found - jnp.sum(logs, axis=-1)

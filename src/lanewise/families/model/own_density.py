"""A log density of the user's own, without NumPyro: `log_density(position, data)` and `start(data)`, as a model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro.distributions import Distribution, constraints

from lanewise.errors import DataError

START, DERIVED = "start", "derived"


class Flat(Distribution):  # type: ignore[misc]
    """A density of 1 on the real numbers, whose draws are all the given start."""

    support = constraints.real

    def __init__(self, start: jax.Array) -> None:
        self._start = start
        super().__init__(batch_shape=jnp.shape(start))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """The start."""
        return jnp.broadcast_to(self._start, (*sample_shape, *self.batch_shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """0."""
        return jnp.zeros(jnp.shape(value))


def is_density(function: Callable[..., Any]) -> bool:
    """Whether this is a function of a position and data, and no NumPyro model."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return sum(one.kind in kinds and one.default is inspect.Parameter.empty for one in parameters) == 2


def as_model(path: str, log_density: Callable[..., Any], beside: Mapping[str, Any]) -> Callable[..., Any]:
    """The density as a NumPyro model.

    Args:
        path: of the user's file.
        log_density: of a position, a dict of arrays of real numbers, and data: a number [nats].
        beside: what the file defines: `start(data)`, a position; perhaps `derived(position, data)`, a dict of arrays.

    Raises:
        DataError: there is no `start`.
    """
    if START not in beside:
        text = f"{log_density.__name__}(position, data) is a log density of its own, and has no start(data) beside it"
        raise DataError(f"{path}: {text}; write one that returns a position such as {{'rate': 0.0}}, or model(data)")
    start, derived = beside[START], beside.get(DERIVED)

    def model(data: Mapping[str, Any]) -> None:
        first = start(data)
        if not isinstance(first, Mapping) or not first:
            text = f"start(data) returns {type(first).__name__}, expected a dict of arrays"
            raise DataError(f"{path}: {text}, such as {{'rate': 0.0, 'level': jnp.zeros(2)}}")
        at = {name: jnp.asarray(value, jnp.result_type(float)) for name, value in first.items()}
        position = {name: numpyro.sample(name, Flat(jax.lax.stop_gradient(value))) for name, value in at.items()}
        value = log_density(position, data)
        if jnp.shape(value) != ():
            text = f"returns shape {jnp.shape(value)}, expected one number: the sum over the data"
            raise DataError(f"{path}: {log_density.__name__} {text}")
        numpyro.factor(log_density.__name__, value)
        for name, more in (derived(position, data) if derived is not None else {}).items():
            numpyro.deterministic(name, more)

    return model

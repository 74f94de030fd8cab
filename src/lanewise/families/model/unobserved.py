"""A model that draws what it observes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from numpyro.distributions import Unit
from numpyro.primitives import Messenger


class Unobserved(Messenger):  # type: ignore[misc]
    """A model that draws what it observes; factors stay."""

    def process_message(self, message: Any) -> None:
        """Take the value of an observed site away; a draw has its shape, also where the distribution is a scalar's."""
        if message["type"] == "sample" and message["is_observed"] and not isinstance(message["fn"], Unit):
            shape, fn = jnp.shape(message["value"]), message["fn"]
            message["fn"] = fn.expand(shape[: len(shape) - fn.event_dim])
            message["is_observed"], message["value"] = False, None

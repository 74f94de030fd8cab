"""Rows that pad a data set, without weight in the likelihood."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Independent
from numpyro.primitives import Messenger


class RowMask(Messenger):  # type: ignore[misc]
    """A model whose observed sites leave out the rows that are padding.

    Args:
        model: the model.
        mask: shape (row,).
        sites: names of the observed sites, and factors, whose first axis is the row.
    """

    def __init__(self, model: Callable[..., Any], mask: jax.Array, sites: Collection[str]) -> None:
        super().__init__(model)
        self._mask, self._sites = mask, sites

    def process_message(self, message: Any) -> None:
        """Mask the distribution of an observed site."""
        if message["type"] == "sample" and message["is_observed"] and message["name"] in self._sites:
            message["fn"] = masked(message["fn"], jnp.ndim(message["value"]), self._mask)


def masked(distribution: Any, value_ndim: int, mask: jax.Array) -> Any:
    """The distribution of a value of this many axes, without the rows that the mask leaves out.

    The rows of a multivariate distribution cannot be left out: it is returned as it is.
    """
    n_batch = value_ndim - distribution.event_dim
    if n_batch > 0:
        return distribution.mask(mask.reshape(mask.shape + (1,) * (n_batch - 1)))
    if isinstance(distribution, Independent):
        inner = masked(distribution.base_dist, value_ndim, mask)
        return inner.to_event(distribution.reinterpreted_batch_ndims)
    return distribution

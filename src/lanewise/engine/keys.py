"""Random keys: derived from the realization's seed, never from its position in a chunk or from a clock."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import partial

import jax
import numpy as np


class Purpose(IntEnum):
    """What a key is for. The numbers are part of every key: changing one changes results."""

    INFERENCE = 1
    SECOND_STAGE = 2
    THIRD_STAGE = 3


def lane_keys(
    *, root_seed: int, seeds: Sequence[int], purpose: Purpose, units: Sequence[int], retry: int = 0
) -> jax.Array:
    """The key of each lane, shape (lane,).

    Args:
        root_seed: the config's `rng_seed`.
        seeds: seed of each lane's realization.
        units: number of each lane within its realization, counted over members and their chains.
        retry: 0 for a first run and each of its resumes.
    """
    numbers = [(seed, purpose, retry, unit) for seed, unit in zip(seeds, units, strict=True)]
    keys: jax.Array = _folded(root_seed, np.array(numbers, dtype=np.uint32))
    return keys


@partial(jax.jit, static_argnums=0)
def _folded(root_seed: int, numbers: jax.Array) -> jax.Array:
    """Keys of all lanes in one call: one call per lane would take longer than finding a mode."""

    def of_lane(row: jax.Array) -> jax.Array:
        key = jax.random.key(root_seed)
        for number in row:
            key = jax.random.fold_in(key, number)
        return key

    keys: jax.Array = jax.vmap(of_lane)(numbers)
    return keys

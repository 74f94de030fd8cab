"""Random keys: from the realization's seed, never from its place in a chunk or a clock."""

from __future__ import annotations

from enum import IntEnum

import jax


class Purpose(IntEnum):
    """What a key is for; the numbers are part of every result."""

    INFERENCE = 1
    SECOND_STAGE = 2
    THIRD_STAGE = 3


def lane_key(root_seed: int, realization_seed: int, purpose: Purpose, unit: int, retry: int = 0) -> jax.Array:
    """The key of one lane.

    Args:
        root_seed: the config's `rng_seed`.
        realization_seed: seed of the realization's data.
        unit: number of the lane within its realization: its chain or start.
        retry: 0 for a first run and every resume of it.
    """
    key = jax.random.key(root_seed)
    for number in (realization_seed, purpose, retry, unit):
        key = jax.random.fold_in(key, number)
    return key

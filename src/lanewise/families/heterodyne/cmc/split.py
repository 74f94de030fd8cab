"""Splits the data of a fit into shards: every pair of frames is in one shard, with its values at all angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lanewise.families.heterodyne.nlsq import kernel
from lanewise.families.heterodyne.nlsq.kernel import FramePairs
from lanewise.families.heterodyne.sampling import ShardBy


class Shard(NamedTuple):
    """One shard.

    Attributes:
        n_points: number of values.
        frames: smallest and largest mean of the two frames (0-based) of a pair.
    """

    pairs: FramePairs
    n_points: int
    frames: tuple[float, float]


def split(pairs: FramePairs, n_shards: int, by: ShardBy, seed: int | Sequence[int]) -> list[Shard]:
    """Shards of equal numbers of pairs, to within one; all have arrays of one shape.

    Args:
        by: `random`, in a random order of this seed; `age`, in the order of the mean age.
    """
    first, second = (np.asarray(part).reshape(-1) for part in (pairs.first, pairs.second))
    root_weight, y = (np.moveaxis(np.asarray(part), 1, 0) for part in (pairs.root_weight, pairs.y))
    root_weight, y = (part.reshape(len(part), -1) for part in (root_weight, y))
    used = np.flatnonzero(root_weight.any(axis=0))
    if by == "random":
        order = np.random.default_rng(seed).permutation(len(used))
    else:
        order = np.argsort(first[used] + second[used], kind="stable")
    lots = np.array_split(used[order], n_shards)
    n_blocks = -(-max(map(len, lots)) // kernel.BLOCK)
    return [
        Shard(
            kernel.blocked(first[lot], second[lot], root_weight[:, lot], y[:, lot], float(pairs.centre), n_blocks),
            int(np.count_nonzero(root_weight[:, lot])),
            (float((first[lot] + second[lot]).min() / 2), float((first[lot] + second[lot]).max() / 2)),
        )
        for lot in lots
    ]

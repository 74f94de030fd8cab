"""Lanes: the slots of the mapped axis, their status, and how to map a function of one lane over many."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np


def over_lanes(function: Callable[..., Any], *, sequential: bool, at_once: int | None = None) -> Callable[..., Any]:
    """Map a function of one lane over the leading axis of its arguments.

    Args:
        function: pure, of pytrees of arrays.
        sequential: run the lanes one after the other in one compiled loop. On the CPU no lane then waits for the
            slowest, and the working set stays in cache. Accelerators need vmap.
        at_once: number of lanes in parallel on an accelerator; None: all. Use it for a function that needs more memory
            than a round, because the width is chosen for the memory of a round.
    """
    import jax

    if not sequential and at_once is None:
        return jax.vmap(function)
    several = None if sequential else at_once
    return lambda *arguments: jax.lax.map(lambda one: function(*one), arguments, batch_size=several)


class SharedOut:
    """A compiled map over lanes, divided among the local devices.

    Each device runs the single-device program on its own lanes, without synchronisation. With sequential lanes, a lane
    is therefore bit-identical on one or several devices. The number of devices used is the largest that divides the
    number of lanes.

    Args:
        mapped: function of pytrees of arrays whose leading axis is the lane.
    """

    def __init__(self, mapped: Callable[..., Any]) -> None:
        import jax

        self.jitted = jax.jit(mapped)

    def __call__(self, *arguments: Any) -> Any:
        """The results, sharded over the devices like the arguments."""
        import jax

        leaves = jax.tree.leaves(arguments)
        width, devices = leaves[0].shape[0], jax.local_devices()
        count = next(n for n in range(len(devices), 0, -1) if width % n == 0)
        if count == 1 or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self.jitted(*arguments)
        mesh = jax.sharding.Mesh(np.array(devices[:count]), ("lane",))
        spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("lane"))
        # Arrays that an earlier call left on the right device are not copied.
        placed, tree = jax.tree.flatten(jax.device_put(arguments, spread))
        pieces = [sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0) for leaf in placed]
        shares = [self.jitted(*jax.tree.unflatten(tree, [piece[at].data for piece in pieces])) for at in range(count)]

        def joined(*parts: jax.Array) -> jax.Array:
            shape = (width, *parts[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, spread, list(parts))

        return jax.tree.map(joined, *shares)

    def lower(self, *arguments: Any) -> Any:
        """The lowered single-device program for all lanes."""
        return self.jitted.lower(*arguments)


def alike(kinds: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Numbers of items of one kind, at most `size` at a time."""
    for kind in dict.fromkeys(kinds):
        own = [at for at, other in enumerate(kinds) if other == kind]
        yield from (own[first : first + size] for first in range(0, len(own), size))


def over_block(function: Callable[..., Any], size: int) -> SharedOut:
    """The function of one lane over blocks of `size` lanes, for what follows from finished fits.

    Its first argument is False for a lane that only fills up the block. One by one, as on a CPU, such a lane takes no
    time.
    """
    import jax
    import jax.numpy as jnp

    def unless_filling(counts: Any, *arguments: Any) -> Any:
        zeros = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), jax.eval_shape(function, *arguments))
        return jax.lax.cond(counts, function, lambda *_: zeros, *arguments)

    return SharedOut(over_lanes(unless_filling, sequential=jax.default_backend() == "cpu", at_once=size))

"""Checkpoints: the state of a long chunk, from which another process can continue to bit-identical results.

One object per chunk, replaced atomically. It is used only for the same chunk in the same environment (identities,
versions, device and XLA flags); otherwise the chunk starts again.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.machine import provenance
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Saved
from lanewise.storage import commits
from lanewise.storage.store import Store

# Length of the SHA-256 at the start of a checkpoint [bytes].
_DIGEST = 32


@dataclass(frozen=True)
class Policy:
    """When to write a checkpoint.

    Attributes:
        long_s: only chunks predicted to take longer than this get checkpoints [s].
        interval_s: shortest time between two checkpoints [s].
        share: largest fraction of the time that writing may take.
    """

    long_s: float = 60.0
    interval_s: float = 30.0
    share: float = 0.05


def leaves(state: Any) -> tuple[np.ndarray, ...]:
    """Copy the state of a block between two rounds to the host."""
    import jax

    found = (jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state))
    return tuple(np.asarray(leaf) for leaf in found)


def restored(init: Callable[..., Any], inputs: tuple[Any, Any, Any], saved: Sequence[np.ndarray]) -> Any:
    """The state from `leaves`. `init` is not run; it only defines the structure and the types."""
    import jax
    import jax.numpy as jnp

    shapes, structure = jax.tree.flatten(jax.eval_shape(init, *inputs))
    found = (
        jax.random.wrap_key_data(jnp.asarray(array)) if _is_key(leaf) else jnp.asarray(array, leaf.dtype)
        for leaf, array in zip(shapes, saved, strict=True)
    )
    return jax.tree.unflatten(structure, found)


def _is_key(leaf: Any) -> bool:
    import jax
    import jax.numpy as jnp

    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


class CheckpointKeeper:
    """Keeps the blocks of one chunk in storage.

    Args:
        surroundings: environment that must be equal when a checkpoint is loaded, besides the chunk.
    """

    def __init__(
        self, store: Store, chunk: Chunk, surroundings: Mapping[str, Any], policy: Policy | None = None
    ) -> None:
        self._store, self._chunk, self._policy = store, chunk, policy or Policy()
        identities = {r.run_id: r.identity for r in chunk.realizations}
        text = json.dumps([identities, dict(surroundings)], sort_keys=True)
        self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self._path = f"{commits.CHECKPOINTS}/{chunk.name}/{self._fingerprint[:16]}.checkpoint"
        self._began = self._last = time.monotonic()
        self._wait = self._policy.interval_s
        self._in_storage = False
        self._resumed = 0
        self.blocks: dict[int, Saved] = {}

    def load(self) -> int:
        """Load the checkpoint, if there is one; returns the number of rounds that it saves."""
        try:
            data = self._store.read(self._path)
        except FileNotFoundError:
            return 0
        self._in_storage = True
        self.blocks = _decode(data, self._fingerprint) or {}
        self._resumed = sum(block.rounds for block in self.blocks.values())
        return self._resumed

    def due(self, done: int, total: int) -> bool:
        """Whether to write a checkpoint after `done` of the chunk's `total` rounds."""
        now = time.monotonic()
        predicted_s = (now - self._began) * (total - self._resumed) / max(done - self._resumed, 1)
        return predicted_s > self._policy.long_s and now - self._last >= self._wait

    def save(self) -> None:
        """Write all blocks in their current state."""
        began = time.monotonic()
        self._store.put(self._path, _encode(self.blocks, self._fingerprint))
        self._in_storage = True
        self._last = time.monotonic()
        self._wait = max(self._policy.interval_s, (self._last - began) / self._policy.share)

    def clear(self) -> None:
        """Remove the chunk's checkpoints; call it after the commit."""
        if self._in_storage:
            self._store.remove(f"{commits.CHECKPOINTS}/{self._chunk.name}")


def surroundings() -> dict[str, Any]:
    """Everything besides the identity that can change the bits: versions, source, flags, device."""
    machine = provenance.machine()
    device = {name: machine[name] for name in ("platform", "device", "processor")}
    return {"versions": provenance.versions(), "source": provenance.source(), "flags": provenance.flags(), **device}


def _encode(blocks: Mapping[int, Saved], fingerprint: str) -> bytes:
    arrays: dict[str, np.ndarray] = {"fingerprint": np.array(fingerprint)}
    for number, block in blocks.items():
        arrays[f"{number}/rounds"] = np.array(block.rounds)
        arrays[f"{number}/width"] = np.array(block.width)
        if block.units is not None:
            arrays[f"{number}/units"] = block.units
        arrays |= {f"{number}/state/{at}": leaf for at, leaf in enumerate(block.state)}
        arrays |= {f"{number}/records/{name}": array for name, array in block.records.items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    body = buffer.getvalue()
    return hashlib.sha256(body).digest() + body


def _decode(data: bytes, fingerprint: str) -> dict[int, Saved] | None:
    """The blocks; None if the object is damaged or belongs to another chunk or environment."""
    # NPZ has checksums for arrays but not for their names: a changed byte in a name could swap two arrays.
    digest, body = data[:_DIGEST], data[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("fingerprint", "")) != fingerprint:
        return None
    parts: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        number, _, rest = name.partition("/")
        parts.setdefault(int(number), {})[rest] = array
    return {number: _block(part) for number, part in parts.items()}


def _block(part: Mapping[str, np.ndarray]) -> Saved:
    n_leaves = sum(name.startswith("state/") for name in part)
    return Saved(
        rounds=int(part["rounds"]),
        state=tuple(part[f"state/{at}"] for at in range(n_leaves)),
        records={name.removeprefix("records/"): a for name, a in part.items() if name.startswith("records/")},
        units=part.get("units"),
        width=int(part["width"]),
    )

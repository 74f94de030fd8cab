"""Prediction of the disk space that a campaign's results need."""

from __future__ import annotations

from dataclasses import dataclass

from lanewise.errors import ManifestError
from lanewise.operations.memory import size_text
from lanewise.storage.record import Record

# Measured for map, importance, NUTS and auto: bytes per chunk and realization without draws, and copies of the draws.
_CHUNK_BYTES = 13_000
_PACKED_BYTES, _PACKED_COPIES = 2_500, 0.97
_FILES_BYTES, _FILES_COPIES = 17_500, 1.2
# The free space is shown if the results need more than this share of it.
_MUCH = 0.1


@dataclass(frozen=True)
class Disk:
    """Space that the chunks without a commit will need.

    Attributes:
        results_bytes: packed data, commits and, in the layout `directories`, the directories; at most a quarter too
            high.
        free_bytes: free space of the file system; None for object storage.
    """

    results_bytes: int
    free_bytes: int | None

    @property
    def text(self) -> str:
        """One line for people."""
        needed = f"results: about {size_text(self.results_bytes)}"
        if self.free_bytes is None or self.results_bytes <= _MUCH * self.free_bytes:
            return needed
        return f"{needed} of {size_text(self.free_bytes)} free"


def predict(record: Record, record_bytes: int, committed: frozenset[int]) -> Disk:
    """The space that the remaining chunks need.

    Args:
        record_bytes: size of one realization's draws, see `memory.Memory`.
        committed: index of each committed chunk.

    Raises:
        ManifestError: the local disk has less free space.
    """
    each = _PACKED_BYTES + _PACKED_COPIES * record_bytes
    if record.manifest.output.layout == "directories":
        each += _FILES_BYTES + _FILES_COPIES * record_bytes
    plan = record.plan
    n_chunks = len(plan.indices) - len(committed)
    n_realizations = len(plan.realizations) - sum(map(plan.n_in, committed))
    disk = Disk(round(n_chunks * _CHUNK_BYTES + n_realizations * each), record.store.free_bytes)
    if disk.free_bytes is not None and disk.results_bytes > disk.free_bytes:
        text = f"results need about {size_text(disk.results_bytes)}, {size_text(disk.free_bytes)} are free"
        smaller = "set output.layout: packed, " if record.manifest.output.layout == "directories" else ""
        remedy = f"{smaller}free some space, or choose another output.url"
        raise ManifestError([record.manifest.document.complaint(("output", "url"), f"{text}; {remedy}")])
    return disk

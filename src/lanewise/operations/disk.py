"""The room that a campaign's results will take, told before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from lanewise.errors import ManifestError
from lanewise.operations.memory import size_text
from lanewise.storage.record import Record

# Measured for map, importance, NUTS and auto: what a chunk and a realization take beside draws, and multiples of these.
_CHUNK_BYTES = 13_000
_PACKED_BYTES, _PACKED_COPIES = 2_500, 0.97
_FILES_BYTES, _FILES_COPIES = 17_500, 1.2
# Below this share of what is free nobody needs to know what is.
_MUCH = 0.1


@dataclass(frozen=True)
class Disk:
    """What the chunks that are not committed will write.

    Attributes:
        results_bytes: packed data, commits and, unless the layout is packed, the directories; up to a quarter more than
            it will be.
        free_bytes: of the file system; None for object storage.
    """

    results_bytes: int
    free_bytes: int | None

    @property
    def text(self) -> str:
        """For a reader."""
        needed = f"results: about {size_text(self.results_bytes)}"
        if self.free_bytes is None or self.results_bytes <= _MUCH * self.free_bytes:
            return needed
        return f"{needed} of {size_text(self.free_bytes)} free"


def predict(record: Record, record_bytes: int, committed: frozenset[int]) -> Disk:
    """The room for what is open.

    Args:
        record_bytes: of one realization's draws, see `memory.Memory`.
        committed: chunks that are done.

    Raises:
        ManifestError: a local disk has not that much.
    """
    each = _PACKED_BYTES + _PACKED_COPIES * record_bytes
    if record.manifest.output.layout == "directories":
        each += _FILES_BYTES + _FILES_COPIES * record_bytes
    left = [len(chunk.realizations) for chunk in record.plan.chunks if chunk.index not in committed]
    disk = Disk(round(len(left) * _CHUNK_BYTES + sum(left) * each), record.store.free_bytes)
    if disk.free_bytes is not None and disk.results_bytes > disk.free_bytes:
        text = f"results need about {size_text(disk.results_bytes)}, {size_text(disk.free_bytes)} are free"
        smaller = "set output.layout: packed, " if record.manifest.output.layout == "directories" else ""
        remedy = f"{smaller}make room, or choose another place"
        raise ManifestError([record.manifest.document.complaint(("output", "url"), f"{text}; {remedy}")])
    return disk

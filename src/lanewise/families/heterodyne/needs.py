"""Memory and time of the fits of a chunk, from the sizes of their data."""

from __future__ import annotations

import contextlib

from lanewise.errors import DataError
from lanewise.families.heterodyne import data, tasks
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Needs

# Peak resident memory [bytes] of a process without data and per entry of the matrices of the fits at the same time; and
# time [s] to load compiled programs and per entry, of one core. Measured with 3 matrices of 500 to 2000 frames.
_PROCESS_BYTES = 0.8 * 2**30
_BYTES, _SPECKLE_BYTES = 105, 250
_START_S, _FIT_S, _SPECKLE_S = 8.0, 1.9e-5, 5.5e-5


def of_chunk(manifest: Manifest, chunk: Chunk) -> Needs | None:
    """The needs of a chunk; None if no file of it can be read: that is reported when it is fitted.

    Fits with `errors: auto` are counted as those for speckle noise.
    """
    found = [size for task in map(tasks.of, chunk.realizations) if (size := _size(task)) is not None]
    if not found:
        return None
    at_once = min(manifest.resources.cpus, len(found))
    entries = sorted((n_phi * n_frames**2, speckle) for n_phi, n_frames, speckle in found)
    memory = sum(n * (_SPECKLE_BYTES if speckle else _BYTES) for n, speckle in entries[-at_once:])
    time = sum(n * (_SPECKLE_S if speckle else _FIT_S) for n, speckle in entries)
    n_phi, n_frames, _ = max(found, key=lambda one: one[0] * one[1] ** 2)
    return Needs(
        host_bytes=round(_PROCESS_BYTES + memory),
        seconds=_START_S + time / at_once,
        what=f"{at_once} {'fit' if at_once == 1 else 'fits'} at a time, the largest of {n_phi}×{n_frames}×{n_frames}",
        remedy="fit fewer at a time (resources.cpus), average frames (data.bin_frames), or raise resources.memory",
    )


def _size(task: Task) -> tuple[int, int, bool] | None:
    """Angles, frames, and whether the errors may be those of speckle noise."""
    with contextlib.suppress(DataError):
        return *data.shape(task.input, task.config.data), task.config.errors.noise != "independent"
    return None

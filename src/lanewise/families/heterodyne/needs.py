"""Memory and time of the fits of a chunk, from the sizes of their data."""

from __future__ import annotations

from lanewise.errors import DataError
from lanewise.families.heterodyne import data, tasks
from lanewise.families.heterodyne.choice import OutsideFile
from lanewise.families.heterodyne.config import Selection
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Needs
from lanewise.storage.inputs import Input

# Peak resident memory [bytes] of a process without data and per entry of the matrices of the fits at the same time; and
# time [s] to load compiled programs and per entry, of one core. Measured with 3 matrices of 500 and 1000 frames.
_PROCESS_BYTES = 0.8 * 2**30
_BYTES, _SPECKLE_BYTES = 105, 250
_START_S, _FIT_S, _SPECKLE_S = 8.0, 1.9e-5, 5.5e-5


def of_chunk(manifest: Manifest, chunk: Chunk) -> Needs | None:
    """The needs of a chunk; None if no file of it can be read: that is reported when it is fitted.

    Fits with `errors: auto` are counted as those for speckle noise.

    Raises:
        DataError: the config asks for frames that a file does not have.
    """
    planned = [tasks.of(realization) for realization in chunk.realizations]
    # The points of a sweep share their file, which is opened once.
    shapes = {selection: _shape(*selection) for selection in ((task.input, task.config.data) for task in planned)}
    found = [(shape, task) for task in planned if (shape := shapes[task.input, task.config.data]) is not None]
    if not found:
        return None
    at_once = min(manifest.resources.cpus, len(found))
    entries = [n_matrices * n_frames**2 for (n_matrices, n_frames), _ in found]
    speckle = [task.config.errors.noise != "independent" for _, task in found]
    memory = sorted(n * (_SPECKLE_BYTES if one else _BYTES) for n, one in zip(entries, speckle, strict=True))
    time = sum(n * (_SPECKLE_S if one else _FIT_S) for n, one in zip(entries, speckle, strict=True))
    (n_matrices, n_frames), largest = found[entries.index(max(entries))]
    fits = "fit" if at_once == 1 else "fits"
    sampled = _sampling(n_matrices * n_frames * (n_frames - 1) // 2, largest) if largest.config.sampled else ""
    return Needs(
        host_bytes=round(_PROCESS_BYTES + sum(memory[-at_once:])),
        seconds=_START_S + time / at_once,
        what=f"{at_once} {fits} at a time, the largest of {n_matrices}×{n_frames}×{n_frames}{sampled}",
        remedy="fit fewer at a time (resources.cpus), average frames (data.bin_frames), or raise resources.memory",
    )


def _sampling(n_points: int, task: Task) -> str:
    """How the posterior of this many values is sampled; its time is not counted, because it depends on the sampler."""
    n_shards = task.config.cmc.shards_of(n_points)
    shards = "not sharded" if n_shards == 1 else f"in {n_shards} shards of {-(-n_points // n_shards)} values"
    return f", sampled {shards} (time and memory are those of the fits)"


def _shape(one: Input, chosen: Selection) -> tuple[int, int] | None:
    try:
        return data.shape(one, chosen)
    except DataError as error:
        if isinstance(error.__cause__, OutsideFile):
            raise
        return None

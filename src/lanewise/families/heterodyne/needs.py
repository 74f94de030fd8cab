"""Memory and time of the fits of a chunk, from the sizes of their data."""

from __future__ import annotations

from lanewise.errors import DataError
from lanewise.families.heterodyne import data, tasks
from lanewise.families.heterodyne.choice import OutsideFile
from lanewise.families.heterodyne.config import Selection
from lanewise.families.heterodyne.sampling import COMMON_POINTS, LEAPFROG
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
# Time [s] to compile a sampler, once for all data of one shape; per value and draw of importance sampling; and per
# value and step of a chain. Measured with 3 matrices of 50 to 200 frames.
_COMPILE_S, _DRAW_S, _STEP_S = 20.0, 2e-8, 1.1e-7


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
    sampled = _shards(_n_points(n_matrices, n_frames), largest) if largest.config.sampled else ""
    samplings = [_sampling(_n_points(*shape), task) for shape, task in found if task.config.sampled]
    first, most = (
        (_COMPILE_S + sum(ends) / at_once for ends in zip(*samplings, strict=True)) if samplings else (0.0, 0.0)
    )
    seconds = _START_S + time / at_once
    return Needs(
        host_bytes=round(_PROCESS_BYTES + sum(memory[-at_once:])),
        seconds=seconds + first,
        what=f"{at_once} {fits} at a time, the largest of {n_matrices}×{n_frames}×{n_frames}{sampled}",
        remedy="fit fewer at a time (resources.cpus), average frames (data.bin_frames), or raise resources.memory",
        seconds_most=seconds + most if most > first else None,
    )


def _n_points(n_matrices: int, n_frames: int) -> int:
    """Number of values: each pair of frames counts once."""
    return n_matrices * n_frames * (n_frames - 1) // 2


def _sampling(n_points: int, task: Task) -> tuple[float, float]:
    """Time [s] to sample the posterior of this many values, if the first sampler is enough and if chains must run.

    Shards take the time of all data, and then the common points. `nuts` counts as `hmc`: its steps differ from draw to
    draw.
    """
    cmc, n_shards = task.config.cmc, task.config.cmc.shards_of(n_points)
    # Those that were sampled before are read.
    sampled = n_points / n_shards if cmc.shard is not None else 0 if cmc.shard_results else n_points
    draws = max(cmc.num_samples * cmc.num_chains, COMMON_POINTS) * _DRAW_S
    steps = cmc.num_chains * (cmc.num_warmup + cmc.num_samples) * LEAPFROG * _STEP_S
    common = 0.0 if n_shards == 1 or cmc.shard is not None else n_points * draws
    if cmc.sampler == "auto":
        again = sampled if cmc.shard is not None else n_points
        return common + sampled * draws, common + sampled * draws + again * steps
    only = common + sampled * (draws if cmc.sampler == "importance" else steps)
    return only, only


def _shards(n_points: int, task: Task) -> str:
    """How the posterior of this many values is sampled."""
    cmc, n_shards = task.config.cmc, task.config.cmc.shards_of(n_points)
    if n_shards == 1:
        return ", sampled not sharded"
    what = f"{n_shards} shards of {-(-n_points // n_shards)} values"
    return f", sampled in {what}" if cmc.shard is None else f", of which 1 of {what} is sampled"


def _shape(one: Input, chosen: Selection) -> tuple[int, int] | None:
    try:
        return data.shape(one, chosen)
    except DataError as error:
        if isinstance(error.__cause__, OutsideFile):
            raise
        return None

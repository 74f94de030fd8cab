"""Computes a chunk of tasks: reads each file, fits it, and goes on to the next whatever became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lanewise import device, provenance
from lanewise.checkpoints import Saved
from lanewise.errors import DataError, InputUnreachable, StorageError
from lanewise.problems.heterodyne import outputs, results
from lanewise.problems.heterodyne.data import TwoTimeData, load_data
from lanewise.problems.heterodyne.nlsq.fit import fit
from lanewise.problems.heterodyne.results import TaskResult
from lanewise.problems.heterodyne.tasks import Task

if TYPE_CHECKING:
    from lanewise.checkpoints import Keeper
    from lanewise.plan import Chunk
    from lanewise.progress import Reporter

_PACKED = "packed"


class TaskSolver:
    """Fits tasks one after the other; those whose data have one shape share the compiled program.

    Args:
        where: `auto`, `cpu` or `gpu`.

    Raises:
        MachineError: a GPU is required and JAX has none.
    """

    def __init__(self, where: str) -> None:
        device.prepare(where, "float64")

    def run(self, chunk: Chunk, progress: Reporter, keeper: Keeper) -> list[TaskResult]:
        """One result per task, in order; a checkpoint holds those that are done.

        Raises:
            InputUnreachable: storage does not give a task's file now; nothing is recorded of the chunk.
        """
        total = len(chunk.realizations)
        progress.begin(f"chunk {chunk.index}", total)
        found: list[TaskResult] = []
        for at, realization in enumerate(chunk.realizations):
            progress.step(at, realization.member.name)
            saved = keeper.blocks.get(at)
            result = _solve(realization.member) if saved is None else _restored(saved)
            found.append(result)
            keeper.blocks[at] = Saved(1, (), {_PACKED: np.frombuffer(outputs.packed_nc([result]), np.uint8)})
            if keeper.due(at + 1, total):
                keeper.save()
        progress.step(total)
        return found


def _solve(task: Task) -> TaskResult:
    try:
        data = _read(task)
        return results.fitted(task, data, fit(data, task.config), provenance.versions())
    except StorageError as error:
        # No property of the data: tried again, it may be there.
        raise InputUnreachable(str(error)) from error
    except Exception as error:  # the border where one task's failure becomes its record
        return results.failed(task, error)


def _read(task: Task) -> TwoTimeData:
    """The task's data, if they are still those that it was planned for."""
    chosen = task.config.data
    assert chosen.q != "all"
    data = load_data(
        task.input.path,
        q=chosen.q,
        phi=chosen.phi,
        dt=chosen.dt,
        start_frame=chosen.start_frame,
        end_frame=chosen.end_frame,
    )
    if data.sha256 != task.input.sha256:
        raise DataError(
            f"{task.input.path}: was changed: it has SHA-256 {data.sha256[:16]}…, the campaign was planned for "
            f"{task.input.sha256[:16]}…"
        )
    return data


def _restored(saved: Saved) -> TaskResult:
    (result,) = outputs.unpack(saved.records[_PACKED].tobytes())
    return result

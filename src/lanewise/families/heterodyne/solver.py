"""Computes a chunk of tasks: reads and fits each file. A task that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Any

import numpy as np

from lanewise.errors import InputUnreachable
from lanewise.families.heterodyne import earlier, outputs, results
from lanewise.families.heterodyne.cmc.sample import sample
from lanewise.families.heterodyne.nlsq import fit
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import Task, of, read
from lanewise.machine import device, interrupts, provenance
from lanewise.machine.progress import Reporter
from lanewise.manifest.plan import Chunk
from lanewise.manifest.protocols import Keeper, Saved

_PACKED = "packed"
# Numbers that the blocks of one task may have in a checkpoint.
_BLOCKS = 1_000_000


class _TaskKeeper:
    """Keeps the blocks of lanes of one task, beside the results of the chunk's other tasks.

    Args:
        keeper: of the chunk.
        place: of the task in the chunk.
        lock: held while the chunk's blocks change: several tasks may run at the same time.
    """

    def __init__(self, keeper: Keeper, place: int, lock: Lock) -> None:
        self._keeper, self._lock, self._first = keeper, lock, (place + 1) * _BLOCKS
        numbers = range(self._first, self._first + _BLOCKS)
        self.blocks = {at - self._first: saved for at, saved in keeper.blocks.items() if at in numbers}

    def due(self, done: int, total: int) -> bool:
        """Whenever the last checkpoint is old enough: what is left of the chunk is not known."""
        return self._keeper.due(done, _BLOCKS)

    def save(self) -> None:
        """Write the chunk's checkpoint with this task's blocks."""
        with self._lock:
            self._keeper.blocks |= {self._first + at: saved for at, saved in self.blocks.items()}
            self._keeper.save()

    def forget(self) -> None:
        """Leave the blocks out of the next checkpoint: the task has its result."""
        with self._lock:
            for at in self.blocks:
                self._keeper.blocks.pop(self._first + at, None)


class TaskSolver:
    """Fits the tasks of a chunk; tasks whose data have the same shape share a compiled program.

    Args:
        where: `auto`, `cpu` or `gpu`.
        cpus: number of cores for the chunk. If JAX runs on the CPU, this many tasks are fitted at the same time.

    Raises:
        MachineError: a GPU is required, but JAX has none.
    """

    def __init__(self, where: str, cpus: int) -> None:
        from lanewise.machine.host import n_cores

        on_cpu = device.prepare(where, "float64")
        self._workers = min(cpus, n_cores()) if on_cpu else 1

    @property
    def made(self) -> Mapping[str, Any]:
        """Empty: a commit needs nothing more about how its chunk was computed."""
        return {}

    def run(self, chunk: Chunk, progress: Reporter, keeper: Keeper) -> list[TaskResult]:
        """One result per task, in order. A checkpoint keeps the results so far.

        Raises:
            InputUnreachable: the file of a task cannot be reached now. The chunk stays open.
        """
        tasks = [of(realization) for realization in chunk.realizations]
        found = {at: _restored(saved) for at, saved in keeper.blocks.items() if at < _BLOCKS}
        todo = [at for at in range(len(tasks)) if at not in found]
        progress.begin(f"chunk {chunk.index}", len(tasks))
        lock = Lock()
        keepers = {at: _TaskKeeper(keeper, at, lock) for at in todo}
        for at, result in self._results(tasks, keepers):
            found[at] = result
            progress.step(len(found), tasks[at].name)
            keepers[at].forget()
            with lock:
                keeper.blocks[at] = Saved(1, (), {_PACKED: np.frombuffer(outputs.packed_nc([result]), np.uint8)})
                if len(found) < len(tasks) and (interrupts.pending() or keeper.due(len(found), len(tasks))):
                    keeper.save()
            if len(found) < len(tasks):
                interrupts.stop_here()
        return [found[at] for at in range(len(tasks))]

    def _results(self, tasks: Sequence[Task], keepers: Mapping[int, _TaskKeeper]) -> Iterator[tuple[int, TaskResult]]:
        """Each result when it is ready. The first task is fitted alone, so that the others reuse its program."""
        todo = list(keepers)
        for at in todo[:1] if self._workers > 1 else todo:
            yield at, _solve(tasks[at], keepers[at])
        if self._workers == 1 or len(todo) < 2:
            return
        pool = ThreadPoolExecutor(self._workers)
        try:
            running = {pool.submit(_solve, tasks[at], keepers[at]): at for at in todo[1:]}
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            # After an error or a signal, do not start the tasks that wait.
            pool.shutdown(cancel_futures=True)


def _solve(task: Task, keeper: Keeper) -> TaskResult:
    try:
        data = read(task)
        finish = fit.prepared(data, task.config, earlier=earlier.fit(task))
        found = fit.fitted(finish)
        sampled = sample(finish, found, keeper, earlier.shards(task)) if task.config.sampled else None
        return results.fitted(task, data, found, provenance.versions(), sampled)
    except InputUnreachable:
        raise  # not a property of the data: a later attempt may succeed
    except Exception as error:  # the failure of one task becomes its result
        return results.failed(task, error)


def _restored(saved: Saved) -> TaskResult:
    (result,) = outputs.unpack(saved.records[_PACKED].tobytes())
    return result

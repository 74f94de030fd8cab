"""Figures of single fits, on request: data, model and residuals."""

from __future__ import annotations

from collections.abc import Iterator

from lanewise.errors import LanewiseError
from lanewise.families.heterodyne import figures, results, tasks
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import Task
from lanewise.report.canvas import Picture, put
from lanewise.storage import commits
from lanewise.storage.record import Record

# Largest number of blocks of frames along each axis; more make the file megabytes large and show no more.
_BLOCKS = 128


def draw(record: Record) -> Iterator[LanewiseError | str]:
    """Write `<run id>/<task>.svg` and `.pdf` for every committed fit; the data files are read again.

    Yields:
        The path of each SVG in the store, or the error that prevented it.
    """
    planned = {r.run_id: tasks.of(r) for r in record.plan.realizations}
    for commit in record.survey()[0].values():
        for result in commits.load_results(record.store, commit):
            if not isinstance(result, TaskResult) or not result.content:
                continue
            path = f"{result.run_id}/{result.task}"
            try:
                put(record.store, path, picture(planned[result.run_id], result))
                yield f"{path}.svg"
            except LanewiseError as error:
                yield error


def picture(task: Task, result: TaskResult) -> Picture:
    """The figure of one fit.

    Raises:
        DataError: the data file cannot be read, or has changed since the fit.
        StorageError: storage cannot be reached.
    """
    arrays = result.arrays
    measured, modelled = results.maps(tasks.read(task), results.model(arrays, task.config.model), _BLOCKS)
    span = (float(arrays["t"][0]), float(arrays["t"][-1]))
    return figures.fit_maps(result.task, (measured, modelled, arrays["residual_map"]), figures.titles_of(arrays), span)

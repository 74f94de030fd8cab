"""Figures of single fits, on request: what was measured, what the model says of it, and what is left over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from lanewise.errors import LanewiseError
from lanewise.families.heterodyne import c2, figures, results, tasks
from lanewise.families.heterodyne.data import without_diagonal
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import Task
from lanewise.storage import commits

if TYPE_CHECKING:
    from lanewise.api import Campaign

# Blocks of frames along each axis; more is megabytes and no clearer.
_BLOCKS = 128


def draw(campaign: Campaign) -> Iterator[LanewiseError | str]:
    """Write `<run id>/<task>.svg` of every committed fit; the data are read again.

    Yields:
        The file of each fit, or why it could not be drawn.
    """
    members: dict[str, Task] = {r.run_id: r.member for r in campaign.plan.realizations}
    for commit in campaign.survey()[0].values():
        for result in commits.load_results(campaign.store, commit):
            if not isinstance(result, TaskResult) or not result.content:
                continue
            path = f"{result.run_id}/{result.task}.svg"
            try:
                campaign.store.put(path, picture(members[result.run_id], result))
                yield path
            except LanewiseError as error:
                yield error


def picture(task: Task, result: TaskResult) -> bytes:
    """The figure of one fit, as SVG.

    Raises:
        DataError: its file cannot be read, or is no longer what was fitted.
        StorageError: storage does not give it.
    """
    arrays = result.arrays
    data = tasks.read(task)
    model = c2.two_time_correlation(
        arrays["parameters"],
        arrays["t"],
        float(arrays["q"]),
        float(arrays["dt"]),
        arrays["phi"],
        arrays["contrast"],
        arrays["offset"],
        task.config.model.fraction_clip,
    )
    model = np.stack([without_diagonal(one) for one in model])
    edges = results.block_edges(data.n_frames, _BLOCKS)
    sizes = np.diff(np.append(edges, data.n_frames))
    measured, modelled = (results.block_sums(whole, edges) / np.outer(sizes, sizes) for whole in (data.c2, model))
    span = (float(arrays["t"][0]), float(arrays["t"][-1]))
    return figures.fit_maps(result.task, (measured, modelled, arrays["residual_map"]), list(arrays["phi"]), span)

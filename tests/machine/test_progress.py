"""Progress on a terminal."""

from __future__ import annotations

from lanewise.machine.progress import Bar


def test_a_chunk_has_one_bar_over_all_stages() -> None:
    bar = Bar()
    bar.begin("chunk 0", 10)
    bar.step(10)
    (task,) = bar._progress.tasks
    began = task.start_time
    bar.begin("chunk 0", 16)
    assert (task.completed, task.total, task.start_time) == (10, 16, began)
    bar.begin("chunk 1", 4)
    assert (task.completed, task.total, task.description) == (0, 4, "chunk 1")

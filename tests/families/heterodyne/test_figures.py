"""Figures of fits: equal fits give equal bytes, whatever lies in memory."""

from __future__ import annotations

import numpy as np

from lanewise.families.heterodyne import figures


def test_a_layout_that_is_solved_for_gives_the_same_bytes_every_time() -> None:
    """The layout solver's last bits follow its variables' addresses; unrounded, twelve figures come out in two."""
    blocks = np.random.default_rng(0).normal(size=(3, 8, 8))
    kept, found = [], set()
    for n in range(12):
        kept.append([object() for _ in range(1000 * n)])  # other addresses for the next figure
        found.add(figures.residuals("task", blocks, [0.0, 5.0, 10.0]))
    assert len(found) == 1

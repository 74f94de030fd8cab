"""Figures of fits: equal fits give equal bytes, whatever lies in memory."""

from __future__ import annotations

import numpy as np
import pytest

from lanewise.families.heterodyne import draw_figures, figures


@pytest.mark.long
def test_a_layout_that_is_solved_for_gives_the_same_bytes_every_time() -> None:
    """The layout solver's last bits follow its variables' addresses; unrounded, twelve figures come out in two."""
    rng, names = np.random.default_rng(0), ("residual_map", "data_map", "model_map")
    arrays: dict[str, np.ndarray] = {name: rng.normal(size=(1, 8, 8)) for name in names}
    arrays |= {"t": np.arange(1, 9) * 0.1, "phi": np.array([5.0]), "q": np.array(0.005)}
    kept, found = [], set()
    for n in range(12):
        kept.append([object() for _ in range(1000 * n)])  # other addresses for the next figure
        found.add(figures.worst_maps("task", arrays))
    assert len(found) == 1


def test_a_corner_plot_has_the_sampled_quantities_and_the_same_bytes_every_time() -> None:
    arrays = {f"draws_{name}": np.random.default_rng(0).normal(size=(2, 300)) for name in ("J", "contrast")}
    fit = {"J": (0.0, 1.0), "contrast": (0.1, float("inf")), "offset": (1.0, 0.1)}
    first, second = (draw_figures.corner("task", arrays, fit, {"J": "J [Å²/s]"}) for _ in range(2))
    assert first == second
    assert "J [Å²/s]".encode() in first.svg
    assert b">contrast<" in first.svg
    assert b">offset<" not in first.svg

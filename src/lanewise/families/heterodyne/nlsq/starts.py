"""Starting points of the descents: a seeded Latin hypercube over what the window can resolve, and hops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lanewise.families.heterodyne.nlsq.fit_model import FitSetting
from lanewise.families.heterodyne.nlsq.scene import Scene


def design(n: int, seed: int, scene: Scene, where: FitSetting) -> np.ndarray:
    """n points of a Latin hypercube, in the fit's coordinates, shape (n, n_coordinates)."""
    rng = np.random.default_rng(seed)
    size = len(where.model.coordinate_names)
    strata = rng.permuted(np.tile(np.arange(n), (size, 1)), axis=1).T
    return where.model.design((strata + rng.uniform(size=(n, size))) / n, scene, where.box)


def hops(x: np.ndarray, fresh: np.ndarray, seed: int | Sequence[int], groups: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Copies of x, one per row of `fresh`, in which one or two random groups of coordinates come from that row.

    For each minimum of the strong component the weak one has several minima, and independent starts seldom find the
    right pair.
    """
    rng = np.random.default_rng(seed)
    found = np.tile(x, (len(fresh), 1))
    for row, point in zip(found, fresh, strict=True):
        for group in rng.choice(len(groups), size=min(int(rng.integers(1, 3)), len(groups)), replace=False):
            columns = list(groups[group])
            row[columns] = point[columns]
    return found


def anchor(where: FitSetting, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected value and spread of each coordinate for ages t [s]; an infinite spread: no expectation."""
    size = len(where.model.coordinate_names)
    centre, spread = np.zeros(size), np.full(size, np.inf)
    for k, (value, width) in where.model.anchor(t).items():
        centre[k], spread[k] = value, width
    return centre, spread

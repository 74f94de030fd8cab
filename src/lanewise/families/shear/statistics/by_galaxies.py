"""σ_m of few pairs of populations, from the scatter of their galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lanewise.families.shear.statistics.selection import COMPONENTS, Component
from lanewise.statistics.regression import Array


class Arm(NamedTuple):
    """A population under one shear.

    Attributes:
        seed: arms of one seed share their galaxies, in the same order.
        turned: whether its galaxies are turned by 90°.
        truth: (g1, g2) [reduced shear].
        without: estimates (g1, g2) without each block of galaxies in turn, shape (block, 2).
    """

    seed: int
    turned: bool
    truth: tuple[float, float]
    without: Array


def errors(arms: Sequence[Arm]) -> dict[Component, float]:
    """σ_m by a jackknife over galaxies, of the components with ±g pairs.

    What both arms of a pair share cancels in each block. Pairs of different seeds are independent; those of one seed
    are taken as such, too, which is right for one |g| without rings.
    """
    found: dict[Component, float] = {}
    there = {(arm.seed, arm.turned, *arm.truth): arm for arm in arms}
    for at, component in enumerate(COMPONENTS):
        sizes, variances = [], []
        for arm in arms:
            other = there.get((arm.seed, arm.turned, 0.0 - arm.truth[0], 0.0 - arm.truth[1]))
            if arm.truth[at] <= 0 or other is None or other.without.shape != arm.without.shape:
                continue
            response = (arm.without - other.without)[:, at] / (2 * arm.truth[at])
            n = len(response)
            sizes.append(arm.truth[at] ** 2)
            variances.append((n - 1) / n * np.sum((response - response.mean()) ** 2))
        if sizes:
            # The slope of a line weights responses by g².
            found[component] = float(np.sqrt(np.square(sizes) @ np.array(variances)) / np.sum(sizes))
    return found

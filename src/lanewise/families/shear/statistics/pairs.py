"""Pairs of ±g and rings of e and −e: what their arms share, and what is left of it in m and c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lanewise.families.shear.family import TURNED
from lanewise.statistics.regression import Array, Measure, fit, measures, shifted


class Arms(Protocol):
    """Estimates of one component, each an arm of a pair or ring that shares its seed."""

    @property
    def run_id(self) -> tuple[str, ...]:
        """One per arm; that of a galaxy turned by 90° ends in `_r90`."""
        ...

    @property
    def seed(self) -> NDArray[np.int64]:
        """The arms of one seed share galaxy and noise."""
        ...

    @property
    def truth(self) -> Array:
        """True shear [reduced shear]."""
        ...

    @property
    def value(self) -> Array:
        """Estimates [reduced shear]."""
        ...


@dataclass(frozen=True)
class Pairs:
    """m and c of ±g pairs.

    Of a noise s that correlates by ρ between the arms, Var m = s² (1 − ρ) / (2 g² Np), Var c = s² (1 + ρ) / (2 Np):
    pairs help m, and hurt c.

    Attributes:
        n_pairs: pairs with both arms.
        n_groups: seeds among them; the independent unit, a ring of two pairs where galaxies are turned.
        m: mean response (ĝ₊ − ĝ₋) / 2g − 1, by least squares where there are several |g|.
        c: mean of (ĝ₊ + ĝ₋) / 2 [reduced shear].
        correlation: ρ of the noise of the two arms; None for fewer than three pairs, or without noise.
        ring_correlation: of the noise of a galaxy and the same one turned; None without rings.
    """

    n_pairs: int
    n_groups: int
    m: Measure
    c: Measure
    correlation: float | None
    ring_correlation: float | None


def pairs(data: Arms) -> Pairs | None:
    """The pairs among the estimates; None without any at a shear that is not zero in this component."""
    turned = np.array([name.endswith(TURNED) for name in data.run_id], dtype=bool)
    found = _matched(data.seed, data.truth, turned, opposite=True)
    if len(found) == 0:
        return None
    plus, minus = found.T
    difference, half_sum = (data.value[plus] - data.value[minus]) / 2, (data.value[plus] + data.value[minus]) / 2
    seed, unknown = data.seed[plus], np.full(len(plus), np.nan)
    slope = fit(data.truth[plus][:, None], difference, unknown, seed)
    level = fit(np.ones((len(plus), 1)), half_sum, unknown, seed)
    if slope is None or level is None:
        return None
    noise = data.value - data.truth
    rings = _matched(data.seed, data.truth, turned, opposite=False)
    return Pairs(
        n_pairs=len(plus),
        n_groups=len(np.unique(seed)),
        m=shifted(measures(slope, None)[0], -1.0),
        c=measures(level, None)[0],
        correlation=_correlation(noise[plus], noise[minus]),
        ring_correlation=_correlation(noise[rings[:, 0]], noise[rings[:, 1]]) if len(rings) else None,
    )


def responses(data: Arms) -> Array:
    """(ĝ₊ − ĝ₋) / 2g of every pair, shape (pair,)."""
    turned = np.array([name.endswith(TURNED) for name in data.run_id], dtype=bool)
    plus, minus = _matched(data.seed, data.truth, turned, opposite=True).T
    found: Array = (data.value[plus] - data.value[minus]) / (2 * data.truth[plus])
    return found


def _matched(seed: NDArray[np.int64], truth: Array, turned: NDArray[np.bool_], *, opposite: bool) -> NDArray[np.int64]:
    """Rows of both arms, shape (pair, 2): of +g and −g, or of a galaxy and the same one turned."""
    at = {(int(s), float(g), bool(t)): row for row, (s, g, t) in enumerate(zip(seed, truth, turned, strict=True))}
    found = [
        (row, at[partner])
        for (s, g, t), row in at.items()
        for partner in [(s, -g, t) if opposite else (s, g, not t)]
        if partner in at and ((g > 0) if opposite else not t)
    ]
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def _correlation(a: Array, b: Array) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])

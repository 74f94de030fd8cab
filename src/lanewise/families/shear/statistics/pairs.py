"""Pairs of ±g and rings of e and −e: noise correlation of their arms, and m and c from pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.statistics.regression import Array, Measure, fit, measures, shifted


@dataclass(frozen=True)
class Pairs:
    """m and c of ±g pairs.

    For Np pairs with noise s per arm and correlation ρ between the arms, Var m = s² (1 − ρ) / (2 g² Np) and
    Var c = s² (1 + ρ) / (2 Np): for ρ > 0, pairs make m more precise and c less precise.

    Attributes:
        n_pairs: number of complete pairs.
        n_groups: number of seeds, i.e. of independent groups; with rotated galaxies, a group is a ring of two pairs.
        m: mean of (ĝ₊ − ĝ₋) / 2g − 1; by least squares if there are several |g|.
        c: mean of (ĝ₊ + ĝ₋) / 2 [reduced shear].
        correlation: ρ between the noise of the two arms; None with fewer than three pairs, or without noise.
        ring_correlation: between the noise of a galaxy and of the same galaxy rotated; None without rings.
    """

    n_pairs: int
    n_groups: int
    m: Measure
    c: Measure
    correlation: float | None
    ring_correlation: float | None


def pairs(data: Estimates) -> Pairs | None:
    """m and c from the pairs with nonzero shear in this component; None if there are no such pairs."""
    found = _matched(data, opposite=True)
    if len(found) == 0:
        return None
    plus, minus = found.T
    difference, half_sum = (data.value[plus] - data.value[minus]) / 2, (data.value[plus] + data.value[minus]) / 2
    seed, unknown = data.seed[plus], np.full(len(plus), np.nan)
    slope = fit(data.truth[plus][:, None], value=difference, width=unknown, seed=seed)
    level = fit(np.ones((len(plus), 1)), value=half_sum, width=unknown, seed=seed)
    if slope is None or level is None:
        return None
    noise = data.value - data.truth
    rings = _matched(data, opposite=False)
    return Pairs(
        n_pairs=len(plus),
        n_groups=len(np.unique(seed)),
        m=shifted(measures(slope, None)[0], -1.0),
        c=measures(level, None)[0],
        correlation=_correlation(noise[plus], noise[minus]),
        ring_correlation=_correlation(noise[rings[:, 0]], noise[rings[:, 1]]) if len(rings) else None,
    )


def responses(data: Estimates) -> Array:
    """Response (ĝ₊ − ĝ₋) / 2g of each pair, shape (pair,)."""
    plus, minus = _matched(data, opposite=True).T
    return np.asarray((data.value[plus] - data.value[minus]) / (2 * data.truth[plus]))


def _matched(data: Estimates, *, opposite: bool) -> NDArray[np.int64]:
    """Row numbers of both arms, shape (pair, 2): of +g and −g, or of a galaxy and the same galaxy rotated."""
    seed, size, positive, turned = data.seed, np.abs(data.truth), data.truth > 0, data.turned
    # Sorted so that the two arms of a pair are neighbours, the one with +g, or the one that is not rotated, first.
    last, other = (~positive, turned) if opposite else (turned, positive)
    order = np.lexsort((last, other, size, seed))
    first, second = order[:-1], order[1:]
    pair = (seed[first] == seed[second]) & (size[first] == size[second]) & (other[first] == other[second])
    pair &= ~last[first] & last[second]
    if opposite:
        pair &= size[first] > 0
    found = np.stack([first[pair], second[pair]], axis=1)
    return found[np.argsort(found[:, 0], kind="stable")]


def _correlation(a: Array, b: Array) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])

"""How many realizations a wanted error needs, told from a pilot: what the campaign itself has committed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lanewise.families.shear.observations import Observations
from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.families.shear.statistics.selection import Component
from lanewise.manifest.protocols import Design, Forecast
from lanewise.storage.record import Record


def n_per_count(record: Record) -> int | None:
    """Realizations that one more of `realizations.count` brings; None where a campaign cannot be extended."""
    if isinstance(record.manifest.extent, Observations):
        return None
    asked = record.manifest.realizations
    return len(record.plan.realizations) // (asked.count + sum(asked.extensions))


def of_results(
    results: BiasResults,
    target: float,
    per_count: int,
    data: Mapping[Component, Estimates] | None = None,
    galaxies_each: int = 1,
    by_galaxies: Mapping[Component, float] = MappingProxyType({}),
) -> tuple[Forecast, ...]:
    """What every component needs whose m has an error; σ_m falls as 1/√n.

    A pilot of very few realizations has only the error by its galaxies, or what its posterior widths predict.

    Args:
        target: σ_m wanted.
        per_count: from `n_per_count`.
        data: the estimates behind the results; without them no designs are compared.
        galaxies_each: galaxies of a realization.
        by_galaxies: σ_m of pairs of populations from the scatter of their galaxies.
    """
    found, tally = [], results.tally
    for bias in results.components:
        m = bias.m or bias.m_single_point
        error = None if m is None else m.error or by_galaxies.get(bias.component) or m.error_predicted
        if error is None:
            continue
        needed = math.ceil(round(bias.n * (error / target) ** 2, 6))
        # Of those that are computed; the missing ones are still to come.
        kept = tally.n_used / (tally.n_planned - tally.n_missing)
        count = max(0, math.ceil(round((needed / kept - tally.n_planned) / per_count, 6)))
        own = (data or {}).get(bias.component)
        ways = {} if own is None else relative_variances(own)
        designs = tuple(Design(name, math.ceil(needed * ratio)) for name, ratio in ways.items())
        n_galaxies = needed * galaxies_each
        found.append(Forecast(bias.component, error, target, bias.n, needed, count, designs, n_galaxies))
    return tuple(found)


def relative_variances(data: Estimates) -> dict[str, float]:
    """Var m of as many realizations without partners, in pairs, and in rings, over that of the campaign.

    m is the slope of a line, so that its error is a sum over groups of realizations whose noise is independent. Groups
    that are taken apart give the variance of a campaign without them. So a pilot of rings of pairs tells all four
    designs, one of pairs tells two, and one without partners tells its own.

    Returns:
        Design → ratio; empty if the truths do not determine a slope.
    """
    away = data.truth - np.mean(data.truth)
    total = float(np.sum(away**2))
    if total == 0:
        return {}
    value = data.value - np.mean(data.value)
    score = away * (value - away * np.sum(away * value) / total)
    size, turned = np.abs(data.truth), data.turned.astype(float)
    keys = {
        "plain": (data.seed, data.truth, turned),
        "pairs": (data.seed, size, turned),
        "rings": (data.seed, data.truth),
        "pairs in rings": (data.seed, size),
    }
    groups = {name: _groups(columns) for name, columns in keys.items()}
    own = _variance(score, groups["pairs in rings"])
    paired, ringed = (len(np.unique(groups[name])) < len(score) for name in ("pairs", "rings"))
    there = {"plain": True, "pairs": paired, "rings": ringed, "pairs in rings": paired and ringed}
    return {name: _variance(score, groups[name]) / own for name, is_there in there.items() if is_there and own > 0}


def _groups(columns: tuple[NDArray[np.generic], ...]) -> NDArray[np.int64]:
    """The number of each row's group: rows that agree in all columns."""
    rows = np.stack([column.astype(np.float64) for column in columns])
    return np.unique(rows, axis=1, return_inverse=True)[1].ravel()


def _variance(score: NDArray[np.float64], group: NDArray[np.int64]) -> float:
    return float(np.sum(np.bincount(group, weights=score) ** 2))

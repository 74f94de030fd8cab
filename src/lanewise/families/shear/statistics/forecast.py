"""How many realizations a wanted error needs, told from a pilot: what the campaign itself has committed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from lanewise.families.shear.observations import Observations
from lanewise.families.shear.shears import Shears
from lanewise.families.shear.statistics import bias
from lanewise.families.shear.statistics.bias import ComponentBias
from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.families.shear.statistics.selection import Component
from lanewise.manifest.protocols import Forecast
from lanewise.storage.record import Record


def n_per_count(record: Record) -> int | None:
    """Realizations that one more of `realizations.count` brings; None where a campaign cannot be extended."""
    if isinstance(record.manifest.extent, Observations):
        return None
    asked = record.manifest.realizations
    return len(record.plan.realizations) // (asked.count + sum(asked.extensions))


def of_results(
    results: BiasResults, data: Mapping[Component, Estimates], shears: Shears, target: float, per_count: int
) -> tuple[Forecast, ...]:
    """What every component needs whose m has an error; σ_m falls as 1/√n.

    A pilot of very few realizations has only the error that its posterior widths predict.

    Args:
        data: the estimates behind the results.
        target: σ_m wanted.
        per_count: from `n_per_count`.
    """
    found, planned = [], results.tally.n_planned
    for one in results.components:
        error = _error(one)
        if error is None:
            continue
        needed = _needed(one.n, error, target)
        # Of those that are computed; the missing ones are still to come.
        kept = results.tally.n_used / (planned - results.tally.n_missing)
        count = max(0, math.ceil(round((needed / kept - planned) / per_count, 6)))
        designs = dict(_designs(one.component, data[one.component], shears, target))
        found.append(Forecast(one.component, error, target, one.n, needed, count, designs))
    return tuple(found)


def _designs(component: Component, data: Estimates, shears: Shears, target: float) -> Iterator[tuple[str, int]]:
    """What each design needs: of these realizations, as if arms that it does not have had other galaxies and noise."""
    designs = {"plain": (False, False), "paired": (True, False), "ring": (False, True), "paired ring": (True, True)}
    for name, (paired, ring) in designs.items():
        if paired > shears.paired or ring > shears.ring:
            continue
        # The arms of a group have one seed. Those that the design does not combine get groups of their own.
        arms = [*([] if paired else [data.truth < 0]), *([] if ring else [data.turned])]
        group = np.unique(np.stack([data.seed, *arms]), axis=1, return_inverse=True)[1].ravel()
        error = _error(bias.component_bias(component, replace(data, seed=group)))
        if error is not None:
            yield name, _needed(len(data.truth), error, target)


def _needed(n: int, error: float, target: float) -> int:
    return math.ceil(round(n * (error / target) ** 2, 6))


def _error(found: ComponentBias) -> float | None:
    m = found.m or found.m_single_point
    return None if m is None else m.error or m.error_predicted

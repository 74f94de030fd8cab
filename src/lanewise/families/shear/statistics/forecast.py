"""How many realizations a wanted error needs, told from a pilot: what the campaign itself has committed."""

from __future__ import annotations

import math

from lanewise.families.shear.observations import Observations
from lanewise.families.shear.statistics.results import BiasResults
from lanewise.manifest.protocols import Forecast
from lanewise.storage.record import Record


def n_per_count(record: Record) -> int | None:
    """Realizations that one more of `realizations.count` brings; None where a campaign cannot be extended."""
    if isinstance(record.manifest.extent, Observations):
        return None
    asked = record.manifest.realizations
    return len(record.plan.realizations) // (asked.count + sum(asked.extensions))


def of_results(results: BiasResults, target: float, per_count: int) -> tuple[Forecast, ...]:
    """What every component needs whose m has an error; σ_m falls as 1/√n.

    A pilot of very few realizations has only the error that its posterior widths predict.

    Args:
        target: σ_m wanted.
        per_count: from `n_per_count`.
    """
    found = []
    kept = results.tally.n_used / results.tally.n_planned if results.tally.n_planned else 1.0
    for bias in results.components:
        m = bias.m or bias.m_single_point
        error = None if m is None else m.error or m.error_predicted
        if error is None:
            continue
        needed = math.ceil(round(bias.n * (error / target) ** 2, 6))
        count = max(0, math.ceil((needed - bias.n) / kept / per_count))
        found.append(Forecast(bias.component, error, target, bias.n, needed, count))
    return tuple(found)

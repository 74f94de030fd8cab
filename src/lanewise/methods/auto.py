"""`auto`: for each realization the cheapest method that is reliable for it.

It is a cascade of methods: the engine runs the stages one after the other, each on the realizations that the stage
before did not settle. The few expensive realizations are thus collected, and fill whole batches of lanes.
"""

from __future__ import annotations

from lanewise.engine.lanes import LaneStatus
from lanewise.engine.results import Result
from lanewise.methods.settings import AutoSettings


def settled(result: Result, settings: AutoSettings) -> bool:
    """Whether a realization needs no further stage: it converged, and k̂ of its weights is below `khat_max`."""
    khat = result.diagnostics.khat
    unfinished = {LaneStatus.NOT_CONVERGED, LaneStatus.NON_FINITE}
    return result.status not in unfinished and (khat is None or khat < settings.khat_max)

"""`auto`: for each realization the cheapest method that carries it.

A cascade and no method of its own: the engine runs the stages one after the other, each on the realizations that the
one before did not settle, so that few expensive ones fill lanes of their own.
"""

from __future__ import annotations

from lanewise.engine.lanes import LaneStatus
from lanewise.engine.results import Result
from lanewise.methods.settings import AutoSettings


def settled(result: Result, settings: AutoSettings) -> bool:
    """Whether a realization needs no further stage: converged, and far from where its weights could not be believed."""
    khat = result.diagnostics.khat
    open_ends = {LaneStatus.NOT_CONVERGED, LaneStatus.NON_FINITE}
    return result.status not in open_ends and (khat is None or khat < settings.khat_max)

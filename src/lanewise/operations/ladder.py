"""What is tried next with a realization that did not converge: data, a few rungs for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lanewise.engine.lanes import LaneStatus


@dataclass(frozen=True)
class Rung:
    """One change of the config's own method and settings.

    Attributes:
        change: in words, as attempts record it.
        times: settings that are multiplied.
        values: settings that are set, where they are not beyond it already.
        method: another method, with the settings that the config has for it.
    """

    change: str
    times: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    method: str | None = None


# From the first retry on; the last rung serves every further one. A mode is never replaced by draws: it would be
# another estimator.
LADDERS: dict[str, tuple[Rung, ...]] = {
    "nuts": (
        Rung("warm-up four times as long", {"warmup": 4}),
        Rung("smaller steps", {"warmup": 4}, {"target_accept": 0.95}),
        Rung("chains four times as long", {"warmup": 4, "samples": 4}, {"target_accept": 0.95}),
        Rung("another method, hmc", method="hmc"),
        Rung("chains sixteen times as long", {"warmup": 16, "samples": 16}, {"target_accept": 0.99}),
    ),
    "hmc": (
        Rung("chains four times as long", {"burn_in": 4, "samples": 4}),
        Rung("another method, nuts", method="nuts"),
    ),
    "importance": (
        Rung("four times the draws", {"samples": 4}),
        Rung("another method, hmc", method="hmc"),
        Rung("another method, nuts", method="nuts"),
    ),
    "auto": (Rung("its last stage with another key, nuts", method="nuts"),),
    "vi": (Rung("four times the steps", {"num_steps": 4}),),
    "map": (Rung("ten times the steps", {"max_iterations": 10}),),
    # More rounds begin with those that were made.
    "nlsq": (
        Rung("four times the rounds", {"rounds": 4, "max_iterations": 4}),
        Rung(
            "four times the starts, too", {"rounds": 4, "max_iterations": 4, "candidates": 4, "starts": 4, "polish": 2}
        ),
    ),
}


def of(method: str) -> tuple[Rung, ...]:
    """The rungs of a method; empty if it has none."""
    return LADDERS.get(method, ())


def mendable(method: str) -> frozenset[LaneStatus]:
    """Statuses that a retry may change: what failed may have failed for a passing reason, the rest needs a rung."""
    failed = frozenset({LaneStatus.FAILED, LaneStatus.NON_FINITE})
    return failed | {LaneStatus.NOT_CONVERGED} if of(method) else failed


def climb(config: Any, rung: Rung) -> Any:
    """The config with a rung's change; its content, and so the identity, is that of the original's realizations."""
    if rung.method is not None:
        return config.with_method(rung.method)
    settings = config.settings
    changes: dict[str, Any] = {name: getattr(settings, name) * factor for name, factor in rung.times.items()}
    changes |= {name: max(getattr(settings, name), value) for name, value in rung.values.items()}
    return config.with_settings(replace(settings, **changes))

"""Ladders: the changes that `lanewise retry` tries for a realization that did not converge, per method."""

from __future__ import annotations

from collections.abc import Mapping

from lanewise.manifest.manifest import Rung

# Retry n uses rung n; further retries use the last rung. `map` is never replaced by draws, because that would be
# another estimator.
LADDERS: Mapping[str, tuple[Rung, ...]] = {
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
}

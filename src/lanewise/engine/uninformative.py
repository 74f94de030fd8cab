"""Mark results whose posterior is as wide as the prior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lanewise.engine.results import Result
from lanewise.manifest.status import LaneStatus

# At 0.9 of the prior's width, the data add less than a quarter of the prior's information (1/0.9² − 1 = 0.23).
# 100 effective draws give a width to 7 %. If the posterior of two latents equals the prior, this limit detects it in
# 85 % of cases, and with 400 draws in 99 %. A posterior half as wide as its prior is never marked (11σ).
_PRIOR_LIKE = 0.9


def mark_uninformative(result: Result, prior_widths: Mapping[str, float]) -> Result:
    """Set the status UNINFORMATIVE if every requested latent has a posterior at least 0.9 times as wide as its prior.

    Never use the posterior mean: exclusion by the estimate would bias the mean of the remaining results.

    Args:
        result: returned unchanged unless its status is OK.
        prior_widths: standard deviation of the prior of each requested latent; if empty, no result is marked.
    """
    widths = {name: result.width(name) for name in prior_widths}
    shares = {name: width / prior_widths[name] for name, width in widths.items() if width is not None}
    if result.status is not LaneStatus.OK or not shares or min(shares.values()) < _PRIOR_LIKE:
        return result
    parts = [f"the {name} posterior is {100 * share:.0f} % as wide as its prior" for name, share in shares.items()]
    return replace(result, status=LaneStatus.UNINFORMATIVE, reason=f"Uninformative: {' and '.join(parts)}.")

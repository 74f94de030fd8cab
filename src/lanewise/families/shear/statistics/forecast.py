"""How many realizations a wanted error needs, told from a pilot: what the campaign itself has committed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lanewise.errors import UsageError
from lanewise.manifest import registry

if TYPE_CHECKING:
    from lanewise.api import Campaign
    from lanewise.families.shear.statistics.results import BiasResults


@dataclass(frozen=True)
class Forecast:
    """What one component's m needs.

    Attributes:
        sigma_m: of the pilot. target: what is wanted.
        n: realizations behind it.
        n_needed: in all, n (σ_m / target)².
        count: for `lanewise extend --count`; 0 if the pilot is enough.
    """

    component: str
    sigma_m: float
    target: float
    n: int
    n_needed: int
    count: int


def n_per_count(campaign: Campaign) -> int | None:
    """Realizations that one more of `realizations.count` brings; None where a campaign cannot be extended."""
    if registry.family(campaign.manifest.kind).no_extension(campaign.manifest):
        return None
    asked = campaign.manifest.realizations
    return len(campaign.plan.realizations) // (asked.count + sum(asked.extensions))


def command(manifest: str, count: int) -> str:
    """What brings so many more realizations per shear point, and computes them."""
    return f"lanewise extend {manifest} --count {count} && lanewise run {manifest}"


def forecasts(results: BiasResults, target: float, per_count: int) -> tuple[Forecast, ...]:
    """What every component needs whose m has an error; σ_m falls as 1/√n.

    Args:
        target: σ_m wanted.
        per_count: from `n_per_count`.
    """
    found = []
    kept = results.tally.n_used / results.tally.n_planned if results.tally.n_planned else 1.0
    for bias in results.components:
        m = bias.m or bias.m_single_point
        if m is None or m.error is None:
            continue
        needed = math.ceil(round(bias.n * (m.error / target) ** 2, 6))
        count = max(0, math.ceil((needed - bias.n) / kept / per_count))
        found.append(Forecast(bias.component, m.error, target, bias.n, needed, count))
    return tuple(found)


def of_campaign(campaign: Campaign, target: float) -> tuple[Forecast, ...]:
    """The forecasts from what is committed.

    Raises:
        UsageError: the campaign has no m, cannot be extended, or has nothing committed that gives an error.
    """
    from lanewise.families.shear import aggregate
    from lanewise.families.shear.statistics import summary as extract

    if campaign.manifest.kind != "shear":
        raise UsageError(f"--target-sigma-m: kind {campaign.manifest.kind} has no m")
    per_count = n_per_count(campaign)
    if per_count is None:
        raise UsageError(f"--target-sigma-m: {registry.family('shear').no_extension(campaign.manifest)}")
    summary, damaged = extract.survey(campaign)
    found = forecasts(aggregate.judge(campaign, summary, damaged), target, per_count)
    if not found:
        raise UsageError(
            "--target-sigma-m: too little is committed to tell an error of m; run a pilot first, "
            "some ten realizations at two shears"
        )
    return found


def text(found: Sequence[Forecast], manifest: str) -> str:
    """What a reader needs: a line per component, and the command."""
    lines = []
    for one in found:
        pilot = f"σ_m of {one.component} is {one.sigma_m:.2g} from {one.n} realizations"
        if one.count:
            more = f"about {one.n_needed} in all bring it to {one.target:g}"
        else:
            more = f"that is {one.target:g} or less already"
        lines.append(f"{pilot}; {more}")
    most = max(one.count for one in found)
    return "\n".join([*lines, f"next: {command(manifest, most)}"] if most else lines)

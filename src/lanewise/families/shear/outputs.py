"""The summary of a shear or calibration campaign."""

from __future__ import annotations

from typing import Any

from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Result
from lanewise.families.shear.columns import SUMMARY_COLUMNS


def of_population(result: Result) -> dict[str, Any]:
    """Columns of a population; empty for a single image.

    The columns of half of the draws are those of half of each galaxy's draws.
    """
    if result.members is None:
        return {}
    from lanewise.families.shear.population import ensemble
    from lanewise.families.shear.population.membership import COMPONENTS, GROUP

    n, n_ok = len(result.members.status), result.member_counts.get("ok", 0)
    row: dict[str, Any] = {"galaxies": n, "galaxies_failed": n - n_ok}
    if GROUP not in result.groups:
        return row
    found = result.groups[GROUP]
    row["galaxies_selected"] = int(found["n_selected"][0])
    row["size_min"] = float(found["smallest_size"][0])
    errors = ensemble.jackknife_error(found["without_block"])
    for at, name in enumerate(COMPONENTS):
        if name in result.posterior:
            row[f"{name}_jackknife"], row[f"{name}_expansion"] = float(errors[at]), float(found["expansion"][at])
            row[f"{name}_half_mean"], row[f"{name}_half_std"] = float(found["from_half"][at]), result.width(name)
    return row


OUTPUTS = LaneOutputs(("g1", "g2"), SUMMARY_COLUMNS, more=of_population)

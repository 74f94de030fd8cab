"""The summary of a shear or calibration campaign."""

from __future__ import annotations

from typing import Any

import numpy as np

from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Result
from lanewise.families.shear.columns import SUMMARY_COLUMNS
from lanewise.families.shear.population_config import HYPER


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
    columns = {"jackknife": ensemble.jackknife_error(found["without_block"]), "expansion": found["expansion"]}
    if "expansion_std" in found:
        columns |= {
            "expansion_std": found["expansion_std"],
            "expansion_half": found["expansion_from_half"],
            "expansion_jackknife": ensemble.jackknife_error(found["expansion_without_block"]),
        }
    for at, name in enumerate(COMPONENTS):
        if name in result.posterior:
            row |= {f"{name}_{column}": float(values[at]) for column, values in columns.items()}
            if "known_mean" in found:
                row[f"{name}_known_mean"], row[f"{name}_known_std"] = (
                    float(found[what][at]) for what in ("known_mean", "known_std")
                )
            row[f"{name}_half_mean"], row[f"{name}_half_std"] = float(found["from_half"][at]), result.width(name)
    for name in HYPER:
        if name in result.posterior:
            row[f"{name}_mean"], row[f"{name}_std"] = float(np.mean(result.posterior[name])), result.width(name)
    if "cut_error" in found:
        row |= {"cut_error": float(np.max(found["cut_error"])), "cut_size": float(found["cut_size"][0])}
    return row


OUTPUTS = LaneOutputs(("g1", "g2"), SUMMARY_COLUMNS, more=of_population)

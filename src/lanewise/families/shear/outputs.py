"""The summary of a shear or calibration campaign."""

from __future__ import annotations

from typing import Any

from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Result

SUMMARY_COLUMNS = (
    *("run_id", "g1_true", "g2_true", "g1_mean", "g1_median", "g1_std", "g2_mean", "g2_median", "g2_std"),
    *("rhat_g1", "rhat_g2", "ess_g1", "ess_g2", "divergences", "divergence_frac", "passed_convergence", "seed"),
    *("status", "method_used", "ess_kind", "khat", "g1_lik_mean", "g1_lik_std", "g2_lik_mean", "g2_lik_std"),
    *("g1_half_mean", "g1_half_std", "g2_half_mean", "g2_half_std", "retries", "reason"),
    *("chi2", "dof", "peak_sigma", "peak_x", "peak_y", "prior_sigma", "misfit_p"),
)
# Of populations only: galaxies, those that have failed or have doubtful weights, the smallest effective number of
# draws of one of them, the errors by a jackknife over galaxies, and the estimates by expansion at zero shear.
POPULATION_COLUMNS = (
    *("galaxies", "galaxies_failed", "size_min", "g1_jackknife", "g2_jackknife", "g1_expansion", "g2_expansion"),
)


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
    row["size_min"] = float(found["smallest_size"][0])
    errors = ensemble.jackknife_error(found["without_block"])
    for at, name in enumerate(COMPONENTS):
        if name in result.posterior:
            row[f"{name}_jackknife"], row[f"{name}_expansion"] = float(errors[at]), float(found["expansion"][at])
            row[f"{name}_half_mean"], row[f"{name}_half_std"] = float(found["from_half"][at]), result.width(name)
    return row


OUTPUTS = LaneOutputs(("g1", "g2"), SUMMARY_COLUMNS, more=of_population)

"""The summary of a shear or calibration campaign."""

from __future__ import annotations

from lanewise.engine.files import LaneOutputs

SUMMARY_COLUMNS = (
    *("run_id", "g1_true", "g2_true", "g1_mean", "g1_median", "g1_std", "g2_mean", "g2_median", "g2_std"),
    *("rhat_g1", "rhat_g2", "ess_g1", "ess_g2", "divergences", "divergence_frac", "passed_convergence", "seed"),
    *("status", "method_used", "ess_kind", "khat", "g1_lik_mean", "g1_lik_std", "g2_lik_mean", "g2_lik_std"),
    *("g1_half_mean", "g1_half_std", "g2_half_mean", "g2_half_std", "retries", "reason"),
    *("chi2", "dof", "peak_sigma", "peak_x", "peak_y", "prior_sigma", "misfit_p"),
)
OUTPUTS = LaneOutputs(("g1", "g2"), SUMMARY_COLUMNS)

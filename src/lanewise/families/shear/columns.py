"""The columns of summary.csv of a shear or calibration campaign, in their order."""

from __future__ import annotations

from lanewise.families.shear.population_config import HYPER

SUMMARY_COLUMNS = (
    *("run_id", "g1_true", "g2_true", "g1_mean", "g1_median", "g1_std", "g2_mean", "g2_median", "g2_std"),
    *("rhat_g1", "rhat_g2", "ess_g1", "ess_g2", "divergences", "divergence_frac", "passed_convergence", "seed"),
    *("status", "method_used", "ess_kind", "khat", "g1_lik_mean", "g1_lik_std", "g2_lik_mean", "g2_lik_std"),
    *("g1_half_mean", "g1_half_std", "g2_half_mean", "g2_half_std", "retries", "reason"),
    *("chi2", "dof", "peak_sigma", "peak_x", "peak_y", "prior_sigma", "misfit_p"),
)
# Of populations only: galaxies, those that pass the cut (all without one), those that have failed or have doubtful
# weights, the smallest effective number of draws of one of them, the errors by a jackknife over galaxies, and the
# estimates by the score at zero shear: value, width by the information, value from half of the draws, and error by the
# jackknife.
POPULATION_COLUMNS = (
    *("galaxies", "galaxies_selected", "galaxies_failed", "size_min", "g1_jackknife", "g2_jackknife"),
    *("g1_expansion", "g1_expansion_std", "g1_expansion_half", "g1_expansion_jackknife"),
    *("g2_expansion", "g2_expansion_std", "g2_expansion_half", "g2_expansion_jackknife"),
)
# Of populations with free parameters only: g from the likelihood for the known values, mean and standard deviation of
# each parameter; with a cut, the largest error of a mean from the probability of the cut [posterior standard
# deviations], and the effective number of galaxies behind it.
FREE_COLUMNS = (
    *("g1_known_mean", "g1_known_std", "g2_known_mean", "g2_known_std"),
    *(f"{name}_{what}" for name in HYPER for what in ("mean", "std")),
    *("cut_error", "cut_size"),
)

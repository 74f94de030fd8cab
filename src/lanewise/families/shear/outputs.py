"""The files of a shear or calibration campaign: those of every lane family, and the columns of its summary."""

from __future__ import annotations

from typing import Any

from lanewise.engine.files import described, described_latent, files, packed_nc, unpack
from lanewise.engine.results import Result

__all__ = ["SUMMARY_COLUMNS", "files", "packed_nc", "summary_row", "unpack"]

SUMMARY_COLUMNS = (
    *("run_id", "g1_true", "g2_true", "g1_mean", "g1_median", "g1_std", "g2_mean", "g2_median", "g2_std"),
    *("rhat_g1", "rhat_g2", "ess_g1", "ess_g2", "divergences", "divergence_frac", "passed_convergence", "seed"),
    *("status", "method_used", "ess_kind", "khat", "g1_lik_mean", "g1_lik_std", "g2_lik_mean", "g2_lik_std"),
    *("g1_half_mean", "g1_half_std", "g2_half_mean", "g2_half_std", "retries", "reason"),
)


def summary_row(result: Result) -> dict[str, Any]:
    """One row of summary.csv: the raw posterior of g1 and g2, of all draws and of half, diagnostics and status."""
    row: dict[str, Any] = dict.fromkeys(SUMMARY_COLUMNS)
    return row | described(result) | described_latent(result, "g1") | described_latent(result, "g2")

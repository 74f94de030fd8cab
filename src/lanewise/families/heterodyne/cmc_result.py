"""The section `cmc` of a result, and its draws; without JAX, as everything that only reads results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.engine.posterior_file import posterior_nc
from lanewise.engine.results import Diagnostics, Result
from lanewise.manifest.status import LaneStatus

if TYPE_CHECKING:
    from lanewise.families.heterodyne.cmc.sample import Sampled, Sharding
    from lanewise.families.heterodyne.cmc.sharded import ShardReport
    from lanewise.families.heterodyne.nlsq.result import FitResult

LEVELS = (50, 68, 90, 95)
# Prefixes of arrays of the NPZ, of shape (chain, draw).
DRAWS, STATS, SHARD = "draws_", "stats_", "shard_draws_"
# The correlation along the cuts of the fit: mean and standard deviation, and the latter of a new value.
CUTS, CUTS_SDS, CUTS_NEW_SDS = "cuts_cmc", "cuts_cmc_sds", "cuts_cmc_new_sds"
_FLAGS = ("diverging",)


def section(sampled: Sampled, fit: FitResult, t: np.ndarray) -> dict[str, Any]:
    """The section `cmc` of result.json.

    Args:
        t: age of each frame [s].
    """
    result, found = sampled.result, sampled.result.diagnostics
    draws = {name: values.reshape(-1) for name, values in result.posterior.items()}
    tails = [(50 - level / 2, 50 + level / 2) for level in LEVELS]
    n_chains, n_draws = result.shape
    return {
        "sampler": result.method,
        "combination": sampled.combination,
        "attempts": [{"sampler": one.sampler, "reason": one.reason} for one in sampled.attempts],
        **({} if sampled.sharding is None else {"shards": _shards(sampled.sharding, t)}),
        **({} if sampled.combination != "one shard" else {"shard": _shard(sampled.sharding)}),
        "converged": result.status is LaneStatus.OK,
        **({} if result.status is LaneStatus.OK else {"convergence_warning": result.reason}),
        "label": sampled.label,
        "noise_model": "speckle" if fit.speckle else "independent",
        "n_unknowns": sampled.n_unknowns,
        "num_chains": n_chains,
        "num_samples": n_draws,
        "means": {name: float(values.mean()) for name, values in draws.items()},
        "sds": {name: float(values.std(ddof=1)) for name, values in draws.items()},
        "intervals": {
            name: {str(level): np.percentile(values, ends).tolist() for level, ends in zip(LEVELS, tails, strict=True)}
            for name, values in draws.items()
        },
        "r_hat": dict(found.rhat),
        "ess": dict(found.ess),
        "khat": found.khat,
        "divergences": found.divergences,
        "divergence_frac": found.divergence_frac,
        "bfmi": None if found.bfmi is None else list(found.bfmi),
        "acceptance_rate": found.acceptance_rate,
        "z": {name: _z(draws[name], one.value, one.error) for name, one in fit.headline.items() if name in draws},
    }


def _shards(sharding: Sharding, t: np.ndarray) -> dict[str, Any]:
    reports, found = sharding.reports, sharding.disagreement
    return {
        "by": sharding.by,
        "refits": sharding.refits,
        "lost": [k for k, one in reports.items() if not one.used],
        "flagged": [k for k, one in reports.items() if one.sample.status is not LaneStatus.OK],
        "worst": _worst(sharding),
        "disagreement": None if found is None else asdict(found),
        "table": [
            {
                "shard": k,
                "points": shard.n_points,
                "ages": np.interp(shard.frames, np.arange(len(t)), t).tolist(),
                **_report(reports[k]),
            }
            for k, shard in sharding.shards.items()
        ],
    }


def _shard(sharding: Sharding | None) -> dict[str, Any]:
    """The one shard that was sampled, for a run that combines it with the others."""
    assert sharding is not None
    ((number, report),) = sharding.reports.items()
    moments = report.sample.moments
    told = moments and {
        "mean": moments.mean.tolist(),
        "covariance": moments.covariance.tolist(),
        "size": moments.size,
    }
    return {"number": number, "moments": told}


def _worst(sharding: Sharding) -> int | None:
    """The shard with draws whose own sampling is worst: by its status, then R̂ or k̂."""

    def doubt(k: int) -> tuple[int, float]:
        found = sharding.reports[k].sample
        r_hat = -math.inf if found.max_r_hat is None else found.max_r_hat
        return int(found.status), r_hat if found.khat is None else found.khat

    return max((k for k, one in sharding.reports.items() if one.sample.means), key=doubt, default=None)


def _report(report: ShardReport) -> dict[str, Any]:
    found = report.sample
    return {
        "sampler": found.sampler,
        "source": found.source,
        "converged": found.status is LaneStatus.OK,
        "reason": found.reason,
        "used": report.used,
        **{name: getattr(found, name) for name in ("max_r_hat", "min_ess", "khat", "divergence_frac")},
        "distance": report.distance,
        "means": dict(found.means),
        "sds": dict(found.sds),
    }


def arrays(sampled: Sampled) -> dict[str, np.ndarray]:
    """Draws, those of the worst shard, sampler statistics, and the correlation that they predict; for the NPZ."""
    result, sharding, cuts = sampled.result, sampled.sharding, sampled.predicted
    named = {f"{DRAWS}{name}": values for name, values in result.posterior.items()}
    named |= {f"{STATS}{name}": values for name, values in result.stats.items()}
    if cuts is not None:
        named |= {CUTS: cuts.means, CUTS_SDS: cuts.sds, CUTS_NEW_SDS: cuts.new_sds}
    if sharding is not None and (worst := _worst(sharding)) is not None:
        named |= {f"{SHARD}{name}": values for name, values in sharding.reports[worst].sample.draws.items()}
    return {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}


def netcdf(arrays: Mapping[str, np.ndarray], run_id: str, seed: int, cmc: Mapping[str, Any]) -> bytes | None:
    """posterior.nc of the draws of an NPZ; None if there are none."""
    posterior, stats = (
        {name.removeprefix(of): values for name, values in arrays.items() if name.startswith(of)}
        for of in (DRAWS, STATS)
    )
    if not posterior:
        return None
    stats = {name: values.astype(bool) if name in _FLAGS else values for name, values in stats.items()}
    result = Result(run_id, seed, LaneStatus.OK, "", cmc["sampler"], {}, posterior, stats, diagnostics=Diagnostics())
    return posterior_nc(result)


def _z(draws: np.ndarray, value: float, error: float) -> float | None:
    """Mean of the draws minus the fit's value, in units of the larger of both errors; None without an error."""
    larger = max(float(draws.std(ddof=1)), error)
    return float((draws.mean() - value) / larger) if np.isfinite(larger) and larger > 0 else None

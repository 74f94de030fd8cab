"""What is known of the posterior of one shard: from draws of this run, or from the result of a run that made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from lanewise.engine.results import Result
from lanewise.families.heterodyne.cmc.consensus import Moments
from lanewise.manifest.status import LaneStatus

# From positions, shape (…, d), headline values by name, each of shape (…).
Headline = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class ShardSample:
    """How the sampling of a shard went, and what its draws say.

    Attributes:
        sampler: of the draws.
        max_r_hat, min_ess: of the numbers of the position; None where the sampler has none.
        khat, divergence_frac: None where the sampler has none.
        moments: of the positions; None without draws.
        means, sds: of the draws of each headline value; empty without draws.
        draws: of each headline value, shape (chain, draw); empty if another run made them.
        source: run id of the task that sampled it; empty for draws of this run.
    """

    sampler: str
    status: LaneStatus
    reason: str
    max_r_hat: float | None = None
    min_ess: float | None = None
    khat: float | None = None
    divergence_frac: float | None = None
    moments: Moments | None = None
    means: Mapping[str, float] = field(default_factory=dict)
    sds: Mapping[str, float] = field(default_factory=dict)
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def of(cls, result: Result, headline: Headline) -> Self:
        """Of draws of this run, by the numbers of the position."""
        found = result.diagnostics
        sizes = [0.0 if size is None else size for size in found.ess.values()]
        draws: Mapping[str, np.ndarray] = {}
        moments = None
        if result.posterior:
            positions = np.stack(list(result.posterior.values()), axis=-1)
            flat = positions.reshape(-1, positions.shape[-1])
            # The smallest size counts for all numbers: the inverse of the covariance needs it.
            moments = Moments(flat.mean(axis=0), np.atleast_2d(np.cov(flat.T)), min(sizes, default=0.0))
            draws = headline(positions)
        return cls(
            sampler=result.method,
            status=result.status,
            reason=result.reason,
            max_r_hat=max((one for one in found.rhat.values() if one is not None), default=None),
            min_ess=min((one for one in found.ess.values() if one is not None), default=None),
            khat=found.khat,
            divergence_frac=found.divergence_frac,
            moments=moments,
            means={name: float(values.mean()) for name, values in draws.items()},
            sds={name: float(values.std(ddof=1)) for name, values in draws.items()},
            draws=draws,
        )

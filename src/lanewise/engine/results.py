"""What a realization leaves behind; `judgement` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus


@dataclass(frozen=True)
class Diagnostics:
    """How far the draws of one realization can be trusted. None is undefined, e.g. R̂ of a mode.

    Attributes:
        rhat, ess, ess_tail: per latent; rank-normalised split R̂, effective sample size and that of the tails.
        ess_kind: what `ess` is: `bulk` of rank-normalised chains, `weights` for 1/Σw² before resampling, `independent`
            for the number of draws of an approximation.
        khat: shape of the tail of importance weights; below 0 for weights that are bounded.
        mcse_mean, mcse_sd: per latent; Monte Carlo standard error of its mean and of its standard deviation.
        acceptance_rate: mean over all transitions after warm-up.
        divergences: divergent transitions after warm-up; divergence_frac is their share.
        bfmi: Bayesian fraction of missing information, per chain.
        gradient_norm: of a mode, in units of the posterior's width.
        elbo: evidence lower bound [nats], up to the density's constant; elbo_change is the last quarter of the steps
            against the quarter before.
        hessian_positive: of a mode.
    """

    rhat: Mapping[str, float | None] = field(default_factory=dict)
    ess: Mapping[str, float | None] = field(default_factory=dict)
    ess_tail: Mapping[str, float | None] = field(default_factory=dict)
    ess_kind: str | None = None
    khat: float | None = None
    mcse_mean: Mapping[str, float | None] = field(default_factory=dict)
    mcse_sd: Mapping[str, float | None] = field(default_factory=dict)
    acceptance_rate: float | None = None
    divergences: int | None = None
    divergence_frac: float | None = None
    bfmi: tuple[float | None, ...] | None = None
    gradient_norm: float | None = None
    hessian_positive: bool | None = None
    elbo: float | None = None
    elbo_change: float | None = None


@dataclass(frozen=True)
class Result:
    """One realization of lanes, done.

    Attributes:
        status, reason: a `LaneStatus` and, unless it is OK, the sentence that explains it.
        truth: every true parameter; empty if the data could not be made.
        posterior: draws per latent, each of shape (chain, draw); empty if there are none.
        stats: sample statistics per name, each of shape (chain, draw).
        laplace_std: width per latent of the Laplace approximation, for methods that have one.
        tries: every attempt, the first run with them; empty if it was never retried.
    """

    run_id: str
    seed: int
    status: LaneStatus
    reason: str
    method: str
    truth: Mapping[str, float]
    posterior: Mapping[str, np.ndarray] = field(default_factory=dict)
    stats: Mapping[str, np.ndarray] = field(default_factory=dict)
    laplace_std: Mapping[str, float] = field(default_factory=dict)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    tries: tuple[Try, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(chains, draws per chain); (0, 0) if there are no draws."""
        first = next(iter(self.posterior.values()), np.empty((0, 0)))
        return first.shape[0], first.shape[1]

    def width(self, name: str) -> float | None:
        """Standard deviation of a latent's draws, or the Laplace width of a mode; None if it has neither."""
        if name not in self.posterior:
            return None
        draws = self.posterior[name]
        return float(np.std(draws, ddof=1)) if draws.size > 1 else self.laplace_std.get(name)

    def with_tries(self, tries: tuple[Try, ...]) -> Self:
        """The same result with these attempts on record."""
        return replace(self, tries=tries)

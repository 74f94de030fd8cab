"""What a realization leaves behind, and its judgement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from lanewise.lanes import LaneStatus
from lanewise.manifest import Convergence


class AnyResult(Protocol):
    """What every family's result says of its realization."""

    @property
    def run_id(self) -> str:
        """Name of its directory."""
        ...

    @property
    def seed(self) -> int:
        """Seed of its data, or of the search for its estimate."""
        ...

    @property
    def status(self) -> LaneStatus:
        """What became of it."""
        ...

    @property
    def reason(self) -> str:
        """Why it is not OK; empty if it is."""
        ...

    @property
    def method(self) -> str:
        """What inferred it."""
        ...

    @property
    def tries(self) -> tuple[Try, ...]:
        """Every attempt, the first run with them; empty if it was never retried."""
        ...


@dataclass(frozen=True)
class Try:
    """One attempt at a realization that was retried.

    Attributes:
        retry: 0 for the first run.
        change: what was done otherwise, in words; empty for nothing.
        method, status, reason: as the attempt ended.
    """

    retry: int
    change: str
    method: str
    status: str
    reason: str

    @classmethod
    def of(cls, result: AnyResult, retry: int, change: str) -> Try:
        """The attempt that ended in a result."""
        return cls(retry, change, result.method, result.status.word, result.reason)


@dataclass(frozen=True)
class Diagnostics:
    """How far the draws of one realization can be trusted. None is undefined, e.g. R̂ of a mode.

    Attributes:
        rhat, ess, ess_tail: per latent; rank-normalised split R̂, bulk and tail effective sample size.
        mcse_mean, mcse_sd: per latent; Monte Carlo standard error of its mean and of its standard deviation.
        divergences: divergent transitions after warm-up; divergence_frac is their share.
        bfmi: Bayesian fraction of missing information, per chain.
        gradient_norm: of a mode, in units of the posterior's width.
        hessian_positive: of a mode.
    """

    rhat: Mapping[str, float | None] = field(default_factory=dict)
    ess: Mapping[str, float | None] = field(default_factory=dict)
    ess_tail: Mapping[str, float | None] = field(default_factory=dict)
    mcse_mean: Mapping[str, float | None] = field(default_factory=dict)
    mcse_sd: Mapping[str, float | None] = field(default_factory=dict)
    divergences: int | None = None
    divergence_frac: float | None = None
    bfmi: tuple[float | None, ...] | None = None
    gradient_norm: float | None = None
    hessian_positive: bool | None = None


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


def judge_draws(results: Sequence[Result], criteria: Convergence) -> list[Result]:
    """Diagnose the chains of a sampler, all realizations at once, and hold them against the manifest's thresholds."""
    # SciPy's statistics take a second to import, and most commands judge nothing.
    from lanewise import diagnostics

    if not results:
        return []
    names = list(results[0].posterior)
    summary = diagnostics.summarise(np.stack([[result.posterior[name] for name in names] for result in results]))

    def by_latent(values: np.ndarray) -> dict[str, float | None]:
        return dict(zip(names, map(_defined, values), strict=True))

    judged = []
    for at, result in enumerate(results):
        diverging = result.stats["diverging"]
        found = Diagnostics(
            rhat=by_latent(summary.rhat[at]),
            ess=by_latent(summary.ess[at]),
            ess_tail=by_latent(summary.ess_tail[at]),
            mcse_mean=by_latent(summary.mcse_mean[at]),
            mcse_sd=by_latent(summary.mcse_sd[at]),
            divergences=int(diverging.sum()),
            divergence_frac=float(diverging.mean()),
            bfmi=tuple(_defined(b) for b in diagnostics.bfmi(result.stats["energy"])),
        )
        judged.append(_judged(replace(result, diagnostics=found), criteria))
    return judged


def _judged(result: Result, criteria: Convergence) -> Result:
    short = list(_shortcomings(result.diagnostics, criteria))
    if not short or result.status is not LaneStatus.OK:
        return result
    return replace(result, status=LaneStatus.NOT_CONVERGED, reason=f"Not converged: {'; '.join(short)}.")


def _shortcomings(found: Diagnostics, criteria: Convergence) -> list[str]:
    short = []
    for name, value in found.rhat.items():
        if value is None or value > criteria.rhat_max:
            short.append(f"R̂ of {name} is {_show(value)}, allowed is {criteria.rhat_max:g}")
    for name, value in found.ess.items():
        if value is None or value < criteria.ess_min:
            short.append(f"the effective sample size of {name} is {_show(value)}, needed is {criteria.ess_min:g}")
    if found.divergence_frac is not None and found.divergence_frac > criteria.divergence_frac_max:
        short.append(
            f"{found.divergence_frac:.1%} of the transitions diverge, allowed is {criteria.divergence_frac_max:.1%}"
        )
    for value in found.bfmi or ():
        if value is None or value < criteria.bfmi_min:
            short.append(f"the BFMI of a chain is {_show(value)}, needed is {criteria.bfmi_min:g}")
    return short


def _show(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

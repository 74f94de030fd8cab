"""The result of one realization of a family of lanes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from lanewise.manifest.problem import Members
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus


def without_values(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array without values: NaN, or 0 for integers and booleans."""
    return np.full(shape, np.nan, dtype) if dtype.kind == "f" else np.zeros(shape, dtype)


@dataclass(frozen=True)
class Goodness:
    """How well a fit describes an image; residuals are in units of the noise, masked pixels do not count.

    Attributes:
        chi2: sum of squares of the residual without the part that a change of the latents would take.
        dof: its expectation: pixels less latents.
        chi2_p: probability of a larger χ².
        peak_sigma: largest residual in a matched filter [standard deviations]; negative if flux is missing.
        peak_x, peak_y: its place [pixel from the lower left corner]; peak_shape: filter: `pixel`, `psf` or `galaxy`.
        peak_p: probability of a larger one anywhere in the stamp, at most.
        prior_sigma: how far the priors hold the fit from the data [standard deviations of the data].
        prior_p: probability of more, at most.
        p: of the three together, at most.
        peak_exposure: number of the exposure that has the peak, from 0.
        signal_to_noise: of the image by the fitted model, √Σ (model / σ)²; None in files of older versions.
    """

    chi2: float
    dof: int
    chi2_p: float
    peak_sigma: float
    peak_x: float
    peak_y: float
    peak_shape: str
    peak_p: float
    prior_sigma: float
    prior_p: float
    p: float
    peak_exposure: int = 0
    signal_to_noise: float | None = None


@dataclass(frozen=True)
class Diagnostics:
    """Convergence diagnostics of one realization; None where undefined, e.g. R̂ of a mode.

    Attributes:
        rhat, ess, ess_tail: per latent: rank-normalised split R̂, effective sample size, and that of the tails.
        ess_kind: meaning of `ess`: `bulk` of rank-normalised chains, `weights` for 1/Σw² before resampling,
            `independent` for the number of draws of an approximation.
        khat: Pareto shape k̂ of the importance weights; below 0 if the weights are bounded.
        mcse_mean, mcse_sd: per latent: Monte Carlo standard error of its mean and of its standard deviation.
        acceptance_rate: mean over all transitions after warm-up.
        divergences: number of divergent transitions after warm-up; divergence_frac is their fraction.
        bfmi: Bayesian fraction of missing information, per chain.
        gradient_norm: norm of the gradient at a mode, in units of the posterior's width.
        elbo: evidence lower bound [nats], up to the density's constant; elbo_change: its mean over the last quarter of
            the steps, minus that over the quarter before.
        hessian_positive: whether the Hessian at a mode is positive definite.
        goodness: how well the fit describes the data; None where it is not judged.
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
    goodness: Goodness | None = None


@dataclass(frozen=True)
class Result:
    """The result of one realization.

    Attributes:
        status, reason: a `LaneStatus`, and the sentence that explains it; empty if the status is OK.
        truth: every true parameter; empty if the data could not be made.
        posterior: draws per latent, each of shape (chain, draw); empty if there are none.
        stats: sample statistics per name, each of shape (chain, draw).
        laplace_std: per latent, its standard deviation in the Laplace approximation, if the method has one.
        tries: every attempt, including the first run; empty without retries.
        members: what the members left, and their status; None for a realization with one member.
        model: which of several models of the data was used, see `Problem.model`; empty if there is only one.
        groups: further groups of posterior.nc: name of the group → variable → values. Their first axes are chain and
            draw, but for those in `posterior_file.WITHOUT_DRAWS`.
        units: name of a column or an observed site → its unit, where the data say one.
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
    members: Members | None = None
    model: str = ""
    groups: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def member_counts(self) -> Mapping[str, int]:
        """Status of its members → their number; empty for a realization with one member."""
        return {} if self.members is None else self.members.counts

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
        """A copy with these attempts."""
        return replace(self, tries=tries)

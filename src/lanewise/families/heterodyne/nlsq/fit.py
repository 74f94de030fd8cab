"""A fit of one data set: the search for its minimum, the errors there, and every reason to doubt it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne.c2 import NAMES
from lanewise.families.heterodyne.config import HeterodyneConfig, checked
from lanewise.families.heterodyne.data import TwoTimeData, load
from lanewise.families.heterodyne.nlsq import coordinates, kernel, noise, scaling, starts, uncertainty
from lanewise.families.heterodyne.nlsq.coordinates import N_COORDINATES, FitSetting
from lanewise.families.heterodyne.nlsq.search import FINISH_EFFORT, Searcher, rows
from lanewise.families.heterodyne.nlsq.solver import Anchor, FitProblem, Search
from lanewise.machine import device

# Required decrease of χ² against a constant: _PER_UNKNOWN per unknown plus _PER_FIT, so three standard deviations for
# each unknown and five for a single one. On pure noise the decrease was at most 22 in 16 trials; 137 are required.
_PER_UNKNOWN, _PER_FIT = 9.0, 16.0
# A descent that reached the limit of passes also counts as done if the predicted further decrease of χ² is below this.
_DONE_CHI2 = 0.01


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the error is infinite if the data do not determine the value."""

    value: float
    error: float


@dataclass(frozen=True)
class FitResult:
    """The estimates of a fit, their errors, and whether it converged.

    Attributes:
        parameters: the model's 14 parameters, in the order of `NAMES`; a fixed one has error 0.
        covariance: covariance of the parameters, shape (14, 14).
        j_ref, j_sample: rates at t_ref [Å²/s]; with v, the quantities that the data determine best.
        v: |drift| at t_ref [Å/s].
        t_ref: geometric mean of the ages [s].
        contrast, offset: one estimate per angle.
        ssr: sum of squared residuals over pairs of ages i < j, each counted once.
        n_data, n_free: number of residuals, and of unknowns that are free at the minimum.
        noise: standard deviation of one value, estimated from differences of neighbours [c2].
        reduced_chi2: ssr / (n_data − n_free) / noise².
        agreement: starts that ended in the minimum, out of the n_polished that were fitted to all data.
        rounds: number of rounds of starts.
        warnings: every reason to doubt the minimum or the model.
        at_bounds: parameters that ended at a bound; the errors ignore the bounds.
        degenerate: directions that the data hardly determine.
        coordinates: the minimum in the coordinates of the fit (`coordinates`), shape (13,).
    """

    parameters: Mapping[str, Estimate]
    covariance: np.ndarray
    j_ref: Estimate
    j_sample: Estimate
    v: Estimate
    t_ref: float
    contrast: tuple[Estimate, ...]
    offset: tuple[Estimate, ...]
    ssr: float
    n_data: int
    n_free: int
    noise: float
    reduced_chi2: float
    agreement: int
    n_polished: int
    rounds: int
    warnings: tuple[str, ...]
    at_bounds: tuple[str, ...]
    degenerate: tuple[str, ...]
    coordinates: np.ndarray

    @property
    def converged(self) -> bool:
        """Whether there is no reason to doubt the minimum or the model."""
        return not self.warnings

    @property
    def vector(self) -> np.ndarray:
        """The 14 parameters in the order of `NAMES`, the argument `params` of `two_time_correlation`."""
        return np.array([self.parameters[name].value for name in NAMES])


def fit(data: TwoTimeData, config: HeterodyneConfig | Mapping[str, Any] | None = None) -> FitResult:
    """Fit the model to one data set.

    Args:
        config: a parsed config, the mapping that its YAML file holds, or None for the defaults. Its section `data`
            says how files are read, and is ignored here.

    Raises:
        ManifestError: the config is invalid.
        DataError: the data have too few values, or too few angles for the scaling mode.
    """
    settings = _parsed(config)
    sequential = device.prepare("auto", "float64")
    t = data.ages(settings.model.time_origin)
    where = coordinates.setting(settings, t)
    pairs = kernel.pairs(data.c2, settings.fit.seed)
    n_data = int(pairs.weight.sum()) * len(data.phi)
    kind, scale = scaling.setting(settings.scaling, data.c2, data.phi, pairs.centre)
    if n_data <= N_COORDINATES + scale.basis.size:
        raise DataError(f"{data.source or 'these data'}: {n_data} values cannot determine the model; fit more frames")
    scene = kernel.Scene(t, np.float64(data.dt), np.float64(data.q), np.asarray(data.phi, dtype=np.float64))
    problem = FitProblem(pairs, scene, where.gauge, where.box, scale, Anchor(*starts.anchor(t)))
    problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.result_type(leaf)), problem)
    return _result(data, where, Searcher(problem, kind, settings, n_data, noise.sigma(data.c2), sequential))


def fit_file(source: str, config: HeterodyneConfig | Mapping[str, Any] | None = None) -> tuple[FitResult, ...]:
    """Read a file according to the config's section `data`, and fit it: one result, or one per q for `q: all`."""
    settings = _parsed(config)
    return tuple(fit(one, settings) for one in load(source, settings.data))


def _parsed(config: HeterodyneConfig | Mapping[str, Any] | None) -> HeterodyneConfig:
    if isinstance(config, HeterodyneConfig):
        return config
    return checked(config or {})


def _result(data: TwoTimeData, where: FitSetting, searcher: Searcher) -> FitResult:
    polished, rounds = searcher.minimise()
    if not np.isfinite(polished.at.ssr[0]):
        raise DataError(f"{data.source or 'these data'}: no start within the bounds gives a finite model; widen them")
    best = rows(polished, 0)
    at = best.at
    x, joint, curvature, free = (np.asarray(part) for part in (best.x, at.joint, at.curvature, at.free))
    errors = uncertainty.assess(x, joint=joint, curvature=curvature, free_scaling=free, where=where)
    n_data, sigma, ssr = searcher.n_data, searcher.sigma, float(at.ssr)
    variance = ssr / (n_data - errors.n_free)
    basis, centre = np.asarray(searcher.problem.scaling.basis), float(searcher.problem.data.centre)
    contrast, offset = _per_angle(np.asarray(at.coefficients), errors.scaling * variance, basis, centre)
    reported = coordinates.report(jnp.asarray(best.x), where.gauge, jnp.log(jnp.asarray(where.f0)))
    covariance, of_headline = errors.parameters * variance, errors.headline * variance
    parameters = _estimates(np.asarray(reported[0]), np.diag(covariance))
    j_ref, j_sample, v = _estimates(np.asarray(reported[1]), np.diag(of_headline))
    result = FitResult(
        parameters=dict(zip(NAMES, parameters, strict=True)),
        covariance=covariance,
        j_ref=j_ref,
        j_sample=j_sample,
        v=v,
        t_ref=float(where.gauge.t_ref),
        contrast=contrast,
        offset=offset,
        ssr=ssr,
        n_data=n_data,
        n_free=errors.n_free,
        noise=sigma,
        reduced_chi2=variance / sigma**2 if sigma > 0 else float("inf"),
        agreement=searcher.agreement(polished),
        n_polished=len(polished.x),
        rounds=rounds,
        warnings=(),
        at_bounds=errors.at_bounds,
        degenerate=(*(() if where.f2_fixed else (_F0_F2,)), *errors.degenerate),
        coordinates=x,
    )
    gained = (scaling.constant_ssr(data.c2, basis) - ssr) / variance
    warnings = (*_no_signal(gained, errors.n_free - basis.shape[1]), *_warnings(result, best, searcher.settings))
    return replace(result, warnings=warnings)


_F0_F2 = "f0 with f2: only f0 exp(−f1 f2) is determined by any data; f2 is set to mid-window"


def _estimates(values: np.ndarray, variances: np.ndarray) -> tuple[Estimate, ...]:
    return tuple(Estimate(float(v), float(s)) for v, s in zip(values, np.sqrt(variances), strict=True))


def _per_angle(
    coefficients: np.ndarray, covariance: np.ndarray, basis: np.ndarray, centre: float
) -> list[tuple[Estimate, ...]]:
    """Contrast and offset of each angle."""
    m = basis.shape[1]
    parts = (covariance[:m, :m], covariance[m:, m:])
    return [
        _estimates(basis @ own + shift, np.einsum("am,mn,an->a", basis, part, basis))
        for own, part, shift in zip(coefficients, parts, (0.0, centre), strict=True)
    ]


def _no_signal(gained: float, unknowns: int) -> Iterator[str]:
    """A warning if χ² is not clearly lower than that of a constant."""
    needed = _PER_UNKNOWN * unknowns + _PER_FIT
    if not gained > needed:
        yield (
            f"χ² is lower than that of a constant by {gained:.3g}, where {unknowns} unknowns need {needed:g}: "
            "these data show no correlation that could be fitted"
        )


def _warnings(result: FitResult, best: Search, settings: HeterodyneConfig) -> Iterator[str]:
    """Every other reason to doubt the minimum or the model, one sentence each."""
    limits = settings.fit
    if result.agreement < limits.agreement:
        yield (
            f"{result.agreement} of {result.n_polished} polished starts ended here, {limits.agreement} are needed; "
            "raise fit.starts or fit.rounds"
        )
    if not best.done and best.promised > _DONE_CHI2 * best.at.ssr / result.n_data:
        yield (
            f"the best start was still descending after {FINISH_EFFORT * limits.max_iterations} steps; "
            "raise fit.max_iterations"
        )
    if not result.reduced_chi2 <= limits.reduced_chi2_max:
        yield (
            f"reduced χ² is {result.reduced_chi2:.3g}, above {limits.reduced_chi2_max:g}: the model does not describe "
            "the data to their noise"
        )
    for name, values, (low, high) in (
        ("contrast", result.contrast, settings.scaling.contrast.bounds),
        ("offset", result.offset, settings.scaling.offset.bounds),
    ):
        # The fit enforces these bounds in every mode but fourier.
        worst = max((e.value for e in values), key=lambda value: max(low - value, value - high))
        if settings.scaling.mode == "fourier" and not low <= worst <= high:
            yield f"the {name} of an angle is {worst:.3g}, outside {low:g} to {high:g}"

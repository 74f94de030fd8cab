"""A fit: rounds of many starts, the best of them polished on all data, and evidence that the minimum is global."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne.c2 import NAMES
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.data import TwoTimeData, load
from lanewise.families.heterodyne.nlsq import coordinates, kernel, noise, scaling, solver, starts, uncertainty
from lanewise.families.heterodyne.nlsq.coordinates import N_COORDINATES, Setting
from lanewise.families.heterodyne.nlsq.solver import Anchor, Problem, Search
from lanewise.machine import device

# Starts per compiled call; fixed, so that search and polish share one program for any number of starts. Screening a
# point is cheap, so more points share a call.
WIDTH, _SCREEN_WIDTH = 8, 64
# A search descends on this many blocks of data; candidates are screened on the first block only.
_SEARCH_BLOCKS = 4
# Damping of a first step. Polishing starts with the final damping of the search, but at least with _DAMPING_MIN.
_DAMPING, _DAMPING_MIN = 1e-2, 1e-7
# Searches whose costs differ by less than this relative amount count as the same minimum.
_SAME_COST = 1e-3
# Weight of the anchor in descents on a sample of the data.
_ANCHOR_WEIGHT = 3.0
# Relative changes of the sum of squares, except for polishing: a change of χ²; 0.01 does not change the ranking.
_SEARCH_TOLERANCE, _POLISH_CHI2, _FINISH_TOLERANCE = 1e-4, 0.01, 1e-11
# The best start may use this many times the passes of the others.
_FINISH_EFFORT = 3
# Starts agree if their χ² differ by less than this, two standard deviations of one parameter: the data do not
# distinguish them. The χ² of a wrong minimum is larger by about 1e-3 of its value: by 15 for 3×100×100 values.
_SAME_CHI2 = 4.0
# Another minimum is close to the best if its χ² is higher by less than this, five standard deviations. At most this
# many sets of hops start from the best.
_CLOSE_CHI2, _MAX_CHALLENGES = 25.0, 5
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
        converged: whether `warnings` is empty.
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
    converged: bool
    agreement: int
    n_polished: int
    rounds: int
    warnings: tuple[str, ...]
    at_bounds: tuple[str, ...]
    degenerate: tuple[str, ...]
    coordinates: np.ndarray

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
    t = c2.time_grid(data.n_frames, data.dt, data.start_frame, settings.model.time_origin)
    where = coordinates.setting(settings, t)
    pairs = kernel.pairs(data.c2, settings.fit.seed)
    n_data = int(pairs.weight.sum()) * len(data.phi)
    kind, scale = scaling.setting(settings.scaling, data.c2, data.phi, pairs.centre)
    if n_data <= N_COORDINATES + scale.basis.size:
        raise DataError(f"{data.source or 'these data'}: {n_data} values cannot determine the model; fit more frames")
    problem = Problem(
        pairs,
        kernel.Scene(t, np.float64(data.dt), np.float64(data.q), np.asarray(data.phi, dtype=np.float64)),
        where.gauge,
        where.box,
        scale,
        Anchor(*starts.anchor(t)),
    )
    problem = jax.tree.map(lambda leaf: jnp.asarray(leaf, None if _is_index(leaf) else jnp.float64), problem)
    search = _Searcher(problem, kind, settings, sequential)
    found, rounds = search.minimise(data, t, n_data)
    return _result(found, rounds, data, settings, where, scale, pairs.centre, n_data)


def fit_file(source: str, config: HeterodyneConfig | Mapping[str, Any] | None = None) -> tuple[FitResult, ...]:
    """Read a file according to the config's section `data`, and fit it: one result, or one per q for `q: all`."""
    settings = _parsed(config)
    return tuple(fit(one, settings) for one in load(source, settings.data))


def _parsed(config: HeterodyneConfig | Mapping[str, Any] | None) -> HeterodyneConfig:
    if isinstance(config, HeterodyneConfig):
        return config
    return heterodyne_config.checked(config or {})


def _is_index(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.dtype.kind == "i"


class _Stage(NamedTuple):
    """Settings of a set of descents: number of data blocks, limit of passes; the rest as in `solver.descend`."""

    n_blocks: int
    passes: int
    tolerance: float
    pull: float


@dataclass(frozen=True)
class _Searcher:
    """Many starts on one problem, `WIDTH` at a time."""

    problem: Problem
    kind: scaling.Kind
    settings: HeterodyneConfig
    sequential: bool

    def minimise(self, data: TwoTimeData, t: np.ndarray, n_data: int) -> tuple[Search, int]:
        """Every polished start, best first, and the number of rounds.

        If enough starts agree on a minimum, hops from it look for a better one. If they do not agree, or a hop finds a
        better one, minima are hard to find in these data: all rounds are run. If χ² is too high for the noise, the
        same minimum must come out of a second round.
        """
        limits = self.settings.fit
        expected = n_data * noise.sigma(data.c2) ** 2
        agreed, doubtful = np.nan, False
        phi0 = self.settings.parameters["phi0"].bounds
        polished: Search | None = None
        for rounds in range(1, limits.rounds + 1):
            seed = limits.seed + rounds - 1
            begin = starts.design(limits.candidates, seed, t, data.q, data.phi, phi0)
            screened = self.screen(begin)
            best = np.nan if polished is None else float(polished.at.ssr[0])
            new = self.search(screened[: limits.starts], limits.polish, n_data, best)
            polished = _sorted(new if polished is None else _concatenate(polished, new))
            if not np.isfinite(polished.at.ssr[0]):
                break
            same = agreed / float(polished.at.ssr[0]) - 1 <= _SAME_CHI2 / n_data
            if _agreement(polished, n_data) >= limits.agreement and not same:
                polished = self.challenge(polished, screened, seed, n_data)
            if _agreement(polished, n_data) < limits.agreement:
                doubtful = True
                continue
            ssr = float(polished.at.ssr[0])
            if not doubtful and (same or ssr <= limits.reduced_chi2_max * expected):
                break
            agreed = ssr
        assert polished is not None
        return self.finish(polished, n_data), rounds

    def finish(self, polished: Search, n_data: int) -> Search:
        """Descend from the best start until convergence.

        In a flat valley this can lead away from the points at which the other starts stopped. If too few agree then,
        the nearest of them descend again.
        """
        limits = self.settings.fit
        whole = _Stage(self.n_blocks, limits.max_iterations, _POLISH_CHI2 / n_data, 0.0)
        last = whole._replace(passes=_FINISH_EFFORT * limits.max_iterations, tolerance=_FINISH_TOLERANCE)
        best = self.descend(np.asarray(polished.x[:1]), np.full(1, _DAMPING_MIN), last, np.nan)
        rest = _rows(polished, slice(1, None))
        if _agreement(_concatenate(best, rest), n_data) < limits.agreement and len(rest.x):
            near = _rows(rest, slice(0, WIDTH))
            damping = np.clip(near.damping, _DAMPING_MIN, _DAMPING)
            near = self.descend(np.asarray(near.x), damping, whole, float(best.at.ssr[0]))
            rest = _sorted(_concatenate(near, _rows(rest, slice(WIDTH, None))))
        return _concatenate(best, rest)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of all data."""
        return int(self.problem.data.weight.shape[0])

    def challenge(self, polished: Search, fresh: np.ndarray, seed: int, n_data: int) -> Search:
        """The polished starts and those from hops around the best; more hops if others are close or better.

        If several minima differ little, all starts may have missed a better one that is as narrow.
        """
        n = self.settings.fit.hops
        for turn in range(_MAX_CHALLENGES if n else 0):
            points = fresh[turn * n : (turn + 1) * n]
            if not len(points):
                break
            best = float(polished.at.ssr[0])
            hops = starts.hops(np.asarray(polished.x[0]), points, (seed, turn))
            polished = _sorted(_concatenate(polished, self.search(hops, n, n_data, best)))
            behind = (polished.at.ssr / polished.at.ssr[0] - 1) * n_data
            improved = (best / polished.at.ssr[0] - 1) * n_data > _SAME_CHI2
            close = np.any((behind > _SAME_CHI2) & (behind < _CLOSE_CHI2))
            if not improved and (turn > 0 or not close):
                break
        return polished

    def search(self, begin: np.ndarray, n_polish: int, n_data: int, known: float) -> Search:
        """Descend on a sample of the data, then continue the best descents on all data.

        Args:
            known: sum of squares of the best minimum found so far, NaN if there is none.
        """
        limits = self.settings.fit
        sample = _Stage(min(_SEARCH_BLOCKS, self.n_blocks), limits.max_iterations, _SEARCH_TOLERANCE, _ANCHOR_WEIGHT)
        whole = _Stage(self.n_blocks, limits.max_iterations, _POLISH_CHI2 / n_data, 0.0)
        searched = self.descend(begin, np.full(len(begin), _DAMPING), sample, np.nan)
        chosen = _rows(searched, diverse(np.asarray(searched.at.ssr), n_polish, limits.agreement))
        damping = np.clip(chosen.damping, _DAMPING_MIN, _DAMPING)
        # The best one runs first; the others stop early against its result.
        first = self.descend(np.asarray(chosen.x[:1]), damping[:1], whole, known)
        known = float(np.fmin(known, first.at.ssr[0]))
        if len(damping) == 1:
            return first
        others = self.descend(np.asarray(chosen.x[1:]), damping[1:], whole, known)
        return _sorted(_concatenate(first, others))

    def screen(self, points: np.ndarray) -> np.ndarray:
        """The points cut to the box, sorted by their sum of squares on the first block of data, best first."""
        padding = np.full((-len(points) % _SCREEN_WIDTH, N_COORDINATES), np.nan)
        padded = np.concatenate([points, padding])
        parts = [
            solver.screen(
                jnp.asarray(padded[k : k + _SCREEN_WIDTH]), self.problem, self.kind, self.settings.model.fraction_clip
            )
            for k in range(0, len(padded), _SCREEN_WIDTH)
        ]
        x, ssr = (np.concatenate(leaves)[: len(points)] for leaves in zip(*parts, strict=True))
        best: np.ndarray = x[np.argsort(np.where(np.isfinite(ssr), ssr, np.inf), kind="stable")]
        return best

    def descend(self, begin: np.ndarray, damping: np.ndarray, stage: _Stage, known: float) -> Search:
        """Descents from every row of `begin`, best first."""
        # Padding lanes start at NaN and end after one pass.
        padding = -len(begin) % WIDTH
        padded_begin, padded_damping = (
            np.concatenate([rows, np.full((padding, *rows.shape[1:]), np.nan)]) for rows in (begin, damping)
        )
        parts = [
            solver.descend(
                jnp.asarray(padded_begin[k : k + WIDTH]),
                jnp.asarray(padded_damping[k : k + WIDTH]),
                self.problem,
                jnp.int32(stage.n_blocks),
                jnp.int32(stage.passes),
                jnp.float64(stage.tolerance),
                jnp.float64(stage.pull),
                jnp.float64(known),
                self.kind,
                self.settings.model.fraction_clip,
                self.sequential,
            )
            for k in range(0, len(padded_begin), WIDTH)
        ]
        whole: Search = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(begin)], *parts)
        return _sorted(whole)


def diverse(ssr: np.ndarray, n: int, copies: int) -> np.ndarray:
    """Indices of the n searches to polish: the best, but at most `copies` of one minimum if others exist.

    On a sample of the data a wide wrong minimum may be as deep as the narrow right one, and would displace it.

    Args:
        ssr: costs of the searches, ascending.
    """
    first: list[int] = []
    spare: list[int] = []
    for k, cost in enumerate(ssr):
        same = sum(abs(cost - ssr[j]) <= _SAME_COST * cost for j in first)
        (first if same < copies else spare).append(k)
    return np.array(sorted((first + spare)[:n]))


def _rows(search: Search, which: Any) -> Search:
    """Some of the descents, or one."""
    result: Search = jax.tree.map(lambda leaf: leaf[which], search)
    return result


def _sorted(search: Search) -> Search:
    return _rows(search, np.argsort(np.where(np.isfinite(search.at.ssr), search.at.ssr, np.inf), kind="stable"))


def _concatenate(one: Search, other: Search) -> Search:
    result: Search = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)
    return result


def _agreement(polished: Search, n_data: int) -> int:
    ssr = polished.at.ssr
    return int(np.sum((ssr - ssr[0]) * n_data <= _SAME_CHI2 * ssr[0]))


def _result(
    polished: Search,
    rounds: int,
    data: TwoTimeData,
    settings: HeterodyneConfig,
    where: Setting,
    scale: scaling.Scaling,
    centre: float,
    n_data: int,
) -> FitResult:
    if not np.isfinite(polished.at.ssr[0]):
        raise DataError(f"{data.source or 'these data'}: no start within the bounds gives a finite model; widen them")
    best = _rows(polished, 0)
    at = best.at
    x, joint, curvature, free = (np.asarray(part) for part in (best.x, at.joint, at.curvature, at.free))
    errors = uncertainty.assess(x, joint, curvature, free, where)
    ssr, sigma = float(best.at.ssr), noise.sigma(data.c2)
    variance = ssr / (n_data - errors.n_free)
    chi2 = variance / sigma**2 if sigma > 0 else float("inf")
    agreement = _agreement(polished, n_data)
    per_angle = _per_angle(np.asarray(at.coefficients), errors.scaling * variance, scale.basis, centre)
    warnings = _warnings(best, agreement, len(polished.x), n_data, chi2, per_angle, settings)
    gained = (scaling.constant_ssr(data.c2, scale.basis) - ssr) / variance
    warnings = (*_no_signal(gained, errors.n_free - scale.basis.shape[1]), *warnings)
    parameters, headline = (
        np.asarray(part)
        for part in coordinates.report(jnp.asarray(best.x), where.gauge, jnp.log(jnp.asarray(where.f0)))
    )
    spread, headline_spread = (np.sqrt(np.diag(c * variance)) for c in (errors.parameters, errors.headline))
    return FitResult(
        parameters={name: Estimate(float(parameters[k]), float(spread[k])) for k, name in enumerate(NAMES)},
        covariance=errors.parameters * variance,
        j_ref=Estimate(float(headline[0]), float(headline_spread[0])),
        j_sample=Estimate(float(headline[1]), float(headline_spread[1])),
        v=Estimate(float(headline[2]), float(headline_spread[2])),
        t_ref=float(where.gauge.t_ref),
        contrast=per_angle[0],
        offset=per_angle[1],
        ssr=ssr,
        n_data=n_data,
        n_free=errors.n_free,
        noise=sigma,
        reduced_chi2=chi2,
        converged=not warnings,
        agreement=agreement,
        n_polished=len(polished.x),
        rounds=rounds,
        warnings=warnings,
        at_bounds=errors.at_bounds,
        degenerate=(*(() if where.f2_fixed else (_F0_F2,)), *errors.degenerate),
        coordinates=np.asarray(best.x),
    )


_F0_F2 = "f0 with f2: only f0 exp(−f1 f2) is determined by any data; f2 is set to mid-window"


def _per_angle(
    coefficients: np.ndarray, covariance: np.ndarray, basis: np.ndarray, centre: float
) -> tuple[tuple[Estimate, ...], tuple[Estimate, ...]]:
    m = basis.shape[1]
    found = []
    for k, shift in ((0, 0.0), (1, centre)):
        values = basis @ coefficients[k] + shift
        part = covariance[k * m : (k + 1) * m, k * m : (k + 1) * m]
        spread = np.sqrt(np.einsum("am,mn,an->a", basis, part, basis))
        found.append(tuple(Estimate(float(v), float(s)) for v, s in zip(values, spread, strict=True)))
    return found[0], found[1]


def _no_signal(gained: float, unknowns: int) -> tuple[str, ...]:
    """A warning if χ² is not clearly lower than that of a constant; else empty."""
    needed = _PER_UNKNOWN * unknowns + _PER_FIT
    if gained > needed:
        return ()
    comparison = f"χ² is lower than that of a constant by {gained:.3g}, where {unknowns} unknowns need {needed:g}"
    return (f"{comparison}: these data show no correlation that could be fitted",)


def _warnings(
    best: Search,
    agreement: int,
    n_polished: int,
    n_data: int,
    chi2: float,
    per_angle: tuple[tuple[Estimate, ...], tuple[Estimate, ...]],
    settings: HeterodyneConfig,
) -> tuple[str, ...]:
    """Every reason to doubt the minimum or the model, one sentence each."""
    found = []
    limits = settings.fit
    if agreement < limits.agreement:
        found.append(
            f"{agreement} of {n_polished} polished starts ended here, {limits.agreement} are needed; "
            "raise fit.starts or fit.rounds"
        )
    if not best.done and best.promised > _DONE_CHI2 * best.at.ssr / n_data:
        found.append(
            f"the best start was still descending after {_FINISH_EFFORT * limits.max_iterations} steps; "
            "raise fit.max_iterations"
        )
    if not chi2 <= limits.reduced_chi2_max:
        found.append(
            f"reduced χ² is {chi2:.3g}, above {limits.reduced_chi2_max:g}: the model does not describe the data to "
            "their noise"
        )
    for name, values, bounds in (
        ("contrast", per_angle[0], settings.scaling.contrast.bounds),
        ("offset", per_angle[1], settings.scaling.offset.bounds),
    ):
        # The fit enforces these bounds in every mode but fourier.
        worst = max(values, key=lambda e: max(bounds[0] - e.value, e.value - bounds[1]))
        if settings.scaling.mode == "fourier" and not bounds[0] <= worst.value <= bounds[1]:
            found.append(f"the {name} of an angle is {worst.value:.3g}, outside {bounds[0]:g} to {bounds[1]:g}")
    return tuple(found)

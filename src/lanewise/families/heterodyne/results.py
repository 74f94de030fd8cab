"""The result of a task: the content of its result.json and the arrays of its NPZ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lanewise.errors import LanewiseError
from lanewise.families.heterodyne import cmc_result, models
from lanewise.families.heterodyne import config as heterodyne_config
from lanewise.families.heterodyne.data import TwoTimeData, without_diagonal
from lanewise.families.heterodyne.models import ModelName
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus

if TYPE_CHECKING:
    # Only here: it imports JAX, and a campaign is planned without.
    from lanewise.families.heterodyne.cmc.sample import Sampled
    from lanewise.families.heterodyne.nlsq.result import Estimate, Estimates, FitResult

FORMAT_VERSION = 1
# Largest number of blocks of frames along each axis of a residual map.
_MAP_BLOCKS = 32
_PER_ANGLE = ("contrast", "offset")
# Fields of a fit that result.json contains under the same name.
_AS_THEY_ARE = ("ssr", "n_data", "n_free", "agreement", "n_polished", "rounds")


@dataclass(frozen=True)
class TaskResult:
    """The result of one task.

    Attributes:
        task: readable name of the task.
        reason: why the fit failed or did not converge; empty if it converged.
        swept: values set by the sweep, by dotted config path.
        model: name of the model.
        content: content of result.json, according to its schema; empty if there is no fit.
        arrays: arrays of the NPZ, float64; empty if there is no fit.
        tries: every attempt, including the first run; empty if the task was never retried.
    """

    run_id: str
    task: str
    seed: int
    status: LaneStatus
    reason: str
    input_filename: str
    data_sha256: str
    swept: Mapping[str, Any]
    model: ModelName = "two_component"
    content: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    method: str = "nlsq"
    tries: tuple[Try, ...] = ()

    @property
    def member_counts(self) -> Mapping[str, int]:
        """Empty: a fit has one member."""
        return {}

    def with_tries(self, tries: tuple[Try, ...]) -> Self:
        """The same result with these attempts on record."""
        return replace(self, tries=tries)


def failed(task: Task, error: Exception) -> TaskResult:
    """The result of a task that raised this error instead of a fit."""
    reason = str(error) if isinstance(error, LanewiseError) else f"{type(error).__name__}: {error}"
    # The result contains the name of the file, not its path.
    reason = reason.replace(task.input.path, task.input.filename)
    return _without_fit(task, LaneStatus.FAILED, reason)


def fitted(
    task: Task, data: TwoTimeData, fit: FitResult, versions: Mapping[str, str], sampled: Sampled | None = None
) -> TaskResult:
    """The result of a fit and of the sampling around it; converged if both have."""
    doubts = list(fit.warnings)
    arrays = _arrays(task, data, fit)
    if sampled is not None:
        arrays |= cmc_result.arrays(sampled)
        if sampled.result.status is not LaneStatus.OK:
            doubts.append(f"sampling: {sampled.result.reason.rstrip('.')}")
    status = LaneStatus.NOT_CONVERGED if doubts else LaneStatus.OK
    reason = f"{'; '.join(doubts)}." if doubts else ""
    content = {
        "format_version": FORMAT_VERSION,
        "run_id": task.run_id,
        "task": task.name,
        "identity": task.own_identity,
        "method": task.config.method,
        "status": status.word,
        "converged": not doubts,
        **({"convergence_warning": reason} if doubts else {}),
        "seed": task.seed,
        "input_filename": task.input.filename,
        "data_sha256": data.sha256,
        "swept": dict(task.swept),
        "config": task.config.content,
        "data": _data(data),
        "nlsq": {**_numbers(fit), "residual_rms": _rms(arrays["residual_map"])},
        **({} if sampled is None else {"cmc": cmc_result.section(sampled, fit, arrays["t"])}),
        "versions": dict(versions),
    }
    return replace(_without_fit(task, status, reason), content=content, arrays=arrays)


def _without_fit(task: Task, status: LaneStatus, reason: str) -> TaskResult:
    file = task.input
    return TaskResult(
        task.run_id,
        task.name,
        task.seed,
        status,
        reason,
        file.filename,
        file.sha256,
        task.swept,
        task.config.model.type,
        method=task.config.method,
    )


def _data(data: TwoTimeData) -> dict[str, Any]:
    return {
        "layout": data.layout,
        "q": [float(q) for q in data.q] if isinstance(data.q, np.ndarray) else data.q,
        "dt": data.dt,
        "phi": [float(angle) for angle in data.phi],
        "start_frame": data.start_frame,
        "end_frame": data.end_frame,
        "n_frames": data.n_frames,
        **({} if data.n_pixels is None else {"n_pixels": [float(pixels) for pixels in data.n_pixels]}),
        "notes": list(data.notes),
    }


def _numbers(fit: FitResult) -> dict[str, Any]:
    """The section `nlsq`; an infinite error (the data do not determine the value) becomes null."""
    single = {**fit.parameters, **fit.headline}
    speckle, sigma = fit.speckle, fit.noise.sigma
    return {
        **{name: one.value for name, one in single.items()},
        **{name: [one.value for one in getattr(fit, name)] for name in _PER_ANGLE},
        "errors": _errors(fit),
        "errors_independent": _errors(fit.independent),
        "noise_model": "speckle" if speckle else "independent",
        "shared_noise_z": fit.shared_z,
        "speckle": {
            "pixels": list(speckle.detector.pixels),
            "modes": speckle.detector.modes,
            "flux": _finite(speckle.detector.flux),
            "chi2_p_value": speckle.p_value,
        }
        if speckle
        else None,
        "t_ref": fit.t_ref,
        "chi2": _finite(fit.ssr / sigma**2) if sigma > 0 else None,
        "reduced_chi2": _finite(fit.reduced_chi2),
        "expected_chi2": _finite(fit.expected_chi2),
        "exchange_chi2": _finite(fit.exchange_chi2),
        "second_component_chi2": _finite(fit.second_component_chi2),
        "noise": sigma,
        "noise_of_angle": fit.noise.of_angle.tolist(),
        "noise_of_age": fit.noise.of_age.tolist(),
        **{name: getattr(fit, name) for name in _AS_THEY_ARE},
        **{name: list(getattr(fit, name)) for name in ("at_bounds", "degenerate", "warnings")},
        **_comparison(fit),
    }


def _errors(of: Estimates) -> dict[str, Any]:
    single = {**of.parameters, **of.headline}
    return {
        **{name: _finite(one.error) for name, one in single.items()},
        **{name: [_finite(one.error) for one in getattr(of, name)] for name in _PER_ANGLE},
    }


def _comparison(fit: FitResult) -> dict[str, Any]:
    if fit.comparison is None:
        return {}
    found = fit.comparison
    return {"comparison": {"criterion": found.criterion, "best": found.best, "deltas": dict(found.deltas)}}


def _arrays(task: Task, data: TwoTimeData, fit: FitResult) -> dict[str, np.ndarray]:
    numbers: dict[str, Any] = {"parameters": fit.vector, "covariance": fit.covariance}
    for name in ("headline", *_PER_ANGLE):
        numbers[name] = [one.value for one in _group(fit, name)]
    for suffix, of in (("", fit), ("_independent", fit.independent)):
        for name in ("", "headline", *_PER_ANGLE):
            numbers[f"{name}_errors{suffix}".strip("_")] = [one.error for one in _group(of, name)]
    numbers |= {
        "t": data.ages(task.config.model.time_origin),
        "t_ref": fit.t_ref,
        "q": data.q,
        "dt": data.dt,
        "phi": data.phi,
        "noise": fit.noise.sigma,
        "noise_of_angle": fit.noise.of_angle,
        "noise_of_age": fit.noise.of_age,
        **{name: getattr(fit.bands, name) for name in ("rates", "rates_errors", "cut_frames", "cuts", "cuts_errors")},
        "cuts_data": np.where(np.isnan(fit.bands.cuts), np.nan, data.c2[:, fit.bands.cut_frames]),
    }
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}
    scale = fit.noise.sigma if fit.noise.sigma > 0 else math.sqrt(fit.ssr / fit.n_data)
    modelled = model(arrays, task.config.model)
    residuals = np.where(data.counted, (data.c2 - modelled) / fit.noise.factor(data.n_frames), 0.0)
    arrays["residual_map"] = _residual_map(residuals, data.counted, scale)
    arrays["data_map"], arrays["model_map"] = maps(data, modelled, _MAP_BLOCKS)
    return arrays | ({"c2": modelled} if task.config.outputs.c2 else {})


def _group(of: Estimates, name: str) -> Iterable[Estimate]:
    """Parameters for no name, the headline, or the values per angle."""
    return of.parameters.values() if not name else of.headline.values() if name == "headline" else getattr(of, name)


def model(arrays: Mapping[str, np.ndarray], of: heterodyne_config.Model) -> np.ndarray:
    """The correlation that was fitted, shape (n_phi, N, N), from the arrays of its NPZ."""
    names = ("parameters", "t", "q", "dt", "phi", "contrast", "offset")
    parameters, t, q, dt, phi, contrast, offset = (arrays[name] for name in names)
    found: np.ndarray = models.correlation(of.type, parameters, t, q, float(dt), phi, contrast, offset, of.definitions)
    return found


def _residual_map(residuals: np.ndarray, counted: np.ndarray, scale: float) -> np.ndarray:
    """Mean residual per block of frame pairs in units of its standard error, shape (n_phi, M, M), M ≤ 32.

    If the model describes the data, the values are standard normal. Averaging shows deviations that are below the
    noise of a single value. Blocks without a pair that counts are NaN.

    Args:
        residuals: data minus model, shape (n_phi, N, N); 0 for pairs that do not count.
        counted: which pairs of frames count, shape (N, N).
        scale: standard deviation of one residual.
    """
    n = residuals.shape[-1]
    edges = block_edges(n, _MAP_BLOCKS)
    upper = np.triu(counted, 1).astype(np.float64)
    # Count each pair once: in a block on the diagonal, both triangles hold the same numbers.
    total, count = block_sums(residuals * upper, edges), block_sums(upper, edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = total / (np.sqrt(count) * scale)
    lower = np.swapaxes(half, 1, 2)
    blocks: np.ndarray = np.where(np.tril(np.ones(count.shape, bool), -1), lower, half)
    return blocks


def block_edges(n_frames: int, most: int) -> np.ndarray:
    """First frame (0-based) of each block, if frames are split into at most `most` blocks of nearly equal size."""
    return np.linspace(0, n_frames, min(n_frames, most) + 1).astype(int)[:-1]


def maps(data: TwoTimeData, modelled: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of data and model over at most `most` blocks of frames, shape (n_phi, M, M); NaN for an empty block.

    Args:
        modelled: the correlation that was fitted, shape (n_phi, N, N).
    """
    edges = block_edges(data.n_frames, most)
    # The diagonal has a value unless its frame is masked.
    known = np.isfinite(data.c2[0])
    sizes = block_sums(known.astype(np.float64), edges)
    with np.errstate(invalid="ignore"):
        measured, fitted = (
            block_sums(np.where(known, one, 0.0), edges) / sizes
            for one in (data.c2, np.stack([without_diagonal(m) for m in modelled]))
        )
    return measured, fitted


def block_sums(matrices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sums over blocks of frames along the last two axes, shape (…, M, M) for M edges."""
    return np.asarray(np.add.reduceat(np.add.reduceat(matrices, edges, axis=-2), edges, axis=-1))


def _rms(blocks: np.ndarray) -> float:
    """Root mean square of a residual map, each block counted once; near 1 if the model describes the data."""
    each = blocks[:, *np.triu_indices(blocks.shape[-1])]
    return float(np.sqrt(np.nanmean(each**2)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

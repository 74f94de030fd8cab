"""The result of a task: the content of its result.json and the arrays of its NPZ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from lanewise.errors import LanewiseError
from lanewise.families.heterodyne import c2
from lanewise.families.heterodyne.c2 import HEADLINE, NAMES
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq.fit import Estimate, FitResult
from lanewise.families.heterodyne.tasks import Task
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus

FORMAT_VERSION = 1
# Largest number of blocks of frames along each axis of a residual map.
_MAP_BLOCKS = 32


@dataclass(frozen=True)
class TaskResult:
    """The result of one task.

    Attributes:
        task: readable name of the task.
        reason: why the fit failed or did not converge; empty if it converged.
        swept: values set by the sweep, by dotted config path.
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
    content: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    method: str = "nlsq"
    tries: tuple[Try, ...] = ()

    def with_tries(self, tries: tuple[Try, ...]) -> Self:
        """The same result with these attempts on record."""
        return replace(self, tries=tries)


def failed(task: Task, error: Exception) -> TaskResult:
    """The result of a task that raised this error instead of a fit."""
    reason = str(error) if isinstance(error, LanewiseError) else f"{type(error).__name__}: {error}"
    # The result contains the name of the file, not its path.
    reason = reason.replace(task.input.path, task.input.filename)
    return _result(task, LaneStatus.FAILED, reason)


def fitted(task: Task, data: TwoTimeData, fit: FitResult, versions: Mapping[str, str]) -> TaskResult:
    """The result of a fit, converged or not."""
    status = LaneStatus.OK if fit.converged else LaneStatus.NOT_CONVERGED
    reason = "" if fit.converged else f"{'; '.join(fit.warnings)}."
    arrays = _arrays(task, data, fit)
    content = {
        "format_version": FORMAT_VERSION,
        "run_id": task.run_id,
        "task": task.name,
        "identity": task.own_identity,
        "method": "nlsq",
        "status": status.word,
        "converged": fit.converged,
        **({} if fit.converged else {"convergence_warning": reason}),
        "seed": task.seed,
        "input_filename": task.input.filename,
        "data_sha256": data.sha256,
        "swept": dict(task.swept),
        "config": task.config.content,
        "data": _data(task, data),
        "nlsq": {**_numbers(fit), "residual_rms": _rms(arrays["residual_map"])},
        "versions": dict(versions),
    }
    return _result(task, status, reason, content, arrays)


def _result(
    task: Task,
    status: LaneStatus,
    reason: str,
    content: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> TaskResult:
    where = task.input
    return TaskResult(
        task.run_id,
        task.name,
        task.seed,
        status,
        reason,
        where.filename,
        where.sha256,
        task.swept,
        content or {},
        arrays or {},
    )


def _data(task: Task, data: TwoTimeData) -> dict[str, Any]:
    return {
        "layout": data.layout,
        "q": data.q,
        "dt": data.dt,
        "phi": [float(angle) for angle in data.phi],
        "start_frame": data.start_frame,
        "end_frame": data.start_frame + data.n_frames - 1,
        "n_frames": data.n_frames,
        "notes": list(data.notes),
    }


def _numbers(fit: FitResult) -> dict[str, Any]:
    """The section `nlsq`; an infinite error (the data do not determine the value) becomes null."""
    estimates = {**fit.parameters, **headline(fit)}
    per_angle: dict[str, Sequence[Estimate]] = {"contrast": fit.contrast, "offset": fit.offset}
    values: dict[str, Any] = {name: estimate.value for name, estimate in estimates.items()}
    errors: dict[str, Any] = {name: _finite(estimate.error) for name, estimate in estimates.items()}
    for name, angles in per_angle.items():
        values[name] = [estimate.value for estimate in angles]
        errors[name] = [_finite(estimate.error) for estimate in angles]
    return {
        **values,
        "errors": errors,
        "t_ref": fit.t_ref,
        "chi2": _finite(fit.ssr / fit.noise**2) if fit.noise > 0 else None,
        "reduced_chi2": _finite(fit.reduced_chi2),
        "ssr": fit.ssr,
        "noise": fit.noise,
        "n_data": fit.n_data,
        "n_free": fit.n_free,
        "agreement": fit.agreement,
        "n_polished": fit.n_polished,
        "rounds": fit.rounds,
        "at_bounds": list(fit.at_bounds),
        "degenerate": list(fit.degenerate),
        "warnings": list(fit.warnings),
    }


def headline(fit: FitResult) -> dict[str, Estimate]:
    """The quantities that the data determine best, by their names in `HEADLINE`."""
    return dict(zip(HEADLINE, (fit.j_ref, fit.j_sample, fit.v), strict=True))


def _arrays(task: Task, data: TwoTimeData, fit: FitResult) -> dict[str, np.ndarray]:
    numbers: dict[str, Any] = {
        "parameters": [fit.parameters[name].value for name in NAMES],
        "errors": [fit.parameters[name].error for name in NAMES],
        "covariance": fit.covariance,
        "headline": [estimate.value for estimate in headline(fit).values()],
        "headline_errors": [estimate.error for estimate in headline(fit).values()],
        "contrast": [estimate.value for estimate in fit.contrast],
        "contrast_errors": [estimate.error for estimate in fit.contrast],
        "offset": [estimate.value for estimate in fit.offset],
        "offset_errors": [estimate.error for estimate in fit.offset],
        "t": _ages(task, data),
        "t_ref": fit.t_ref,
        "q": data.q,
        "dt": data.dt,
        "phi": data.phi,
        "noise": fit.noise,
        "residual_map": residual_map(task, data, fit),
    }
    return {name: np.asarray(value, dtype=np.float64) for name, value in numbers.items()}


def _ages(task: Task, data: TwoTimeData) -> np.ndarray:
    return c2.time_grid(data.n_frames, data.dt, data.start_frame, task.config.model.time_origin)


def residual_map(task: Task, data: TwoTimeData, fit: FitResult) -> np.ndarray:
    """Mean residual per block of frame pairs in units of its standard error, shape (n_phi, M, M), M ≤ 32.

    If the model describes the data, the values are standard normal. Averaging shows deviations that are below the
    noise of a single value. Blocks without a pair off the diagonal are NaN.
    """
    model = c2.two_time_correlation(
        fit.vector,
        _ages(task, data),
        data.q,
        data.dt,
        data.phi,
        np.array([estimate.value for estimate in fit.contrast]),
        np.array([estimate.value for estimate in fit.offset]),
        task.config.model.fraction_clip,
    )
    n = data.n_frames
    edges = block_edges(n, _MAP_BLOCKS)
    upper = np.triu(np.ones((n, n)), 1)
    # Count each pair once: in a block on the diagonal, both triangles hold the same numbers.
    total, count = block_sums((data.c2 - model) * upper, edges), block_sums(upper, edges)
    scale = fit.noise if fit.noise > 0 else math.sqrt(fit.ssr / fit.n_data)
    with np.errstate(invalid="ignore", divide="ignore"):
        half = total / (np.sqrt(count) * scale)
    lower = np.swapaxes(half, 1, 2)
    blocks: np.ndarray = np.where(np.tril(np.ones(count.shape, bool), -1), lower, half)
    return blocks


def block_edges(n_frames: int, most: int) -> np.ndarray:
    """First frame (0-based) of each block, if frames are split into at most `most` blocks of nearly equal size."""
    return np.linspace(0, n_frames, min(n_frames, most) + 1).astype(int)[:-1]


def block_sums(matrices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Sums over blocks of frames along the last two axes, shape (…, M, M) for M edges."""
    return np.asarray(np.add.reduceat(np.add.reduceat(matrices, edges, axis=-2), edges, axis=-1))


def _rms(blocks: np.ndarray) -> float:
    """Root mean square of a residual map, each block counted once; near 1 if the model describes the data."""
    each = blocks[:, *np.triu_indices(blocks.shape[-1])]
    return float(np.sqrt(np.nanmean(each**2)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None

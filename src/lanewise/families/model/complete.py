"""What follows from the draws of a data set: its deterministic sites, and what is asked for under `outputs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from lanewise.engine.results import Result
from lanewise.families.model import datasets, modes, pointwise, trial
from lanewise.families.model.config import ModelConfig
from lanewise.manifest.problem import Data
from lanewise.manifest.status import LaneStatus


def complete(config: ModelConfig, fits: Sequence[tuple[Result, Data]]) -> list[Result]:
    """The results with the constant elements of their latents and the deterministic sites for every draw, and groups.

    One is not converged if its draws have missed a mode of the posterior.

    Simulated data sets of a calibration have no groups.

    Args:
        fits: results with draws, and the arrays of their data as prepared.
    """
    given = [
        {name: one if one.dtype == bool else one.astype(config.precision) for name, one in data.items()}
        for _, data in fits
    ]
    good = [at for at, (result, _) in enumerate(fits) if result.status is LaneStatus.OK]
    ends = dict(zip(good, modes.search(config, [given[at] for at in good]), strict=True))
    return [_completed(config, result, given[at], ends.get(at)) for at, (result, _) in enumerate(fits)]


def _completed(config: ModelConfig, result: Result, arrays: Data, ends: modes.Ends | None) -> Result:
    density, compute = _deterministics(config)
    shape = result.shape
    more = {name: np.full(shape, value) for name, value in density.constants.items()}
    flat = {name: np.ravel(draws).astype(config.precision) for name, draws in result.posterior.items()}
    if density.deterministics:
        found = jax.device_get(compute(flat, arrays))
        more |= {
            name: np.asarray(values[:, at], np.float64).reshape(shape)
            for variable, values in zip(density.deterministics, found, strict=True)
            for at, name in enumerate(variable.flat)
        }
    groups: pointwise.Groups = {}
    if config.outputs.any and not datasets.is_simulated(result.run_id):
        groups = pointwise.groups(config, result, flat, arrays)
    status, reason = result.status, result.reason
    if ends is not None and (told := modes.missed(config, flat, ends)):
        status, reason = LaneStatus.NOT_CONVERGED, told
    units = datasets.units(config.inputs)
    units |= {site: units[column] for site, column in density.observed.items() if column in units}
    posterior = {**result.posterior, **more}
    return replace(result, posterior=posterior, groups=groups, status=status, reason=reason, units=units)


@lru_cache(maxsize=4)
def _deterministics(config: ModelConfig) -> tuple[Any, Callable[..., Any]]:
    density = trial.examine(config)

    def of(flat: Any, arrays: Any) -> Any:
        values = density.unflattened(flat)
        return jax.vmap(lambda one: density.deterministic(one, arrays))(values)

    return density, jax.jit(of)

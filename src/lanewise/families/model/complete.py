"""What follows from the draws of a data set: its deterministic sites, and what is asked for under `outputs`."""

from __future__ import annotations

from collections.abc import Callable
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


def complete(config: ModelConfig, result: Result, data: Data) -> Result:
    """The result with the constant elements of its latents and the deterministic sites for every draw, and groups.

    It is not converged if its draws have missed a mode of the posterior.

    Simulated data sets of a calibration have no groups.
    """
    density, compute = _deterministics(config)
    shape = result.shape
    more = {name: np.full(shape, value) for name, value in density.constants.items()}
    flat = {name: np.ravel(draws).astype(config.precision) for name, draws in result.posterior.items()}
    arrays = {name: one if one.dtype == bool else one.astype(config.precision) for name, one in data.items()}
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
    if status is LaneStatus.OK and (told := modes.missed(config, flat, arrays)):
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

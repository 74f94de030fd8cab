"""What a user reads from positions: parameters, values at the mean age, contrast, offset and noise."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.priors import DEFAULTS
from lanewise.manifest.problem import Data

# Amplitude of the share at mid-window, f0 exp(−f1 (f2 − t_mid)): f0 if f2 is mid-window.
AMPLITUDE = "f0_mid"
# Cells of f0 for its draws given the amplitude.
_CELLS = 512


def of_positions(
    problem: Posterior, positions: np.ndarray, data: Data, config: HeterodyneConfig, seed: int
) -> dict[str, np.ndarray]:
    """Every quantity by name, each of the shape of `positions` without its last axis.

    Parameters that are fixed are left out. Contrast and offset are one each if all angles share them, else one per
    angle, `contrast_0` …

    Args:
        seed: of the draws of f0 and f2 given what the data determine.
    """
    flat = positions.reshape(-1, positions.shape[-1])
    parameters, headline, contrast, offset, sigma, amplitude = (
        np.asarray(part) for part in _reported(jnp.asarray(flat), data, problem)
    )
    physics = problem.layout.model.physics
    found = dict(zip(physics.headline, headline.T, strict=True))
    found |= dict(zip(physics.names, parameters.T, strict=True))
    if problem.layout.has_gauge:
        found["f0"], found["f2"] = _unfolded(amplitude, found["f1"], data, config, np.random.default_rng(seed))
        found[AMPLITUDE] = np.exp(amplitude)
    free = {name for name, one in config.parameters.items() if one.min < one.max}
    found = {name: values for name, values in found.items() if name in free or name not in config.parameters}
    centre = float(data["pairs"].centre)
    for name, values, shift in (("contrast", contrast, 0.0), ("offset", offset, centre)):
        if not any(_half(problem.layout.free_scaling, name)):
            continue
        basis = np.asarray(data["basis"])
        shared = basis.shape[1] == 1
        found |= {name if shared else f"{name}_{k}": values[:, k] + shift for k in range(1 if shared else len(basis))}
    found["noise"] = sigma
    shape = positions.shape[:-1]
    return {name: values.reshape(shape) for name, values in found.items()}


def headline(problem: Posterior, positions: np.ndarray, data: Data) -> dict[str, np.ndarray]:
    """The values of `Model.headline` by name, each of the shape of `positions` without its last axis."""
    _, found, *_ = _reported(jnp.asarray(positions.reshape(-1, positions.shape[-1])), data, problem)
    names = problem.layout.model.physics.headline
    return {name: np.asarray(one).reshape(positions.shape[:-1]) for name, one in zip(names, found.T, strict=True)}


def _half(free: tuple[bool, ...], name: str) -> tuple[bool, ...]:
    n = len(free) // 2
    return free[:n] if name == "contrast" else free[n:]


@partial(jax.jit, static_argnames="problem")
def _reported(positions: jax.Array, data: Any, problem: Posterior) -> tuple[jax.Array, ...]:
    model = problem.layout.model

    def one(position: jax.Array) -> tuple[jax.Array, ...]:
        at = problem.unknowns(position, data)
        parameters, headline = model.report(at.x, data["gauge"])
        contrast, offset = (data["basis"] @ part for part in at.coefficients)
        amplitude = model.to_box(at.x, data["gauge"])[9] if problem.layout.has_gauge else jnp.zeros(())
        return parameters, headline, contrast, offset, jnp.exp(at.log_sigma), amplitude

    found: tuple[jax.Array, ...] = jax.vmap(one)(positions)
    return found


def _unfolded(
    amplitude: np.ndarray, f1: np.ndarray, data: Data, config: HeterodyneConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws of f0 and f2 given the amplitude and f1, of which the data say nothing more."""
    chosen: Mapping[str, Any] = {**DEFAULTS, **config.cmc.priors}
    table = chosen["f0"].tabulated(*config.parameters["f0"].bounds)
    low, high = config.parameters["f2"].bounds
    t_mid = float(data["gauge"].t_mid)
    f0 = table.nodes(_CELLS)
    log_f0 = np.log(f0)
    found = np.zeros((2, len(amplitude)))
    for at, (a, slope, u) in enumerate(zip(amplitude, f1, rng.uniform(size=len(f1)), strict=True)):
        with np.errstate(divide="ignore", invalid="ignore"):
            f2 = t_mid + (log_f0 - a) / slope
        inside = (f2 >= low) & (f2 <= high)
        density = np.where(inside, chosen["f2"].log_density(np.where(inside, f2, high)), -np.inf)
        weight = np.exp(density - density.max()) if inside.any() else np.full(_CELLS, 1.0)
        pick = min(int(np.searchsorted(np.cumsum(weight) / weight.sum(), u)), _CELLS - 1)
        found[:, at] = f0[pick], f2[pick]
    return found[0], found[1]

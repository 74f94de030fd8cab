"""Whether a posterior has modes that its draws have not visited, told by a search from several starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.lanes import SharedOut, alike, over_block
from lanewise.families.model import trial
from lanewise.families.model.config import ModelConfig
from lanewise.families.model.problem import ModelProblem
from lanewise.methods import mode
from lanewise.statistics.numbers import number, percent

# Draws of the prior that are starts, beside the start of the method.
_DRAWS = 7
_GRADIENT_NORM, _ITERATIONS = 1e-2, 60
# Modes are distinct if they are further from each other than this, in standard deviations of each.
_APART = 4.0
# Data sets that are searched by one call, which no signal interrupts.
_TOGETHER = 16
# A mode with at least this share of the mass is missed if it has less than this part of its share of the draws.
_SHARE, _PART = 0.05, 0.2


class Ends(NamedTuple):
    """Where the searches of a data set ended.

    Attributes:
        position, value, hessian: of each search: (start, n), (start,), (start, n, n); the negative Hessian.
        norm: its last gradient norm, (start,).
    """

    position: Any
    value: Any
    hessian: Any
    norm: Any


class Programs(NamedTuple):
    """Compiled for a model.

    Attributes:
        search: over blocks of data sets: their arrays → `Ends`.
        positions: of draws, from the values of the latents.
        names: of the elements of a position, with their values.
    """

    search: SharedOut
    positions: Callable[..., Any]
    names: Callable[[np.ndarray], list[tuple[str, float]]]


def search(config: ModelConfig, data: Sequence[Mapping[str, np.ndarray]]) -> list[Ends]:
    """Where the searches of every data set ended.

    Args:
        data: as the density gets it.
    """
    program = _programs(config).search
    found: dict[int, Ends] = {}
    shapes = [tuple((name, array.shape) for name, array in one.items()) for one in data]
    for block in alike(shapes, _TOGETHER):
        padded = [data[at] for at in block + block[:1] * (_TOGETHER - len(block))]
        stacked = {name: np.stack([one[name] for one in padded]) for name in padded[0]}
        ends = jax.device_get(program(np.arange(_TOGETHER) < len(block), stacked))
        found |= {at: Ends(*(np.asarray(array[i], np.float64) for array in ends)) for i, at in enumerate(block)}
    return [found[at] for at in range(len(data))]


def missed(config: ModelConfig, draws: Mapping[str, Any], found: Ends) -> str:
    """A sentence if the posterior has a mode that the draws have missed; empty if not.

    Args:
        draws: each latent's draws, shape (draw,).
    """
    modes = _distinct(found)
    if len(modes) < 2:
        return ""
    programs = _programs(config)
    positions = np.asarray(programs.positions(draws), np.float64)
    log_mass = np.array([found.value[k] - 0.5 * np.linalg.slogdet(found.hessian[k])[1] for k in modes])
    mass = np.exp(log_mass - np.max(log_mass))
    mass /= np.sum(mass)
    near = np.stack([0.5 * np.linalg.slogdet(found.hessian[k])[1] - 0.5 * _squared(found, positions, k) for k in modes])
    share = np.bincount(np.argmax(near, axis=0), minlength=len(modes)) / len(positions)
    for at in np.argsort(-mass):
        if mass[at] >= _SHARE and share[at] < _PART * mass[at]:
            where = ", ".join(
                f"{name} = {number(value)}" for name, value in programs.names(found.position[modes[at]])[:4]
            )
            return (
                f"The posterior has {len(modes)} modes, and {percent(share[at], '.0f')} of the draws are at the "
                f"one near {where}, "
                f"which has about {percent(mass[at], '.0f')} of the mass; use nuts with several chains, a prior "
                "that tells the "
                "modes apart, or a parametrization without them."
            )
    return ""


def _distinct(found: Ends) -> list[int]:
    """Numbers of searches that ended at modes far from each other, the highest first."""
    finite = np.isfinite(found.value) & np.all(np.isfinite(found.hessian), axis=(1, 2))
    ended = np.flatnonzero(finite & (found.norm <= _GRADIENT_NORM))
    ended = ended[np.linalg.eigvalsh(found.hessian[ended])[:, 0] > 0]
    apart = found.position[ended, None] - found.position[ended]
    squared = np.einsum("abi,bij,abj->ab", apart, found.hessian[ended], apart)
    far = np.minimum(squared, squared.T) > _APART**2
    kept: list[int] = []
    for at in np.argsort(-found.value[ended]):
        if np.all(far[at, kept]):
            kept.append(int(at))
    return [int(k) for k in ended[kept]]


def _squared(found: Ends, positions: np.ndarray, k: int) -> np.ndarray:
    """Squared distance from a mode, in its standard deviations, shape (position,)."""
    apart = positions - found.position[k]
    squared: np.ndarray = np.einsum("ki,ij,kj->k", apart, found.hessian[k], apart)
    return squared


@lru_cache(maxsize=4)
def _programs(config: ModelConfig) -> Programs:
    density, problem = trial.examine(config), ModelProblem(config)

    def search(arrays: Any) -> Ends:
        hill = mode.of_position(problem, arrays)
        keys = jax.random.split(jax.random.key(1), _DRAWS)
        drawn = jax.vmap(lambda key: density.prior_position(key, arrays))(keys)
        starts = jnp.concatenate([problem.start(arrays)[None], drawn])
        ends = jax.vmap(lambda at: mode.find(hill, at, _GRADIENT_NORM, _ITERATIONS))(starts)
        hessians = jax.vmap(lambda at: -jax.hessian(hill.log_density)(at))(ends.position)
        return Ends(ends.position, ends.value, hessians, ends.gradient_norm)

    def positions(draws: Any) -> Any:
        return jax.vmap(lambda one: density.position(one, config.precision))(density.unflattened(draws))

    def names(position: np.ndarray) -> list[tuple[str, float]]:
        at = density.constrain(jnp.asarray(position, jnp.result_type(float)))
        return list(zip(density.names, map(float, at), strict=True))

    return Programs(over_block(search, _TOGETHER), jax.jit(positions), names)

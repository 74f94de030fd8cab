"""Runs a sampler over data of equal shapes: each of them has the lanes of one member, in blocks of one width."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise import methods
from lanewise.engine import blocks, keys, programs
from lanewise.engine.blocks import Inputs
from lanewise.engine.convergence import Lane, assess
from lanewise.engine.programs import Stage
from lanewise.engine.results import Result
from lanewise.engine.rounds import Rounds
from lanewise.families.heterodyne.sampling import LEAPFROG, Cmc
from lanewise.machine.progress import Silent
from lanewise.manifest.problem import Problem
from lanewise.manifest.protocols import Keeper
from lanewise.manifest.status import LaneStatus
from lanewise.methods.settings import HmcSettings, ImportanceSettings, NutsSettings

# Steps that `hmc` discards; it starts near the posterior, and adapts nothing. Weak directions are not Gaussian: its
# steps are shorter than for a Gaussian, its trajectories longer.
_BURN_IN, _STEP = 50, 0.35
_TARGET, _DEPTH = 0.9, 8
# Lanes of a block; a checkpoint has the finished blocks.
_WIDTH = 16
# Blocks of different stages, and of members that are sampled again, have different numbers in a checkpoint.
_MAX_UNITS, _STAGES = 100_000, 3


def stages(sampler: str) -> tuple[str, ...]:
    """The samplers that a setting means, in the order in which they are tried."""
    return methods.STAGES.get(sampler, (sampler,))


def stage(problem: Problem, name: str, settings: Cmc, *, sequential: bool) -> Stage:
    """A sampler's programs; those of equal problems and settings are the same, so that data of one shape share them."""
    return _stage(problem, name, settings.num_samples, settings.num_chains, settings.num_warmup, sequential)


@functools.lru_cache(maxsize=8)
def _stage(problem: Problem, name: str, samples: int, chains: int, warmup: int, sequential: bool) -> Stage:
    settings: Any
    if name == "importance":
        settings = ImportanceSettings(samples * chains)
    elif name == "hmc":
        settings = HmcSettings(_BURN_IN, samples, chains, LEAPFROG, _STEP)
    else:
        settings = NutsSettings(warmup, samples, chains, target_accept=_TARGET, max_tree_depth=_DEPTH)
    method = methods.build(name, settings, sequential=sequential)
    return Stage(name, method, programs.build(method, problem, sequential=sequential))


def run(
    stage: Stage,
    each: Mapping[int, Mapping[str, Any]],
    seed: int,
    number: int,
    keeper: Keeper | None = None,
    again: int = 0,
) -> dict[int, list[Lane]]:
    """The lanes of each member.

    Args:
        each: number of a member → its data.
        number: of the stage; part of the keys.
        keeper: keeps the blocks.
        again: how often these members were sampled before; part of the keys.
    """
    n = stage.method.units
    units = [(member, chain) for member in each for chain in range(n)]
    width = min(len(units), max(_WIDTH // n, 1) * n)
    rounds = stage.method.rounds
    total = rounds * -(-len(units) // width)
    found: dict[int, list[Lane]] = {member: [] for member in each}
    for before, begin in enumerate(range(0, len(units), width)):
        block = units[begin : begin + width]
        lanes = [*block, *block[:1] * (width - len(block))]
        own = keys.lane_keys(
            root_seed=seed,
            seeds=[0] * width,
            purpose=keys.Purpose(keys.Purpose.INFERENCE + number),
            units=[member * n + chain for member, chain in lanes],
            retry=again,
        )
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each[member] for member, _ in lanes))
        marked = np.array([(0, *unit) for unit in block])
        first = (number + again * _STAGES) * _MAX_UNITS + block[0][0] * n + block[0][1]
        step = Rounds(first, marked, width, before * rounds, rounds, total, Silent(), keeper)
        inputs = Inputs(own, stacked, jnp.arange(width) < len(block))
        for (member, _), lane in zip(block, blocks.run(stage, inputs, len(block), step), strict=True):
            found[member].append(lane)
    return found


def judged(stage: Stage, lanes: Sequence[Lane], names: Sequence[str], settings: Cmc) -> Result:
    """The draws and diagnostics of one member, and whether they meet the settings; lanes that failed leave no draws."""
    worst = max(lane.status for lane in lanes)
    reason = "" if worst is LaneStatus.OK else _sentence(worst)
    blank = Result("", settings.seed, worst, reason, stage.name, {})
    if worst >= LaneStatus.NON_FINITE:
        return blank
    (result,) = assess(
        kind=stage.method.kind,
        begun=[Result("", settings.seed, LaneStatus.OK, "", stage.name, {})],
        lanes=[lanes],
        names=names,
        criteria=settings.criteria,
    )
    return result


def _sentence(status: LaneStatus) -> str:
    return (
        "the log density or its gradient is not finite near the fit"
        if status is LaneStatus.NON_FINITE
        else status.sentence
    )

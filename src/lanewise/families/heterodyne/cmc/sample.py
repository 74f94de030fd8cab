"""Samples the posterior around a fit."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from lanewise.families.heterodyne.cmc import build, quantities
from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.result import FitResult
from lanewise.machine.progress import Silent
from lanewise.manifest.status import LaneStatus
from lanewise.methods.settings import HmcSettings, ImportanceSettings, NutsSettings

# Steps that `hmc` discards; it starts near the posterior, and adapts nothing. Weak directions are not Gaussian: its
# steps are shorter than for a Gaussian, its trajectories longer.
_BURN_IN, _LEAPFROG, _STEP = 50, 8, 0.35
_TARGET, _DEPTH = 0.9, 8


@dataclass(frozen=True)
class Attempt:
    """One sampler, and why it was not enough; empty if it was."""

    sampler: str
    reason: str


@dataclass(frozen=True)
class Sampled:
    """Draws of the posterior of a data set.

    Attributes:
        result: the draws by quantity, their statistics, diagnostics and status.
        attempts: the samplers that ran; the last one made the draws.
        label: the labelling rule that is part of the prior's support; None for none.
        n_unknowns: number of unknowns that were sampled.
    """

    result: Result
    attempts: tuple[Attempt, ...]
    label: str | None
    n_unknowns: int


def sample(finish: Finish, fit: FitResult) -> Sampled:
    """Sample the posterior of all data, with one sampler after the other until one converges."""
    config, sequential = finish.searcher.settings, finish.searcher.sequential
    problem, data = build.posterior(finish, fit)
    attempts = []
    for number, name in enumerate(methods.STAGES.get(config.cmc.sampler, (config.cmc.sampler,))):
        stage = _stage(problem, name, config.cmc.num_samples, config.cmc.num_chains, config.cmc.num_warmup, sequential)
        result = _drawn(stage, problem, data, config, number)
        attempts.append(Attempt(name, result.reason))
        if result.status is LaneStatus.OK:
            break
    return Sampled(result, tuple(attempts), problem.label, problem.layout.size)


def _drawn(stage: Stage, problem: Posterior, data: Mapping[str, Any], config: HeterodyneConfig, number: int) -> Result:
    """The result of one sampler."""
    lanes = run(stage, [data], config.cmc.seed, number)
    worst = max(lane.status for lane in lanes)
    blank = Result("", config.cmc.seed, worst, "" if worst is LaneStatus.OK else _sentence(worst), stage.name, {})
    if worst >= LaneStatus.NON_FINITE:
        return blank
    told = [_told(problem, lane, data, config, at) for at, lane in enumerate(lanes)]
    names = tuple(told[0][1])
    begun = replace(blank, status=LaneStatus.OK, reason="")
    (result,) = assess(
        kind=stage.method.kind,
        begun=[begun],
        lanes=[[lane for lane, _ in told]],
        names=names,
        criteria=config.cmc.criteria,
    )
    return result


def _told(
    problem: Posterior, lane: Lane, data: Mapping[str, Any], config: HeterodyneConfig, at: int
) -> tuple[Lane, tuple[str, ...]]:
    """The lane with the quantities in place of its position, and their names."""
    found = quantities.of_positions(problem, lane.records["position"], data, config, config.cmc.seed + at)
    latents = np.stack(list(found.values()), axis=-1)
    return replace(lane, records={**lane.records, "latents": latents}), tuple(found)


def run(stage: Stage, each: Sequence[Mapping[str, Any]], seed: int, number: int) -> list[Lane]:
    """The lanes of one sampler: for each of these data in turn, `units` of the method.

    Args:
        each: data of equal shapes.
        number: of the stage; part of the keys.
    """
    units = stage.method.units
    lanes = [data for data in each for _ in range(units)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    own = keys.lane_keys(
        root_seed=seed,
        seeds=[0] * len(lanes),
        purpose=keys.Purpose(keys.Purpose.INFERENCE + number),
        units=range(len(lanes)),
    )
    width, rounds = len(lanes), stage.method.rounds
    everything = Rounds(0, np.zeros((width, 3), int), width, 0, rounds, rounds, Silent(), None)
    return blocks.run(stage, Inputs(own, stacked, jnp.ones(width, bool)), width, everything)


@functools.lru_cache(maxsize=8)
def _stage(problem: Posterior, name: str, samples: int, chains: int, warmup: int, sequential: bool) -> Stage:
    """A sampler's programs; cached, so that data sets of one shape share them."""
    settings: Any
    if name == "importance":
        settings = ImportanceSettings(samples * chains)
    elif name == "hmc":
        settings = HmcSettings(_BURN_IN, samples, chains, _LEAPFROG, _STEP)
    else:
        settings = NutsSettings(warmup, samples, chains, target_accept=_TARGET, max_tree_depth=_DEPTH)
    method = methods.build(name, settings, sequential=sequential)
    return Stage(name, method, programs.build(method, problem, sequential=sequential))


def _sentence(status: LaneStatus) -> str:
    return (
        "the log density or its gradient is not finite near the fit"
        if status is LaneStatus.NON_FINITE
        else status.sentence
    )

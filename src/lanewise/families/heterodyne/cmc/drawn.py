"""Draws of one posterior, by one sampler after the other until one converges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanewise.engine.convergence import Lane
from lanewise.engine.programs import Stage
from lanewise.engine.results import Result
from lanewise.families.heterodyne.cmc import runs
from lanewise.families.heterodyne.sampling import Cmc
from lanewise.manifest.problem import Problem
from lanewise.manifest.protocols import Keeper
from lanewise.manifest.status import LaneStatus


@dataclass(frozen=True)
class Attempt:
    """One way to draws, and why it was not enough; empty if it was."""

    sampler: str
    reason: str


@dataclass(frozen=True)
class Drawn:
    """Draws of one posterior, by quantity.

    Attributes:
        attempts: the samplers that ran; the last one made the draws.
        lanes: of the last sampler.
    """

    result: Result
    attempts: tuple[Attempt, ...]
    stage: Stage
    lanes: Sequence[Lane]


def sampled(
    problem: Problem,
    names: Sequence[str],
    member: Mapping[int, Mapping[str, Any]],
    settings: Cmc,
    told: Callable[[np.ndarray], dict[str, np.ndarray]],
    first: int = 0,
    *,
    sequential: bool,
    keeper: Keeper | None = None,
) -> Drawn:
    """Draws of one posterior by the first sampler that converges, else by the last.

    Args:
        names: of the samplers.
        member: its number and its data.
        first: number of the first sampler; numbers are part of the keys.
    """
    attempts: list[Attempt] = []
    for number, name in enumerate(names, first):
        stage = runs.stage(problem, name, settings, sequential=sequential)
        (lanes,) = runs.run(stage, member, settings.seed, number, keeper).values()
        result = _of_quantities(stage, lanes, settings, told)
        attempts.append(Attempt(name, result.reason))
        if result.status is LaneStatus.OK:
            break
    return Drawn(result, tuple(attempts), stage, lanes)


def _of_quantities(
    stage: Stage, lanes: Sequence[Lane], settings: Cmc, told: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> Result:
    if max(lane.status for lane in lanes) >= LaneStatus.NON_FINITE:
        return runs.judged(stage, lanes, (), settings)
    found = told(np.stack([lane.records["position"] for lane in lanes]))
    latents = np.stack(list(found.values()), axis=-1)
    lanes = [replace(lane, records={**lane.records, "latents": one}) for lane, one in zip(lanes, latents, strict=True)]
    return runs.judged(stage, lanes, tuple(found), settings)

"""Samples the posterior around a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.engine.results import Result
from lanewise.errors import DataError
from lanewise.families.heterodyne.cmc import build, quantities, runs, sharded, split
from lanewise.families.heterodyne.cmc.disagreement import Disagreement, of_scores
from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.cmc.predictive import Predicted, predicted
from lanewise.families.heterodyne.cmc.sharded import Attempt, Combination, Sharded, ShardReport
from lanewise.families.heterodyne.cmc.split import Shard
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq import fit as fits
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.result import EarlierFit, FitResult
from lanewise.families.heterodyne.sampling import ShardBy
from lanewise.manifest.problem import Data
from lanewise.manifest.protocols import Keeper


@dataclass(frozen=True)
class Sharding:
    """The shards of a posterior.

    Attributes:
        shards, reports: what each shard has, and how its sampling went.
        draws: of the headline values of each shard, shape (chain, draw); empty if there are none.
        disagreement: None if fewer than two shards are in the consensus.
        refits: proposals that were fitted to weighted draws.
    """

    by: ShardBy
    shards: tuple[Shard, ...]
    reports: tuple[ShardReport, ...]
    draws: tuple[Mapping[str, np.ndarray], ...]
    disagreement: Disagreement | None
    refits: int


@dataclass(frozen=True)
class Sampled:
    """Draws of the posterior of a data set.

    Attributes:
        result: the draws by quantity, their statistics, diagnostics and status.
        attempts: the samplers that ran; the last one made the draws.
        label: the labelling rule that is part of the prior's support; None for none.
        n_unknowns: number of unknowns that were sampled.
        predicted: the correlation along the cuts of the fit; None without draws.
        combination: how the data were used.
        sharding: None if they are in one posterior.
    """

    result: Result
    attempts: tuple[Attempt, ...]
    label: str | None
    n_unknowns: int
    predicted: Predicted | None
    combination: Combination = "not sharded"
    sharding: Sharding | None = None


def sample_data(
    data: TwoTimeData,
    config: HeterodyneConfig | Mapping[str, Any] | None = None,
    nlsq_result: FitResult | None = None,
) -> Sampled:
    """Draw from the posterior of one data set, around its fit.

    Args:
        config: as for `fit`; its section `cmc` says how.
        nlsq_result: a fit of the same data with the same settings, which is not repeated.

    Returns:
        The draws of quantity `name`, shape (chain, draw), are `.result.posterior[name]`.

    Raises:
        ManifestError: the config is invalid.
        DataError: as for `fit`, or nlsq_result is no fit of these data, or the data are too few for the shards.
    """
    earlier = None if nlsq_result is None else EarlierFit.of(nlsq_result, "nlsq_result")
    finish = fits.prepared(data, fits.parsed(config), earlier=earlier)
    return sample(finish, fits.fitted(finish))


def sample(finish: Finish, fit: FitResult, keeper: Keeper | None = None) -> Sampled:
    """Sample the posterior of all data: in shards if the settings say so, else with one sampler after the other.

    Args:
        keeper: keeps blocks of lanes that are finished.

    Raises:
        DataError: the shards would have fewer values than there are unknowns.
    """
    config, sequential = finish.searcher.settings, finish.searcher.sequential
    problem, data = build.posterior(finish, fit)

    def told(positions: np.ndarray) -> dict[str, np.ndarray]:
        return quantities.of_positions(problem, positions, data, config, config.cmc.seed)

    def finished(result: Result, attempts: tuple[Attempt, ...], **more: Any) -> Sampled:
        curves = predicted(finish, fit, result.posterior) if result.posterior else None
        return Sampled(result, attempts, problem.label, problem.layout.size, curves, **more)

    n_shards = config.cmc.shards_of(fit.n_data)
    if n_shards == 1:
        names = runs.stages(config.cmc.sampler)
        return finished(
            *sharded.sampled(problem, names, {0: data}, config.cmc, told, sequential=sequential, keeper=keeper)
        )
    if fit.n_data < n_shards * problem.layout.size:
        raise DataError(
            f"{finish.data.source or 'these data'}: {n_shards} shards of {fit.n_data} values have fewer values "
            f"than the {problem.layout.size} unknowns; use {fit.n_data // problem.layout.size} shards at most"
        )
    shards = split.split(data["pairs"], n_shards, config.cmc.shard_by, config.cmc.seed)
    each = build.shard_data(data, shards)
    found = Sharded(problem, each, build.joined, told, config.cmc, sequential=sequential, keeper=keeper).sample()
    disagreement = found.disagreement
    if fit.speckle is not None:
        moves = build.shard_moves(problem, each, finish, fit)
        disagreement = of_scores(*moves, np.random.default_rng(config.cmc.seed))
    draws = tuple(_headline(problem, report.result, data) for report in found.shards)
    sharding = Sharding(config.cmc.shard_by, tuple(shards), found.shards, draws, disagreement, found.refits)
    return finished(found.result, found.attempts, combination=found.combination, sharding=sharding)


def _headline(problem: Posterior, result: Result, data: Data) -> dict[str, np.ndarray]:
    """The headline values of a shard's draws."""
    if not result.posterior:
        return {}
    return quantities.headline(problem, np.stack(list(result.posterior.values()), axis=-1), data)

"""Samples the posterior around a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.engine.results import Result
from lanewise.errors import DataError
from lanewise.families.heterodyne.cmc import build, quantities, runs, split
from lanewise.families.heterodyne.cmc.disagreement import Disagreement, of_scores
from lanewise.families.heterodyne.cmc.drawn import Attempt, Drawn, sampled
from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.cmc.predictive import Predicted, predicted
from lanewise.families.heterodyne.cmc.shard_sample import ShardSample
from lanewise.families.heterodyne.cmc.sharded import Combination, Sharded, ShardReport
from lanewise.families.heterodyne.cmc.split import Shard
from lanewise.families.heterodyne.config import HeterodyneConfig
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.nlsq import fit as fits
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.result import EarlierFit, FitResult
from lanewise.families.heterodyne.sampling import Cmc, ShardBy
from lanewise.manifest.protocols import Keeper


@dataclass(frozen=True)
class Sharding:
    """The shards of a posterior.

    Attributes:
        shards, reports: by number, what each shard has, and how its sampling went.
        disagreement: None if fewer than two shards are in the consensus.
        refits: proposals that were fitted to weighted draws.
    """

    by: ShardBy
    shards: Mapping[int, Shard]
    reports: Mapping[int, ShardReport]
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


def sample(
    finish: Finish,
    fit: FitResult,
    keeper: Keeper | None = None,
    earlier: Mapping[int, ShardSample] | None = None,
) -> Sampled:
    """Sample the posterior of all data, in shards if the settings say so; or of the one shard that they choose.

    Args:
        keeper: keeps blocks of lanes that are finished.
        earlier: by number, shards that other runs have sampled.

    Raises:
        DataError: the shards would have fewer values than there are unknowns.
    """
    settings = finish.searcher.settings.cmc
    target = _Target(finish, fit, *build.posterior(finish, fit), keeper)
    n_shards, n_unknowns = settings.shards_of(fit.n_data), target.problem.layout.size
    if n_shards == 1:
        return target.whole()
    if fit.n_data < n_shards * n_unknowns:
        raise DataError(
            f"{finish.data.source or 'these data'}: {n_shards} shards of {fit.n_data} values have fewer values "
            f"than the {n_unknowns} unknowns; use {fit.n_data // n_unknowns} shards at most"
        )
    shards = split.split(target.data["pairs"], n_shards, settings.shard_by, (settings.seed, settings.split))
    if settings.shard is not None:
        return target.one_shard(shards, settings.shard)
    return target.combined(shards, earlier or {})


@dataclass(frozen=True)
class _Target:
    """The posterior around a fit."""

    finish: Finish
    fit: FitResult
    problem: Posterior
    data: Mapping[str, Any]
    keeper: Keeper | None

    def whole(self) -> Sampled:
        """Draws of the posterior of all data."""
        found = self._drawn(0, self.data)
        return self._sampled(found.result, found.attempts)

    def one_shard(self, shards: Sequence[Shard], number: int) -> Sampled:
        """Draws of the posterior of one shard."""
        found = self._drawn(number, build.shard_data(self.data, shards)[number])
        own = runs.judged(found.stage, found.lanes, self.problem.names, self._settings)
        report = ShardReport(ShardSample.of(own, self._headline), None, used=bool(own.posterior))
        sharding = Sharding(self._settings.shard_by, {number: shards[number]}, {number: report}, None, 0)
        return self._sampled(found.result, found.attempts, combination="one shard", sharding=sharding)

    def combined(self, shards: Sequence[Shard], earlier: Mapping[int, ShardSample]) -> Sampled:
        """Draws of the posterior of all data, from its shards."""
        each = build.shard_data(self.data, shards)
        found = Sharded(
            self.problem,
            each,
            build.joined,
            self._told,
            self._settings,
            self.finish.searcher.sequential,
            self.keeper,
            self._headline,
            earlier,
        ).sample()
        disagreement = found.disagreement
        if self.fit.speckle is not None:
            moves = build.shard_moves(self.problem, each, self.finish, self.fit)
            disagreement = of_scores(*moves, np.random.default_rng(self._settings.seed))
        numbered = dict(enumerate(shards)), dict(enumerate(found.shards))
        sharding = Sharding(self._settings.shard_by, *numbered, disagreement, found.refits)
        return self._sampled(found.result, found.attempts, combination=found.combination, sharding=sharding)

    @property
    def _settings(self) -> Cmc:
        return self.finish.searcher.settings.cmc

    def _told(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        config = self.finish.searcher.settings
        return quantities.of_positions(self.problem, positions, self.data, config, config.cmc.seed)

    def _headline(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        return quantities.headline(self.problem, positions, self.data)

    def _drawn(self, member: int, data: Mapping[str, Any]) -> Drawn:
        names, sequential = runs.stages(self._settings.sampler), self.finish.searcher.sequential
        return sampled(
            self.problem, names, {member: data}, self._settings, self._told, sequential=sequential, keeper=self.keeper
        )

    def _sampled(self, result: Result, attempts: tuple[Attempt, ...], **more: Any) -> Sampled:
        curves = predicted(self.finish, self.fit, result.posterior) if result.posterior else None
        return Sampled(result, attempts, self.problem.label, self.problem.layout.size, curves, **more)

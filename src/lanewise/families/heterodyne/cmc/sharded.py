"""Consensus Monte Carlo: samples each shard, and corrects their consensus to the posterior of all data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lanewise.engine.convergence import Lane, assess
from lanewise.engine.results import Result
from lanewise.families.heterodyne.cmc import consensus, points, runs
from lanewise.families.heterodyne.cmc.consensus import Corrected, Gaussian, Moments, Proposal
from lanewise.families.heterodyne.cmc.disagreement import Disagreement, disagreement
from lanewise.families.heterodyne.cmc.drawn import Attempt, sampled
from lanewise.families.heterodyne.cmc.points import Fitted, Scale, ShardProblem
from lanewise.families.heterodyne.cmc.shard_sample import Headline, ShardSample
from lanewise.families.heterodyne.sampling import COMMON_POINTS, Cmc
from lanewise.manifest.protocols import Keeper
from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Kind

Combination = Literal["not sharded", "one shard", "exact", "refitted", "full data", "consensus only"]
_LOST = "the likelihood is not finite at the fit"
# Purposes of random numbers.
_COMMON, _SIMULATED = 1, 2


@dataclass(frozen=True)
class ShardReport:
    """One shard in the posterior of all data.

    Attributes:
        distance: squared distance of its mean from the consensus in its own covariance; None if it is not in it.
        used: whether its data count.
    """

    sample: ShardSample
    distance: float | None
    used: bool


@dataclass(frozen=True)
class Combined:
    """The posterior of all shards.

    Attributes:
        result: draws by quantity; not OK if a shard's data do not count.
        shards: in their order.
        disagreement: None if fewer than two shards are in the consensus.
        refits: proposals that were fitted to weighted draws.
    """

    result: Result
    combination: Combination
    attempts: tuple[Attempt, ...]
    shards: tuple[ShardReport, ...]
    disagreement: Disagreement | None
    refits: int


@dataclass(frozen=True)
class Sharded:
    """A posterior in shards.

    Attributes:
        each: data of every shard, of equal shapes, with `share` = 1 / number of shards.
        joined: the data of several shards as one, with `share` = 1.
        told: from positions, shape (…, d), quantities by name, each of shape (…).
        headline: the same for those that a shard tells.
        earlier: shards that other runs have sampled; they are sampled again only where the others would be.
    """

    problem: ShardProblem
    each: Sequence[Mapping[str, Any]]
    joined: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
    told: Callable[[np.ndarray], dict[str, np.ndarray]]
    settings: Cmc
    sequential: bool
    keeper: Keeper | None = None
    headline: Headline = field(default=lambda _: {})
    earlier: Mapping[int, ShardSample] = field(default_factory=dict)

    def sample(self) -> Combined:
        """Sample all shards and combine them.

        A shard whose likelihood is not finite at the start is lost: the draws are the posterior of the others' data,
        and not OK.
        """
        counted = self._counted()
        lost = [k for k in range(len(self.each)) if k not in counted]
        samples = dict.fromkeys(lost, ShardSample("importance", LaneStatus.NON_FINITE, _LOST))
        if not counted:
            failed = Result("", self.settings.seed, LaneStatus.NON_FINITE, _LOST, "importance", {})
            reports = tuple(ShardReport(one, None, used=False) for one in samples.values())
            return Combined(failed, "consensus only", (Attempt("importance", _LOST),), reports, None, 0)
        fit = points.fitted(self.problem, [self.each[k] for k in counted])
        scale, density = fit.scale, self._density(fit.scale, counted)
        rng = np.random.default_rng((self.settings.seed, _COMMON))
        attempts: list[Attempt] = []
        samples |= {k: self.earlier[k] for k in counted if k in self.earlier}
        todo: Sequence[int] = [k for k in counted if k not in self.earlier]
        for turn, name in enumerate(runs.stages(self.settings.sampler)):
            if turn:
                again = f"; then shards {', '.join(map(str, todo))} again by {name}"
                attempts[-1] = replace(attempts[-1], reason=attempts[-1].reason + again)
            samples |= self._shards(todo, name, turn)
            known = ((k, samples[k].moments) for k in counted)
            moments = {k: scale.moments(one) for k, one in known if one is not None and one.usable}
            centre = consensus.combined(list(moments.values())) if moments else None
            found = self._corrected(density, scale, centre, rng)
            result = self._weighted(found, scale, rng)
            attempts.append(Attempt("importance", result.reason))
            todo = [k for k in counted if samples[k].status is not LaneStatus.OK]
            # Chains on all data take the time of chains on all shards.
            if result.status is LaneStatus.OK or not 0 < len(todo) <= len(counted) / 2:
                break
        combination: Combination = "refitted" if found.refits else "exact"
        if result.status is not LaneStatus.OK:
            result, tried = self._full(counted)
            attempts += tried
            combination = "full data"
            if not result.posterior:
                result, combination = self._uncorrected(result, scale, centre, rng), "consensus only"
        own = consensus.distances(list(moments.values()), centre) if centre else ()
        distances = dict(zip(moments, map(float, own), strict=True))
        return Combined(
            self._without(result, lost),
            combination,
            tuple(attempts),
            tuple(ShardReport(one, distances.get(k), used=k in counted) for k, one in sorted(samples.items())),
            self._disagreement(fit, {counted.index(k): one for k, one in moments.items()}),
            found.refits,
        )

    def _counted(self) -> list[int]:
        """Shards whose likelihood is finite at the start."""
        likelihoods = points.log_likelihoods(self.problem, self.each, sequential=self.sequential)
        start = np.asarray(self.problem.start(self.each[0]))[None]
        return [int(k) for k in np.flatnonzero(np.isfinite(likelihoods(start)[:, 0]))]

    def _shards(self, which: Sequence[int], name: str, turn: int) -> dict[int, ShardSample]:
        """Each of these shards, sampled. One need not converge: it only says where the common points are.

        Args:
            turn: number of samplers that ran before; part of the keys.
        """
        if not which:
            return {}
        stage = runs.stage(self.problem, name, self.settings, sequential=self.sequential)
        lanes = runs.run(stage, {k: self.each[k] for k in which}, self.settings.seed, 0, self.keeper, turn)
        results = {k: runs.judged(stage, own, self.problem.names, self.settings) for k, own in lanes.items()}
        return {k: ShardSample.of(one, self.headline) for k, one in results.items()}

    def _corrected(
        self,
        density: Callable[[np.ndarray], np.ndarray],
        scale: Scale,
        centre: Gaussian | None,
        rng: np.random.Generator,
    ) -> Corrected:
        settings = self.settings
        return consensus.corrected(
            density,
            Proposal.of(centre, scale.laplace),
            scale.laplace,
            max(settings.num_samples * settings.num_chains, COMMON_POINTS),
            settings.min_ess,
            rng,
        )

    def _full(self, counted: Sequence[int]) -> tuple[Result, tuple[Attempt, ...]]:
        """Draws of chains on all data, and what was tried."""
        chains = [name for name in runs.stages(self.settings.sampler) if name != "importance"] or ["hmc", "nuts"]
        member = {len(self.each): self.joined([self.each[k] for k in counted])}
        drawn = sampled(
            self.problem, chains, member, self.settings, self.told, 1, sequential=self.sequential, keeper=self.keeper
        )
        return drawn.result, drawn.attempts

    def _density(self, scale: Scale, counted: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
        """The log posterior density of whitened points: every shard's likelihood, and the prior once."""
        each = [self.each[k] for k in counted]
        likelihoods = points.log_likelihoods(self.problem, each, sequential=self.sequential)

        def density(at: np.ndarray) -> np.ndarray:
            positions = scale.positions(at)
            total = likelihoods(positions).sum(axis=0) + points.log_priors(self.problem, each[0], positions)
            # Far outside the density may overflow to NaN; it is 0 there.
            return np.where(np.isfinite(total), total, -np.inf)

        return density

    def _weighted(self, found: Corrected, scale: Scale, rng: np.random.Generator) -> Result:
        positions = scale.positions(found.points)
        told = self.told(positions)
        records = {
            "keep": np.ones(len(positions), bool),
            "position": positions,
            "latents": np.stack(list(told.values()), axis=-1),
            "lp": found.log_density,
            "log_weight": found.log_weight,
        }
        whole = {"gradient_norm": np.zeros(()), "comb": np.array(rng.uniform())}
        blank = Result("", self.settings.seed, LaneStatus.OK, "", "importance", {})
        if not found.size:
            return replace(blank, status=LaneStatus.NON_FINITE, reason="the log density is nowhere finite")
        lanes = [[Lane(LaneStatus.OK, records, whole)]]
        criteria = self.settings.criteria
        (result,) = assess(kind=Kind.WEIGHTED, begun=[blank], lanes=lanes, names=tuple(told), criteria=criteria)
        return result

    def _uncorrected(self, failed: Result, scale: Scale, centre: Gaussian | None, rng: np.random.Generator) -> Result:
        """Draws of the consensus itself, or of the Laplace approximation where there is none."""
        at = centre or scale.laplace
        shape = self.settings.num_chains, self.settings.num_samples
        drawn = at.mean + rng.normal(size=(*shape, len(at.mean))) @ np.linalg.cholesky(at.covariance).T
        posterior = self.told(scale.positions(drawn))
        reason = f"draws of the consensus of the shards, which are not corrected: {failed.reason}"
        return replace(failed, status=LaneStatus.NOT_CONVERGED, reason=reason, method="consensus", posterior=posterior)

    def _without(self, result: Result, lost: Sequence[int]) -> Result:
        """The result, not OK if shards were lost."""
        if not lost:
            return result
        names = ", ".join(map(str, lost))
        reason = (
            f"the data of shard {names} do not count: {_LOST}; the draws are the posterior of the other "
            f"{len(self.each) - len(lost)} shards"
        )
        if result.status is not LaneStatus.OK:
            reason = f"{reason}; {result.reason}"
        return replace(result, status=max(result.status, LaneStatus.NOT_CONVERGED), reason=reason)

    def _disagreement(self, fit: Fitted, moments: Mapping[int, Moments]) -> Disagreement | None:
        """Of the shards that are in the consensus, by their place in the fit."""
        if len(moments) < 2:
            return None
        root = fit.scale.root
        likelihoods, posteriors = (root.T @ one[list(moments)] @ root for one in (fit.likelihoods, fit.posteriors))
        rng = np.random.default_rng((self.settings.seed, _SIMULATED))
        return disagreement(list(moments.values()), likelihoods, posteriors, rng)

"""Settings of the sampling; the schema describes each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lanewise.families.heterodyne.priors import Prior
from lanewise.manifest import typed
from lanewise.manifest.manifest import Convergence
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

Sampler = Literal["auto", "importance", "hmc", "nuts"]
ShardBy = Literal["random", "age"]
# Steps of a trajectory of `hmc`, and fewest common points of shards.
LEAPFROG, COMMON_POINTS = 8, 2048
# Settings that name files.
FILES = ("nlsq_result", "shard_results")
# Values in one posterior where a shard's size is `auto`.
AUTO_POINTS = 10_000_000


@dataclass(frozen=True)
class Cmc:
    """Sampling of the posterior, whole or in shards.

    Attributes:
        num_samples, num_chains: draws of a chain, and chains; importance sampling takes their product.
        num_warmup: steps in which `nuts` adapts, per chain.
        min_ess: of every quantity that is sampled.
        num_shards: number of shards; None: as many as `max_points_per_shard` needs.
        shard: the one that is sampled, alone; None: all, and their consensus.
        shard_results: result.json of runs that sampled one shard each.
        split: number of the random split. A retry takes another one.
        nlsq_result: result.json of earlier fits, to start from; none: each data set is fitted first.
        priors: parameter → its prior, where it is not the default.
    """

    num_samples: int = 1000
    num_chains: int = 4
    num_warmup: int = 500
    seed: int = 42
    sampler: Sampler = "auto"
    max_r_hat: float = 1.05
    min_ess: float = 400
    max_points_per_shard: int | Literal["auto"] = "auto"
    num_shards: int | None = None
    shard_by: ShardBy = "random"
    shard: int | None = None
    shard_results: tuple[Input, ...] = ()
    split: int = 0
    warmstart: bool = True
    nlsq_result: tuple[Input, ...] = ()
    priors: Mapping[str, Prior] = field(default_factory=dict)

    @property
    def criteria(self) -> Convergence:
        """The thresholds of convergence."""
        return Convergence(rhat_max=self.max_r_hat, ess_min=self.min_ess)

    def shards_of(self, n_points: int) -> int:
        """The number of shards of this many values."""
        if self.num_shards is not None:
            return self.num_shards
        most = AUTO_POINTS if self.max_points_per_shard == "auto" else self.max_points_per_shard
        return -(-n_points // most)


def parse(value: Mapping[str, Any]) -> Cmc:
    """The settings of a section `cmc` that has been checked."""
    priors = {name: typed.build(Prior, one) for name, one in value.get("priors", {}).items()}
    files = {name: tuple(map(inputs.pinned, _listed(value.get(name, ())))) for name in FILES}
    return typed.build(Cmc, {**value, "priors": priors, **files})


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value

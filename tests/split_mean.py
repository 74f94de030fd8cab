"""A family whose realizations have members: the mean of normal numbers, split over members of several sizes.

y ~ N(mean, σ²), mean ~ N(0, 1). A member has some of the numbers and the K-th root of the prior, so that the product of
the members' posteriors is the posterior. All are Gaussian, and the posterior is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from lanewise.engine import programs
from lanewise.engine.files import LaneOutputs
from lanewise.engine.results import Diagnostics, Result
from lanewise.manifest import registry
from lanewise.manifest.family import Door, Family, Lanes, climbed
from lanewise.manifest.manifest import Manifest, Rung
from lanewise.manifest.plan import Planned, Single
from lanewise.manifest.problem import Data, LaneInference, Members, Membership, Observation, Reduce
from lanewise.manifest.protocols import Conclusion
from lanewise.manifest.status import LaneStatus
from lanewise.methods.settings import ImportanceSettings, NutsSettings
from lanewise.storage.record import Record

N_DRAWS = 1000


@dataclass(frozen=True)
class SplitConfig:
    """How the numbers are split, and how the members are inferred.

    Attributes:
        sizes: numbers of each member; `repeat`: how often the list is repeated.
        padded: see `Observation.padded`.
        lost: what the loss of a member does, `fail` or `drop`.
        reduced: lanes leave moments in place of draws.
    """

    sizes: tuple[int, ...]
    repeat: int = 1
    padded: int = 0
    lost: str = "fail"
    reduced: bool = True
    method: str = "importance"
    samples: int = 1000
    chains: int = 1
    sigma: float = 0.5
    precision: str = "float64"

    @property
    def every(self) -> tuple[int, ...]:
        """Numbers of each member."""
        return self.sizes * self.repeat

    @property
    def content(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "precision"}

    def climbed(self, rung: Rung) -> SplitConfig:
        return climbed(self, rung)


class SplitProblem:
    names = ("mean",)
    model, finer = "", None
    remedy = "there is no other form of the model"
    prior_widths: Mapping[str, float] = {"mean": 1.0}

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def prepare(self, data: Data) -> Data:
        return data

    def start(self, data: Data) -> jax.Array:
        return jnp.zeros(1)

    def constrain(self, position: jax.Array) -> jax.Array:
        return position

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        terms = jnp.where(data["mask"], (data["y"] - position[0]) ** 2 / self.sigma**2, 0.0)
        density: jax.Array = -0.5 * (jnp.sum(terms) + data["share"] * position[0] ** 2)
        return density

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        return jnp.zeros(())

    def curvature(self, position: jax.Array, data: Data) -> jax.Array:
        information: jax.Array = data["share"] + jnp.sum(data["mask"]) / self.sigma**2
        return information.reshape(1, 1)

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        return jnp.zeros(())


def moments(problem: object, records: Mapping[str, jax.Array], whole: object, data: Data) -> Mapping[str, jax.Array]:
    """Mean, variance and effective size of a lane's draws, weighted or not."""
    draws = records["position"][..., 0]
    log_weight = records.get("log_weight", jnp.zeros_like(draws))
    weight = jax.nn.softmax(jnp.where(records["keep"], log_weight, -jnp.inf))
    mean, ess = weight @ draws, 1 / jnp.sum(weight**2)
    return {"mean": mean, "var": weight @ (draws - mean) ** 2, "ess": ess}


def combine(config: SplitConfig, blank: Result, members: Members) -> Result:
    """The product of Gaussians. Not converged: not OK. Lost members fail the realization, or only widen it."""
    status = members.status
    there = status < LaneStatus.NON_FINITE
    if not there.all() and config.lost == "fail":
        first, reason = next((at, text) for at, text in members.reasons.items() if not there[at])
        told = f"{np.sum(~there)} of {len(status)} members are lost; member {first}: {reason}"
        return replace(blank, status=LaneStatus.FAILED, reason=told)
    if config.reduced:
        mean, var = (members.record[name][there].mean(axis=1) for name in ("mean", "var"))
        ess = members.record["ess"][there].sum(axis=1)
    else:
        draws = members.record["mean"][there].reshape(there.sum(), -1)
        mean, var, ess = draws.mean(axis=1), draws.var(axis=1, ddof=1), np.full(there.sum(), draws.shape[1])
    # The shares of the prior that lost members had are not lost.
    precision = np.sum(1 / var) + np.mean(~there)
    centre = np.sum(mean / var) / precision
    drawn = np.random.default_rng(blank.seed).normal(centre, precision**-0.5, (1, N_DRAWS))
    worst = LaneStatus(int(status[there].max(initial=LaneStatus.OK)))
    return replace(
        blank,
        status=worst,
        reason="" if worst is LaneStatus.OK else f"{np.sum(status == worst)} members: {worst.sentence}",
        posterior={"mean": drawn},
        diagnostics=Diagnostics(ess={"mean": float(ess.min())}, ess_kind="independent"),
    )


def exact(config: SplitConfig, planned: Planned) -> tuple[float, float]:
    """Mean and standard deviation of the posterior of all numbers."""
    y = np.concatenate(numbers(config, planned))
    precision = 1 + len(y) / config.sigma**2
    return float(y.sum() / config.sigma**2 / precision), float(precision**-0.5)


def numbers(config: SplitConfig, planned: Planned) -> list[np.ndarray]:
    """Each member's numbers."""
    noise = config.sigma * np.random.default_rng([planned.seed, 1]).normal(size=sum(config.every))
    return np.split(planned.truth["mean"] + noise, np.cumsum(config.every)[:-1])


def observe(config: SplitConfig, planned: Planned) -> Observation:
    share = np.array(1 / len(config.every))
    members = [{"y": y, "share": share} for y in numbers(config, planned)]
    return Observation(members, planned.truth, ragged=("y",), sizes=config.every, padded=config.padded)


def realizations(manifest: Manifest) -> Sequence[Single]:
    first = manifest.realizations.base_seed
    seeds = range(first, first + manifest.realizations.count)
    return [Single(f"split_s{seed}", seed, {"mean": np.random.default_rng(seed).normal()}) for seed in seeds]


def inference(config: SplitConfig) -> LaneInference:
    settings: dict[str, object] = {
        "importance": ImportanceSettings(config.samples),
        "nuts": NutsSettings(samples=config.samples, chains=config.chains),
    }
    stages = ((config.method, settings[config.method]),)
    return LaneInference(config.method, config.precision, rng_seed=0, stages=stages, khat_max=0.7)


def membership(config: SplitConfig) -> Membership[SplitConfig, Result]:
    return Membership(combine, moments if config.reduced else None)


def conclude(record: Record) -> Conclusion:
    rows, damaged = record.rows()
    missing = record.run_ids - {row["run_id"] for row in rows}
    return Conclusion(rows, (f"{len(rows)} means",), 0, missing, record.damaged_chunks(damaged))


FAMILY: Family[SplitConfig, Result, Record] = Family(
    kind="split",
    config_schema={"type": "object"},
    parse_config=lambda value: SplitConfig(**{**value, "sizes": tuple(value["sizes"])}),
    realizations=realizations,
    outputs=lambda: LaneOutputs(("mean",)),
    collect=lambda record: pd.DataFrame(record.rows()[0]),
    conclude=conclude,
    lanes=Lanes(inference, observe, lambda config: SplitProblem(config.sigma), membership),
    ladders={"importance": (Rung("four times the draws", {"samples": 4}),)},
)
DOOR = Door("split", load=lambda: FAMILY)


_STAGES: dict[tuple[object, ...], tuple[programs.Stage, ...]] = {}
_stages = programs.stages


def _shared_stages(
    inference: LaneInference, problem: SplitProblem, reduce: Reduce | None = None, *, sequential: bool
) -> tuple[programs.Stage, ...]:
    """The same programs for all campaigns and engines of equal settings, so that each is traced only once."""
    key = (inference.stages, problem.sigma, reduce, sequential)
    return _STAGES.setdefault(key, _stages(inference, problem, reduce, sequential=sequential))


@contextmanager
def installed() -> Iterator[None]:
    """The kind `split` among the installed families."""
    entry = EntryPoint("split", "split_mean:DOOR", registry.GROUP)
    entries = {**registry._entries(), "split": entry}
    with (
        mock.patch.object(registry, "_entries", return_value=entries),
        mock.patch.object(programs, "stages", _shared_stages),
    ):
        yield
    for cached in (registry.door, registry.family):
        cached.cache_clear()

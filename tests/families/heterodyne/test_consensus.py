"""Consensus Monte Carlo on posteriors in closed form: a Gaussian one, and one with bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lanewise.families.heterodyne.cmc import consensus, runs, split
from lanewise.families.heterodyne.cmc.cursor import Reader
from lanewise.families.heterodyne.cmc.sharded import Combined, Sharded
from lanewise.families.heterodyne.nlsq import kernel
from lanewise.families.heterodyne.sampling import Cmc
from lanewise.machine import device
from lanewise.manifest.protocols import Saved
from lanewise.manifest.status import LaneStatus

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Toy:
    """Values y of the design rows A, with noise of unit variance: A θ + noise.

    Attributes:
        bounded: whether θ is uniform in [−1, 1]; else standard normal.
    """

    size: int
    bounded: bool
    model: str = ""
    finer: None = None
    remedy: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"u{k}" for k in range(self.size))

    @property
    def prior_widths(self) -> Mapping[str, float]:
        return {}

    def prepare(self, data: Data) -> Data:
        return data

    def start(self, data: Data) -> jax.Array:
        return jnp.zeros(self.size)

    def constrain(self, position: jax.Array) -> jax.Array:
        return position

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        return jnp.zeros(())

    def flaw(self, position: jax.Array, data: Data) -> jax.Array:
        return jnp.zeros(())

    def theta(self, position: jax.Array) -> tuple[jax.Array, jax.Array]:
        if not self.bounded:
            return position, -0.5 * jnp.sum(position**2)
        cursor = Reader(position)
        theta = jnp.stack([cursor.interval(-1.0, 1.0, lambda: None) for _ in range(self.size)])
        return theta, cursor.log_jacobian

    def log_likelihood(self, position: jax.Array, data: Data) -> jax.Array:
        off: jax.Array = data["y"] - data["design"] @ self.theta(position)[0]
        return -0.5 * jnp.sum(off**2)

    def log_prior(self, position: jax.Array, data: Data) -> jax.Array:
        return self.theta(position)[1]

    def log_density(self, position: jax.Array, data: Data) -> jax.Array:
        found: jax.Array = self.log_likelihood(position, data) + data["share"] * self.log_prior(position, data)
        return found

    @property
    def curvature(self) -> Callable[[jax.Array, Data], jax.Array]:
        def curvature(position: jax.Array, data: Data) -> jax.Array:
            slopes = data["design"] @ jax.jacfwd(lambda u: self.theta(u)[0])(position)
            bend = jax.hessian(lambda u: self.theta(u)[1])(position)
            found: jax.Array = slopes.T @ slopes - data["share"] * bend
            return found

        return curvature


class Memory:
    """Keeps checkpoints in memory, and stops the run at one of them."""

    def __init__(self, blocks: Mapping[int, Saved] | None = None, stop_after: int | None = None) -> None:
        self.blocks = dict(blocks or {})
        self.n_saved, self._stop_after = 0, stop_after

    def due(self, done: int, total: int) -> bool:
        return True

    def save(self) -> None:
        self.n_saved += 1
        if self.n_saved == self._stop_after:
            raise SystemExit


def sharded(
    toy: Toy, design: np.ndarray, y: np.ndarray, n_shards: int, keeper: Memory | None = None, **settings: Any
) -> Combined:
    """The combined posterior of these rows, dealt to shards."""
    device.prepare("auto", "float64")

    def joined(each: Sequence[Data]) -> Data:
        design, y = (jnp.concatenate([one[name] for one in each]) for name in ("design", "y"))
        return {"design": design, "y": y, "share": jnp.float64(1.0)}

    def told(positions: np.ndarray) -> dict[str, np.ndarray]:
        theta = np.asarray(jax.vmap(lambda u: toy.theta(u)[0])(jnp.asarray(positions.reshape(-1, toy.size))))
        return {f"theta{k}": values.reshape(positions.shape[:-1]) for k, values in enumerate(theta.T)}

    share = jnp.float64(1 / n_shards)
    each = [
        {"design": jnp.asarray(design[k::n_shards]), "y": jnp.asarray(y[k::n_shards]), "share": share}
        for k in range(n_shards)
    ]
    return Sharded(toy, each, joined, told, Cmc(**settings), sequential=True, keeper=keeper).sample()


def size(found: Combined) -> float:
    """Effective number of draws."""
    return found.result.diagnostics.ess["theta0"] or 0.0


def p_value(found: Combined) -> float:
    """Of the disagreement of the shards."""
    assert found.disagreement is not None
    assert found.disagreement.p_value is not None
    return found.disagreement.p_value


@pytest.mark.long
@pytest.mark.parametrize("n_shards", [4, 16])
def test_the_consensus_of_gaussian_shards_is_exact(n_shards: int) -> None:
    rng = np.random.default_rng(n_shards)
    design = rng.normal(size=(160, 5)) * [3.0, 1.0, 0.3, 0.1, 0.0]
    y = design @ rng.normal(size=5) + rng.normal(size=160)
    found = sharded(Toy(5, bounded=False), design, y, n_shards)
    assert found.combination == "exact"
    precision = design.T @ design + np.eye(5)
    mean, covariance = np.linalg.solve(precision, design.T @ y), np.linalg.inv(precision)
    draws = np.stack([values.reshape(-1) for values in found.result.posterior.values()])
    width = np.sqrt(np.diag(covariance))
    # Four standard errors each: a false alarm in 3e-4 of the runs for each of ten numbers and two cases.
    assert np.abs((draws.mean(axis=1) - mean) / width).max() < 4 / np.sqrt(size(found))
    assert np.abs(draws.std(axis=1) / width - 1).max() < 4 / np.sqrt(2 * size(found))
    assert 1e-3 < p_value(found) < 1 - 1e-3


def truncated(mean: float, sigma: float) -> Any:
    """A normal distribution cut off at ±1."""
    return stats.truncnorm((-1 - mean) / sigma, (1 - mean) / sigma, mean, sigma)


SLOW = pytest.mark.slow


@pytest.mark.long
@pytest.mark.parametrize(
    ("sigma", "n_shards", "factor"),
    [
        (0.2, 16, 0.64),
        (0.5, 4, 0.67),
        pytest.param(0.2, 4, 0.86, marks=SLOW),
        pytest.param(0.2, 64, 0.36, marks=SLOW),
        pytest.param(0.5, 16, 0.36, marks=SLOW),
        pytest.param(0.5, 64, 0.18, marks=SLOW),
    ],
)
def test_bounds_spoil_the_average_of_shards_and_not_the_corrected_consensus(
    sigma: float, n_shards: int, factor: float
) -> None:
    mean = 0.5
    design = np.full((64, 1), 1 / (8 * sigma))
    y = design[:, 0] * mean + np.tile([0.5, -0.5], 32)
    truth = truncated(mean, sigma)
    found = sharded(Toy(1, bounded=True), design, y, n_shards, num_samples=8000, num_chains=4)
    assert found.combination in {"exact", "refitted"}
    draws = found.result.posterior["theta0"]
    # 3 % of the width are four standard errors of a width from 8900 draws.
    assert size(found) > 8900
    assert draws.std() == pytest.approx(truth.std(), rel=0.03)
    assert draws.mean() == pytest.approx(truth.mean(), abs=0.04 * truth.std())
    # The average of one draw of each shard, as in the published packages: draws of truncated normal shards.
    shard = truncated(mean, sigma * np.sqrt(n_shards))
    average = shard.rvs(size=(20_000, n_shards), random_state=np.random.default_rng(0)).mean(axis=1)
    assert average.std() / truth.std() == pytest.approx(factor, abs=0.015)
    assert abs(average.mean() - truth.mean()) > 0.3 * truth.std()


@pytest.mark.long
def test_a_shard_without_a_finite_density_is_named_and_the_others_count() -> None:
    rng = np.random.default_rng(3)
    design = rng.normal(size=(120, 2))
    y = design @ [0.5, -0.3] + rng.normal(size=120)
    poisoned = y.copy()
    poisoned[2] = np.nan
    found = sharded(Toy(2, bounded=False), design, poisoned, 4)
    assert [one.used for one in found.shards] == [True, True, False, True]
    assert "shard 2" in found.result.reason
    assert found.result.status.word == "not_converged"
    kept = np.arange(120) % 4 != 2
    precision = design[kept].T @ design[kept] + np.eye(2)
    mean = np.linalg.solve(precision, design[kept].T @ y[kept])
    off = (found.result.posterior["theta0"].mean() - mean[0]) / np.sqrt(np.linalg.inv(precision)[0, 0])
    assert abs(off) < 4 / np.sqrt(size(found))


@pytest.mark.long
def test_flagged_shards_alone_are_sampled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    design = rng.normal(size=(120, 2))
    y = design @ [0.5, -0.3] + rng.normal(size=120)
    judged, corrected = runs.judged, consensus.corrected
    centres = []

    def flagging(stage: Any, lanes: Any, names: Any, settings: Any) -> Any:
        found = judged(stage, lanes, names, settings)
        doubtful = stage.name == "importance" and np.isclose(found.posterior["u0"].mean(), max(means))
        return replace(found, status=LaneStatus.NOT_CONVERGED, reason="flagged") if doubtful else found

    def once(density: Any, proposal: Any, *more: Any) -> Any:
        found = corrected(density, proposal, *more)
        centres.append(proposal.parts[0][1].mean)
        return (
            replace(found, log_weight=found.log_weight + 50 * (np.arange(len(found.points)) == 0))
            if len(centres) == 1
            else found
        )

    first = sharded(Toy(2, bounded=False), design, y, 4, num_samples=500)
    means = [one.sample.moments.mean[0] for one in first.shards if one.sample.moments]
    worst = means.index(max(means))
    monkeypatch.setattr(runs, "judged", flagging)
    monkeypatch.setattr(consensus, "corrected", once)
    found = sharded(Toy(2, bounded=False), design, y, 4, num_samples=500)
    methods = [one.sample.sampler for one in found.shards]
    assert methods == ["hmc" if k == worst else "importance" for k in range(4)]
    assert [one.sampler for one in found.attempts] == ["importance", "importance"]
    assert found.attempts[0].reason.endswith(f"then shards {worst} again by hmc")
    assert found.combination == "exact"
    assert not np.array_equal(centres[0], centres[1])


@pytest.mark.long
def test_a_stopped_run_goes_on_at_its_shards_with_the_same_bits() -> None:
    rng = np.random.default_rng(6)
    design = rng.normal(size=(240, 2))
    y = design @ [0.5, -0.3] + rng.normal(size=240)
    whole, stopped = Memory(), Memory(stop_after=30)
    expected = sharded(Toy(2, bounded=False), design, y, 40, whole)
    with pytest.raises(SystemExit):
        sharded(Toy(2, bounded=False), design, y, 40, stopped)
    again = Memory(stopped.blocks)
    found = sharded(Toy(2, bounded=False), design, y, 40, again)
    assert len(stopped.blocks) == 2
    assert again.n_saved == whole.n_saved - 29
    for name, draws in expected.result.posterior.items():
        assert np.array_equal(draws, found.result.posterior[name])


@pytest.mark.long
def test_shards_that_disagree_are_told() -> None:
    rng = np.random.default_rng(4)
    design = rng.normal(size=(400, 2))
    y = design @ [0.5, -0.3] + rng.normal(size=400)
    y[::4] += 0.7 * design[::4, 0]
    found = sharded(Toy(2, bounded=False), design, y, 4)
    assert p_value(found) < 1e-3
    distances = [one.distance or 0.0 for one in found.shards]
    assert distances.index(max(distances)) == 0


def test_every_value_is_in_one_shard() -> None:
    rng = np.random.default_rng(5)
    matrices = rng.normal(size=(2, 30, 30))
    weights = np.ones_like(matrices)
    weights[:, 4] = weights[:, :, 4] = 0.0
    pairs = kernel.pairs(matrices, weights, 0)
    for by in ("random", "age"):
        shards = split.split(pairs, 5, by, 1)
        values = np.concatenate([np.asarray(one.pairs.y)[np.asarray(one.pairs.root_weight) > 0] for one in shards])
        above = np.triu(np.ones((30, 30), bool), 1) & (weights[0] > 0)
        np.testing.assert_allclose(np.sort(values + pairs.centre), np.sort(matrices[:, above].ravel()))
        sizes = [one.n_points for one in shards]
        assert max(sizes) - min(sizes) <= 2
    ends = [frame for one in shards for frame in one.frames]
    assert ends == sorted(ends)

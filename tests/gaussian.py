"""A two-parameter Gaussian problem whose posterior is known in closed form, in the place of an expensive one."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.engine import Engine
from lanewise.engine.programs import Stage
from lanewise.machine import device
from lanewise.manifest import registry
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan, Realization
from lanewise.manifest.problem import Observation
from lanewise.storage.record import Record

PRIOR = 1.0
NOISE = np.array([[0.04, 0.03], [0.03, 0.09]])
MIX = np.array([[1.0, 0.3], [-0.2, 1.0]])


class GaussianProblem:
    """y = MIX θ + noise, θ ~ N(0, PRIOR²); position and latents are the same."""

    names = ("g1", "g2")
    model: str = ""
    finer: GaussianProblem | None = None
    remedy = "there is none"
    prior_widths: Mapping[str, float] = types.MappingProxyType({"g1": PRIOR, "g2": PRIOR})

    def prepare(self, data: Any) -> Any:
        return data

    def flaw(self, position: jax.Array, data: Any) -> jax.Array:
        return jnp.zeros(())

    def start(self, data: Any) -> jax.Array:
        return jnp.zeros(2)

    def constrain(self, position: jax.Array) -> jax.Array:
        return position

    def log_jacobian(self, position: jax.Array) -> jax.Array:
        return jnp.zeros(())

    def log_density(self, position: jax.Array, data: Any) -> jax.Array:
        residual = data["y"] - jnp.asarray(MIX) @ position
        chi2 = residual @ jnp.linalg.inv(jnp.asarray(NOISE)) @ residual
        density: jax.Array = -0.5 * chi2 - 0.5 * position @ position / PRIOR**2
        return density

    def curvature(self, position: jax.Array, data: Any) -> jax.Array:
        hessian: jax.Array = jax.hessian(lambda u: self.log_density(u, data))(position)
        return -hessian


def observe(realization: Realization) -> Observation:
    """Data with the realization's own truth and noise."""
    truth = np.array([realization.planned.truth["g1"], realization.planned.truth["g2"]])
    rng = np.random.default_rng(realization.planned.seed)
    y = MIX @ truth + np.linalg.cholesky(NOISE) @ rng.normal(size=2)
    return Observation.of({"y": y}, realization.planned.truth)


_PROBLEM = GaussianProblem()
_STAGES: dict[tuple[object, bool], tuple[Stage, ...]] = {}


def engine(
    manifest: Manifest, plan: Plan, observe: Callable[[Realization], Observation] = observe, retry: int = 0
) -> Engine:
    """An engine on this problem; those of equal settings share their programs, so that each is traced only once."""
    inference = registry.lanes(manifest.kind).inference(manifest.config)
    sequential = device.prepare(manifest.resources.device, inference.precision)
    built = Engine(manifest, plan, observe=observe, problem=_PROBLEM, retry=retry)
    built.stages = _STAGES.setdefault((inference.stages, sequential), built.stages)
    return built


def solver(record: Record, manifest: Manifest | None = None, *, retry: int = 0, before: object = None) -> Engine:
    """The engine on this problem, in the place of `chunks.solver`."""
    return engine(manifest or record.manifest, record.plan, retry=retry)


def posterior(realization: Realization) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance by the normal equations."""
    weight = np.linalg.inv(NOISE)
    covariance = np.linalg.inv(MIX.T @ weight @ MIX + np.eye(2) / PRIOR**2)
    return covariance @ MIX.T @ weight @ observe(realization).data["y"], covariance

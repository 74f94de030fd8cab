"""One case of gpu.py in this process: realizations of a shipped scene, with their bits, times, memory and kernels."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import kernels
import numpy as np

from lanewise import api
from lanewise.engine import blocks, programs
from lanewise.engine.chunk_data import ChunkData, MemberAt
from lanewise.engine.engine import Engine
from lanewise.engine.lanes import over_lanes
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.simulation_config import Simulation
from lanewise.manifest.plan import Chunk, Realization, Single
from lanewise.manifest.problem import Observation

MANIFESTS = Path(__file__).parents[1] / "manifests"
_REPEATS = 10


def case(
    *, scene: str, method: str, precision: str, n: int, settings: dict[str, Any], timed: bool = False
) -> dict[str, Any]:
    """Compute n realizations of a shipped scene in one block of n lanes.

    Args:
        settings: further keys of the manifest.
        timed: with times, memory and kernels, too.
    """
    asked = {
        "config.inference.method": method,
        "config.inference.precision": precision,
        "realizations.count": n,
        "batch.size": n,
        "batch.width": n,
        "output.url": tempfile.mkdtemp(),
        **settings,
    }
    campaign = api.load(str(MANIFESTS / f"{scene}.yaml"), [f"{key}={value}" for key, value in asked.items()])
    config, chunk = campaign.manifest.config, campaign.plan.chunks[0]
    assert isinstance(config, ShearConfig)
    engine = Engine(campaign.manifest, campaign.plan, observe=images(config))
    began = time.perf_counter()
    results = engine.run(chunk)
    first = time.perf_counter() - began
    (alone,) = engine.run(Chunk(0, chunk.realizations[-1:]))
    found = {
        "device": str(jax.devices()[0].device_kind),
        "devices": [str(one) for one in jax.devices()],
        "jax": jax.__version__,
        "status": [result.status.word for result in results],
        "mean": [{k: float(np.mean(v)) for k, v in r.posterior.items()} for r in results],
        "width": [{k: r.width(k) for k in r.posterior} for r in results],
        "ess": [{k: r.diagnostics.ess.get(k) for k in r.posterior} for r in results],
        "isolated": _bits(alone) == _bits(results[-1]),
        "widths_used": engine.made["width"]["used"],
    }
    return found | (_measured(engine, campaign.manifest, chunk, config, first) if timed else {})


def images(config: ShearConfig) -> Callable[[Realization], Observation]:
    """Data as a campaign simulates them, but drawn by our own renderer at its most accurate, always on the CPU.

    A campaign's images are GalSim's, whose 53 MiB are most of what may be carried to a machine without network.
    """
    scene = dataclasses.replace(
        config, galaxy=config.simulated_galaxy, psf=config.simulated_psf, simulation=Simulation()
    )
    cpu = jax.local_devices(backend="cpu")[0]

    def observe(realization: Realization) -> Observation:
        planned = realization.planned
        assert isinstance(planned, Single)
        truth = {**config.central(config.simulated_galaxy), **planned.truth}
        with jax.default_device(cpu):
            clean = np.asarray(draw(scene, **truth), float)
        image = clean + np.random.default_rng(planned.seed).normal(scale=config.image.noise.sigma, size=clean.shape)
        given = (
            {"given": np.array([truth[name] for name in config.simulation.given])} if config.simulation.given else {}
        )
        return Observation.of({"image": image, **given}, truth)

    return observe


def _bits(result: Any) -> str:
    return hashlib.sha256(b"".join(result.posterior[k].tobytes() for k in sorted(result.posterior))).hexdigest()


def _measured(engine: Engine, manifest: Any, chunk: Chunk, config: ShearConfig, first: float) -> dict[str, Any]:
    """Times, memory and kernels; `first`: how long the first run took [s]."""
    n = len(chunk.realizations)
    memory = jax.devices()[0].memory_stats() or {}
    began = time.perf_counter()
    results = engine.run(chunk)
    again = time.perf_counter() - began
    footprint = engine.footprint(chunk)
    sequential = jax.default_backend() == "cpu"
    problem, (stage, *_) = programs.of_family(manifest.kind, config, sequential)
    held = ChunkData(chunk.realizations, images(config), problem, n)
    arrays = [each for at in range(n) if isinstance(each := held.arrays(MemberAt(at, 0)), dict)]
    data = blocks.stacked(arrays, config.precision)
    positions = jax.vmap(problem.start)(data)
    gradient = jax.jit(over_lanes(jax.value_and_grad(problem.log_density), sequential=sequential))
    jax.block_until_ready(gradient(positions, data))
    spent = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(gradient(positions, data))
        spent.append(time.perf_counter() - began)
    state = jax.eval_shape(stage.program.init, jax.random.split(jax.random.key(0), n), data, jnp.ones(n, bool))
    advance = kernels.Program(stage.program.advance.lower(state, data).compile().as_text())
    return {
        "compile_s": max(0.0, first - again),
        "ms_per_galaxy": 1e3 * again / n,
        "gradient_us": 1e6 * float(np.median(spent)) / n,
        "effective_per_s": _effective(results) / again,
        "kernels_per_leapfrog": advance.per_gradient(),
        "loops": [dataclasses.asdict(loop) for loop in advance.loops],
        "predicted_bytes": footprint and footprint[0],
        "peak_bytes": memory.get("peak_bytes_in_use"),
        "limit_bytes": memory.get("bytes_limit"),
    }


def _effective(results: Any) -> float:
    """Effective draws of all realizations, each by its worst parameter."""
    return float(sum(min((ess for ess in r.diagnostics.ess.values() if ess), default=0.0) for r in results))

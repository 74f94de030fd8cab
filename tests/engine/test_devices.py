"""Lanes over several devices; two of the host's stand for two of an accelerator's."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

import gaussian
from conftest import Write, load
from lanewise.engine.chunk_data import Unit
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.operations import chunks

SLOW = pytest.mark.slow
PROGRAM = "import sys; from engine.test_devices import computed; print(*computed(*sys.argv[1:]))"


def computed(manifest: str, problem: str) -> tuple[int, str]:
    """Compute a campaign's first chunk: over how many devices its lanes are, and a digest of all draws."""
    record = load(manifest).record
    engine = {"gaussian": gaussian.solver, "galaxies": chunks.solver}[problem](record)
    assert isinstance(engine, Engine)
    (chunk,) = record.plan.chunks
    results: list[Result] = engine.run(chunk)
    assert [r.status.word for r in results] == ["ok"] * 3, results
    block = [(Unit(place, 0, 0), realization) for place, realization in enumerate(chunk.realizations)]
    inputs = engine._inputs(block, engine._data(chunk.realizations), 4)
    state = engine.stages[0].program.init(*inputs)
    devices = {shard.device for shard in jax.tree.leaves(state)[0].addressable_shards}
    bits = b"".join(r.posterior[name].tobytes() for r in results for name in sorted(r.posterior))
    return len(devices), hashlib.sha256(bits).hexdigest()


def _computed_elsewhere(manifest: str, problem: str, count: int) -> tuple[int, str]:
    """The same in a process that sees so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, manifest, problem],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
    )
    devices, digest = done.stdout.split()
    return int(devices), digest


@pytest.mark.long
@pytest.mark.parametrize(
    ("problem", "method"),
    [
        ("gaussian", "map"),
        *(pytest.param(*one, marks=SLOW) for one in (("gaussian", "nuts"), ("galaxies", "map"), ("galaxies", "nuts"))),
    ],
)
def test_lanes_are_shared_out_among_the_devices_and_keep_their_bits(write: Write, problem: str, method: str) -> None:
    nuts: dict[str, Any] = {"nuts_config": {"warmup": 50, "samples": 50}} if method == "nuts" else {}
    manifest = write(
        realizations={"count": 3},
        shear={"grid": [0.02]},
        batch={"size": 3, "width": 4},
        config__inference={"method": method, **nuts},
        convergence={"ess_min": 1, "rhat_max": 100.0},
    )
    (one, alone), (two, shared) = computed(manifest, problem), _computed_elsewhere(manifest, problem, 2)
    assert (one, two) == (1, 2)
    assert alone == shared

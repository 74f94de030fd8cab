"""Lanes over several devices; two of the host's stand for two of an accelerator's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Write

PROGRAM = """
import hashlib, sys
import jax, numpy as np
from conftest import load
from lanewise.engine.engine import Engine
campaign = load(sys.argv[1])
engine = Engine(campaign.manifest, campaign.plan)
results = engine.run(campaign.plan.chunks[0])
assert [r.status.word for r in results] == ["ok"] * 3, results
state = engine.stages[0].program.init(*engine._inputs(campaign.plan.chunks[0], [engine._look(r) for r in
    campaign.plan.chunks[0].realizations], [(0, 0), (1, 0), (2, 0)], 4, 1))
print(len({shard.device for shard in jax.tree.leaves(state)[0].addressable_shards}))
print(hashlib.sha256(b"".join(r.posterior[n].tobytes() for r in results for n in sorted(r.posterior))).hexdigest())
"""


def _run(manifest: str, count: int) -> list[str]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join([here, *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, manifest],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": path},
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "inference", [{"method": "map"}, pytest.param({"method": "nuts"}, marks=pytest.mark.slow)], ids=["map", "nuts"]
)
def test_lanes_are_shared_out_among_the_devices_and_keep_their_bits(write: Write, inference: dict[str, Any]) -> None:
    nuts = {"nuts_config": {"warmup": 50, "samples": 50}} if inference["method"] == "nuts" else {}
    manifest = write(
        realizations={"count": 3},
        shear={"grid": [0.02]},
        batch={"size": 3, "width": 4},
        config__inference={**inference, **nuts},
        convergence={"ess_min": 1, "rhat_max": 100.0},
    )
    (one, alone), (two, shared) = _run(manifest, 1), _run(manifest, 2)
    assert (one, two) == ("1", "2")
    assert alone == shared

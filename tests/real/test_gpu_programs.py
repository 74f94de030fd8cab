"""Launches per step in the programs that XLA's compiler for GPUs makes, on a machine without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = Path("build/gpu-compiler")
# What the compiler of jax 0.10.2 makes of today's programs; more would be slower. Fewer is the aim.
MOST = {
    "modes of the stamp": {"importance": 27, "hmc": 15, "nuts": 54, "vi": 29},
    "Sersic galaxy": {"importance": 39, "hmc": 48, "nuts": 76, "vi": 62},
    "Moffat PSF, strict grid": {"importance": 34, "hmc": 41, "nuts": 75, "vi": 54},
    "variances per pixel": {"importance": 37, "hmc": 38, "nuts": 73, "vi": 51},
}


@pytest.mark.real
@pytest.mark.skipif(not PACKAGES.exists(), reason="`make gpu-programs` installs the compiler")
def test_a_step_takes_no_more_launches_than_before() -> None:
    made = subprocess.run(
        [sys.executable, "benchmarks/gpu_programs.py", "--packages", str(PACKAGES), "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(made.stdout)
    assert found.keys() == MOST.keys()
    for scene, by_method in MOST.items():
        for method, most in by_method.items():
            assert 1 <= found[scene][method]["kernels"] <= most, (scene, method)

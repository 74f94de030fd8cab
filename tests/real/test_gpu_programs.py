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
    "Sersic galaxy": {"importance": 34, "hmc": 42, "nuts": 65, "vi": 56},
    "Moffat PSF, strict grid": {"importance": 29, "hmc": 34, "nuts": 63, "vi": 48},
    "variances per pixel": {"importance": 35, "hmc": 34, "nuts": 64, "vi": 48},
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

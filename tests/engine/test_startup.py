"""What a second start compiles, and what a wider program costs to compile, each start in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Write

PROGRAM = """
import json, sys
import jax
from conftest import load
spent = 0.0
def listen(event, seconds, **_):
    global spent
    if event.endswith("backend_compile_duration"):
        spent += seconds
jax.monitoring.register_event_duration_secs_listener(listen)
load(sys.argv[1]).run()
print(json.dumps(spent))
"""


def _compiling_s(manifest: str, cache: Path) -> float:
    """XLA's work in a fresh process, or the reading of the cache in its place."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    arguments = [sys.executable, "-c", PROGRAM, manifest]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["map", "nuts"])
def test_a_second_start_compiles_in_a_tenth_and_a_wide_program_like_a_narrow_one(
    write: Write, tmp_path: Path, method: str
) -> None:
    nuts: dict[str, Any] = {"nuts_config": {"warmup": 50, "samples": 50}} if method == "nuts" else {}
    cold = {}
    for width in (1, 256):
        cache = tmp_path / f"cache{width}"
        found = []
        for turn in range(2):
            manifest = write(
                f"{width}-{turn}.yaml",
                url=str(tmp_path / f"results{width}-{turn}"),
                realizations={"count": 1},
                shear={"grid": [0.02]},
                batch={"size": 1, "width": width},
                config__inference={"method": method, **nuts},
            )
            found.append(_compiling_s(manifest, cache))
        cold[width], again = found
        assert again < 0.1 * cold[width]
    assert cold[256] < 1.3 * cold[1]

"""Start-up times: import, tracing and compilation, cold and from the persistent cache, at lane widths 1 and 256.

    python benchmarks/startup.py [--method map nuts]

Every start is a separate process. The compilation time is JAX's report of compilation in XLA, or of reading the cache
instead. The tracing time is JAX's report of tracing and lowering. The chunk has as many realizations as the width.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lanewise.methods import METHODS

PACKAGES = ("jax", "jaxlib", "numpyro", "numpy", "scipy", "galsim", "jax-galsim", "arviz")


def machine() -> str:
    """The processor, its number of cores, and the relevant versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    processor = f"{', '.join(names) or platform.machine()}, {os.cpu_count()} cores"
    return f"{processor}; Python {platform.python_version()}, {versions}"


def start(method: str, width: int) -> dict[str, float]:
    """Times of this process by kind [s]."""
    began = time.perf_counter()
    import compare  # the scene and the engine's side
    import jax

    spent: Counter[str] = Counter(imports=time.perf_counter() - began)

    def listen(event: str, seconds: float, **_: Any) -> None:
        kind = event.rsplit("/", 1)[-1]
        if kind == "backend_compile_duration":
            spent["compiling"] += seconds
        elif kind in ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration"):
            spent["tracing"] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        side = compare.Side(Path(scratch), method, width)
        first = time.perf_counter() - began
        warm, _ = side.run()
    return {**spent, "first run": first, "next run": warm}


def measure(methods: tuple[str, ...] = ("map", "nuts", "hmc"), widths: tuple[int, ...] = (1, 256)) -> None:
    """Print the table."""
    print(f"\n{'start':30s} imports   tracing   compiling   first run   next run [s]")
    for method in [name for name in methods if name in METHODS]:
        cold = {}
        for width in widths:
            with tempfile.TemporaryDirectory() as cache:
                for what in ("cold", "again"):
                    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
                    arguments = [sys.executable, __file__, "--one", method, str(width)]
                    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                    one = json.loads(done.stdout.splitlines()[-1])
                    kinds = ("imports", "tracing", "compiling", "first run", "next run")
                    shown = "".join(f"{one[kind]:11.2f}" for kind in kinds)
                    note = f"   compiling / cold {one['compiling'] / cold[width]:.3f}" if what == "again" else ""
                    cold.setdefault(width, one["compiling"])
                    print(f"{f'{method}, width {width}, {what}':26s}{shown}{note}", flush=True)
        print(f"{method}: compiling at width {widths[-1]} / {widths[0]}: {cold[widths[-1]] / cold[widths[0]]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", nargs="+", default=["map", "nuts", "hmc"])
    parser.add_argument("--one", nargs=2, metavar=("METHOD", "WIDTH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(start(asked.one[0], int(asked.one[1]))))
        return
    print(machine())
    measure(tuple(asked.method))


if __name__ == "__main__":
    main()

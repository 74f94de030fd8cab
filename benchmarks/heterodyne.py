"""Eight data sets of 3×100×100 through a campaign, as a user would run it: time per data set, cold and warm.

    python benchmarks/heterodyne.py [--count 8] [--frames 100] [--repeat 3] [--cpus N]

A run is a process of its own: `lanewise run` on simulated files, import and compilation included. Cold: nothing is
compiled yet. Warm: the compiled programs of the first run are in the cache, as on a machine that was used before.
Solve: fits alone, on programs that are compiled, in one process and one thread. On a machine with other work the CPU
time says more than the wall time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml


def campaign(root: Path, count: int, cpus: int, name: str) -> str:
    """Write a survey of the files below `root`; returns the manifest's path."""
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": name,
        "inputs": "data/*.h5",
        "config": {},
        "batch": {"size": count},
        "output": {"url": str(root / name)},
        "resources": {"cpus": cpus},
    }
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return str(path)


def command(*arguments: str, cache: Path) -> tuple[float, float]:
    """Wall and CPU time of a lanewise command [s]."""
    began, used = time.perf_counter(), _children_s()
    program = "from lanewise.cli import main; main()"
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began, _children_s() - used


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def solve(root: Path) -> list[tuple[float, float]]:
    """Wall and CPU time of each fit after the first [s], in this process."""
    from lanewise.problems.heterodyne import fit_file

    times = []
    for path in [*sorted((root / "data").iterdir())[:1], *sorted((root / "data").iterdir())]:
        began, used = time.perf_counter(), time.process_time()
        fit_file(str(path))
        times.append((time.perf_counter() - began, time.process_time() - used))
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8, help="data sets")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3, help="warm runs")
    parser.add_argument("--cpus", type=int, default=2, help="fits side by side")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, cache = Path(scratch), Path(scratch) / "cache"
        options = ["--count", str(asked.count), "--frames", str(asked.frames), "--dt", str(10 / asked.frames)]
        command("simulate", "heterodyne", str(root / "data"), *options, cache=cache)
        for turn in range(asked.repeat + 1):
            manifest = campaign(root, asked.count, asked.cpus, f"run{turn}")
            seconds, used = command("run", manifest, cache=cache)
            what = "cold" if turn == 0 else "warm"
            each = f"{seconds / asked.count:.2f} s per data set, {used / asked.count:.2f} s of CPU"
            print(f"{what}: {seconds:.1f} s; {each}", flush=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        walls, cpus = zip(*solve(root), strict=True)
        print(f"solve: {sum(walls) / asked.count:.2f} s per data set, {sum(cpus) / asked.count:.2f} s of CPU")


if __name__ == "__main__":
    main()

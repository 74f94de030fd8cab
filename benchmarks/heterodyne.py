"""Fits of eight data sets of 3×100×100, by a campaign as a user runs it and by the public package heterodyne.

    python benchmarks/heterodyne.py [--peer PYTHON] [--count 8] [--frames 100] [--repeat 3] [--cpus N]

A run is a separate process: `lanewise run` on simulated files, with import and compilation. Cold: the cache of compiled
programs is empty. Warm: the cache has the programs of the previous run. Solve: fits alone, on compiled programs, in one
process and one thread.

--peer names the interpreter of an environment with the public package (Python ≥ 3.12, `pip install heterodyne==2.0.1`).
Its published shell loop then runs on the same files, in parts between the runs of lanewise, so that both have the same
machine load: one process per configuration, default bounds and start, no plots. Its solve time is its reported wall
time of a fit minus the time that JAX reports for tracing and compilation in that process.

On a machine with other load, compare CPU times, not wall times.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import yaml

_COMPILING = re.compile(r"Finished .* in ([0-9.e-]+) sec")


class Seconds(NamedTuple):
    """Wall time and CPU time [s]."""

    wall: float
    cpu: float

    def text(self, count: int) -> str:
        """The times per data set as text."""
        return f"{self.wall / count:.2f} s per data set, {self.cpu / count:.2f} s of CPU"


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


def command(*arguments: str, cache: Path) -> Seconds:
    """Time of a lanewise command."""
    program = "from lanewise.cli import main; main()"
    environment = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
    return timed([sys.executable, "-c", program, *arguments], environment)[0]


def timed(line: list[str], environment: dict[str, str]) -> tuple[Seconds, str]:
    """Time of a process, and what it wrote to standard error."""
    began, used = time.perf_counter(), _children_s()
    # Neither package sees the other's paths.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or line[0] == sys.executable}
    done = subprocess.run(
        line, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=kept | environment
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return Seconds(time.perf_counter() - began, _children_s() - used), done.stderr


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def solve(files: list[Path]) -> Seconds:
    """Time of a fit of each file in this process, once the first has been fitted."""
    from lanewise.families.heterodyne.nlsq.fit import fit_file

    fit_file(str(files[0]))
    began, used = time.perf_counter(), time.process_time()
    for path in files:
        fit_file(str(path))
    return Seconds(time.perf_counter() - began, time.process_time() - used)


def peer(python: str, file: Path, root: Path) -> tuple[Seconds, float, float]:
    """The public package on one file: its process, the solve in it [s], and half its sum of squared residuals."""
    with h5py.File(file) as held:
        q, phi, times = float(held["q"][()]), held["phi"][()], held["t"][()]
    config = {
        "metadata": {"config_version": "2.0.1"},
        "experimental_data": {"file_path": str(file), "file_format": "hdf5"},
        "analyzer_parameters": {
            "dt": float(times[1] - times[0]),
            "start_frame": 1,
            "end_frame": len(times),
            "scattering": {"wavevector_q": q, "phi_angles": [float(angle) for angle in phi]},
        },
        # The section must be there; this is the default.
        "parameters": {"reference": {"D0_ref": {"value": 1e4}}},
        "optimization": {"method": "nlsq"},
    }
    path, output = root / f"peer-{file.stem}.yaml", root / f"peer-{file.stem}"
    path.write_text(yaml.safe_dump(config))
    program = str(Path(python).with_name("heterodyne"))
    line = [program, "--config", str(path), "--output", str(output), "--method", "nlsq", "--no-plot"]
    seconds, told = timed(line, {"JAX_LOG_COMPILES": "1", "JAX_PLATFORMS": "cpu"})
    found = json.loads((output / "nlsq_metadata.json").read_text())
    compiling = sum(float(text) for text in _COMPILING.findall(told))
    return seconds, found["wall_time_seconds"] - compiling, found["final_cost"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment with the public package")
    parser.add_argument("--count", type=int, default=8, help="data sets")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3, help="warm runs")
    parser.add_argument("--cpus", type=int, default=2, help="fits side by side")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root, cache = Path(scratch), Path(scratch) / "cache"
        options = ["--count", str(asked.count), "--frames", str(asked.frames), "--dt", str(10 / asked.frames)]
        command("simulate", "heterodyne", str(root / "data"), *options, cache=cache)
        files = sorted((root / "data").iterdir())
        theirs: list[tuple[Seconds, float, float]] = []
        ours: list[Seconds] = []
        for turn, part in enumerate(np.array_split(np.arange(asked.count), asked.repeat + 1)):
            if asked.peer:
                theirs += [peer(asked.peer, files[at], root) for at in part]
            ours.append(command("run", campaign(root, asked.count, asked.cpus, f"run{turn}"), cache=cache))
            print(f"{'warm' if turn else 'cold'}: {ours[-1].wall:.1f} s; {ours[-1].text(asked.count)}", flush=True)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        alone = solve(files)
        print(f"solve: {alone.text(asked.count)}")
        if theirs:
            _compare(theirs, ours[0], alone)


def _compare(theirs: list[tuple[Seconds, float, float]], cold: Seconds, alone: Seconds) -> None:
    count = len(theirs)
    whole = Seconds(*(sum(column) for column in zip(*(seconds for seconds, _, _ in theirs), strict=True)))
    solving = sum(seconds for _, seconds, _ in theirs)
    print(f"public package: {whole.wall:.1f} s; {whole.text(count)}; solve {solving / count:.2f} s per data set")
    print(f"its half sums of squares: {', '.join(f'{cost:.4f}' for _, _, cost in theirs)}")
    print(
        f"ratios: end to end {whole.wall / cold.wall:.1f} (CPU {whole.cpu / cold.cpu:.1f}), "
        f"solve {solving / alone.wall:.1f}"
    )


if __name__ == "__main__":
    main()

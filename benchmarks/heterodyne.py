"""Fits of eight data sets of 3×100×100, by a campaign as a user runs it and by the public package heterodyne.

    python benchmarks/heterodyne.py [--peer PYTHON] [--count 8] [--frames 100] [--repeat 3] [--cpus N]
    python benchmarks/heterodyne.py --minima 16 [--peer PYTHON] [--xpcsjax PYTHON] [--multistart 3]

A run is a separate process: `lanewise run` on simulated files, with import and compilation. Cold: the cache of compiled
programs is empty. Warm: the cache has the programs of the previous run. Solve: fits alone, on compiled programs, in one
process and one thread.

--peer names the interpreter of an environment with the public package (Python ≥ 3.12, `pip install heterodyne==2.0.1`).
Its published shell loop then runs on the same files, in parts between the runs of lanewise, so that both have the same
machine load: one process per configuration, default bounds and start, no plots. Its solve time is its reported wall
time of a fit minus the time that JAX reports for tracing and compilation in that process.

With --minima, each package fits the same data sets as its command line does by default, one process each (ours: one
campaign), and the table says how many ended in the global minimum, and how many were called converged. xpcsjax
(`pip install xpcsjax==0.1.8`) gets the template of a two-component config that it ships, and with --multistart N the
first N data sets again with 8 starts, which takes a quarter of an hour each. A minimum is global if the mean square of
the residuals is below 1.1 times the variance of the noise.

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
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import yaml

from lanewise.families.heterodyne import simulate

N_FRAMES = simulate.Experiment.n_frames
# Mean square of the residuals over the variance of the noise, below which a minimum is the global one.
GLOBAL = 1.1
_COMPILING = re.compile(r"Finished .* in ([0-9.e-]+) sec")


class Seconds(NamedTuple):
    """Wall time and CPU time [s]."""

    wall: float
    cpu: float

    def text(self, count: int) -> str:
        """The times per data set as text."""
        return f"{self.wall / count:.2f} s per data set, {self.cpu / count:.2f} s of CPU"


def campaign(root: Path, count: int, cpus: int, name: str, inputs: str = "data/*.h5") -> str:
    """Write a survey of the files below `root`; returns the manifest's path."""
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": name,
        "inputs": inputs,
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


def peer(python: str, file: Path, root: Path) -> tuple[Seconds, float, float, str]:
    """The public package on one file: its process, the solve in it [s], half its sum of squares, and what it says."""
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
    says = "converged" if found["success"] else "not converged"
    return seconds, found["wall_time_seconds"] - compiling, found["final_cost"], says


class Found(NamedTuple):
    """A fit: its time, the mean square of its residuals over the variance of the noise, and what it says of itself."""

    time: Seconds
    chi2: float
    says: str


def xpcsjax(python: str, file: Path, root: Path, starts: int) -> Found:
    """The public package xpcsjax on one file of the layout aps-u; with one start, its default, or several."""
    where = "import xpcsjax, pathlib; print(pathlib.Path(xpcsjax.__file__).parent)"
    package = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.split()[-1])
    config = yaml.safe_load((package / "config/templates/xpcsjax_two_component.yaml").read_text())
    config["analyzer_parameters"] |= {"dt": simulate.Experiment.dt, "start_frame": 1, "end_frame": N_FRAMES}
    config["analyzer_parameters"]["scattering"]["wavevector_q"] = simulate.Experiment.q
    config["experimental_data"] = {
        "file_path": str(file),
        "data_folder_path": str(file.parent),
        "data_file_name": file.name,
        "use_caching": False,
    }
    output = root / f"xpcsjax-{file.stem}-{starts}"
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    line = [str(Path(python).with_name("xpcsjax")), "--config", str(path), "--output", str(output), "--no-plot"]
    several = ["--multistart", "--multistart-n", str(starts)] if starts > 1 else []
    seconds, told = timed([*line, *several], {"JAX_PLATFORMS": "cpu"})
    quality = json.loads((output / "analysis_results_nlsq.json").read_text())["fit_quality"]
    status = json.loads((output / "convergence_metrics.json").read_text())["status"]
    (n_values,) = {int(text) for text in re.findall(r"n_valid=(\d+)", told)}
    variance = simulate.Experiment.noise**2
    return Found(seconds, quality["chi_squared"] / n_values / variance, f"{status}, quality {quality['quality_flag']}")


def lanewise_fits(files: list[Path], root: Path) -> list[Found]:
    """Our fits of the files, in one campaign."""
    whole = command("run", campaign(root, len(files), 1, "minima", "aps-u/*.h5"), cache=root / "minima-cache")
    found = [json.loads(path.read_text()) for path in sorted((root / "minima").glob("*/result.json"))]
    each = Seconds(whole.wall / len(found), whole.cpu / len(found))
    variance = simulate.Experiment.noise**2

    def of(one: dict[str, Any]) -> Found:
        chi2 = one["nlsq"]["ssr"] / one["nlsq"]["n_data"] / variance
        return Found(each, chi2, "converged" if one["converged"] else "not converged")

    return [of(one) for one in found]


def minima(asked: argparse.Namespace, root: Path) -> None:
    """Print the table of all packages on the same data sets."""
    cache = root / "cache"
    for layout in ("flat", "aps-u"):
        options = ["--count", str(asked.minima), "--layout", layout]
        command("simulate", "heterodyne", str(root / layout), *options, cache=cache)
    flat, aps = (sorted((root / layout).iterdir()) for layout in ("flat", "aps-u"))
    # Its sum is over both triangles.
    level = 3 * N_FRAMES * (N_FRAMES - 1) * simulate.Experiment.noise**2
    print(f"{'':20}{'fits':>5}{'global':>8}{'median χ²':>11}{'s per fit':>11}{'CPU s':>8}  what they say")
    _row("lanewise", lanewise_fits(aps, root))
    if asked.peer:
        fits = [peer(asked.peer, file, root) for file in flat]
        _row("heterodyne 2.0.1", [Found(seconds, 2 * cost / level, says) for seconds, _, cost, says in fits])
    if asked.xpcsjax:
        _row("xpcsjax 0.1.8", [xpcsjax(asked.xpcsjax, file, root, 1) for file in aps])
        for at, file in enumerate(aps[: asked.multistart]):
            _row(f"  8 starts, set {at + 1}", [xpcsjax(asked.xpcsjax, file, root, 8)])


def _row(name: str, fits: list[Found]) -> None:
    right = sum(one.chi2 < GLOBAL for one in fits)
    wall, cpu = (float(np.mean([getattr(one.time, kind) for one in fits])) for kind in ("wall", "cpu"))
    says = ", ".join(f"{n} × {text}" for text, n in Counter(one.says for one in fits).most_common())
    middle = float(np.median([one.chi2 for one in fits]))
    print(f"{name:20}{len(fits):>5}{right:>8}{middle:>11.2f}{wall:>11.1f}{cpu:>8.1f}  {says}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment with the public package")
    parser.add_argument("--count", type=int, default=8, help="data sets")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3, help="warm runs")
    parser.add_argument("--cpus", type=int, default=2, help="fits side by side")
    parser.add_argument("--minima", type=int, metavar="N", help="instead: how many of N fits find the global minimum")
    parser.add_argument("--xpcsjax", metavar="PYTHON", help="interpreter of an environment with xpcsjax")
    parser.add_argument("--multistart", type=int, default=3, help="data sets for xpcsjax with 8 starts")
    asked = parser.parse_args()
    if asked.minima:
        with tempfile.TemporaryDirectory() as scratch:
            minima(asked, Path(scratch))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root, cache = Path(scratch), Path(scratch) / "cache"
        options = ["--count", str(asked.count), "--frames", str(asked.frames), "--dt", str(10 / asked.frames)]
        command("simulate", "heterodyne", str(root / "data"), *options, cache=cache)
        files = sorted((root / "data").iterdir())
        theirs: list[tuple[Seconds, float, float, str]] = []
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


def _compare(theirs: list[tuple[Seconds, float, float, str]], cold: Seconds, alone: Seconds) -> None:
    count = len(theirs)
    whole = Seconds(*(sum(column) for column in zip(*(seconds for seconds, *_ in theirs), strict=True)))
    solving = sum(seconds for _, seconds, *_ in theirs)
    print(f"public package: {whole.wall:.1f} s; {whole.text(count)}; solve {solving / count:.2f} s per data set")
    print(f"its half sums of squares: {', '.join(f'{cost:.4f}' for _, _, cost, _ in theirs)}")
    print(
        f"ratios: end to end {whole.wall / cold.wall:.1f} (CPU {whole.cpu / cold.cpu:.1f}), "
        f"solve {solving / alone.wall:.1f}"
    )


if __name__ == "__main__":
    main()

"""What a container pays before it computes: seconds and peak memory of `plan`, `run` and `status`, by campaign.

    python benchmarks/planning.py [--realizations 1000 10000 100000 1000000] [--size 1000] [--repeat 3] [--url DIR]
    python benchmarks/planning.py --committed 10000 100000      # status of campaigns that are committed
    python benchmarks/planning.py --listed 1000 10000           # plan of fits over so many files

Every number is of a process of its own, from its start to its end: processor time, wall time and peak resident memory,
the least of the repetitions, which are made in turns. `plan` is without --memory. `run` computes chunk 0 and ends where
the programs of its lanes would be compiled: it has made the plan, looked into storage and simulated the images of the
chunk. `status` finds nothing committed, unless --committed is given: then every chunk is, with 100 realizations each,
and writing them takes minutes for 100 000. With --listed, the manifest names every file with its SHA-256; no file is
read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from lanewise import api
from lanewise.machine.progress import Silent

COMMAND = (sys.executable, "-c", "from lanewise.cli import main; main()")


def write(folder: Path, n: int, size: int) -> str:
    """A manifest of n realizations at ten shears; returns its path."""
    import aggregate  # its scene and shears

    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "benchmark",
        "config": aggregate.SCENE,
        "shear": {"grid": [round(0.01 * k, 2) for k in range(1, aggregate.POINTS + 1)]},
        "realizations": {"count": n // aggregate.POINTS},
        "batch": {"size": size},
        "output": {"url": str(folder / "results"), "layout": "packed"},
        "resources": {"device": "cpu"},
    }
    path = folder / f"{n}.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return str(path)


def write_listed(folder: Path, n: int, size: int) -> str:
    """A manifest of fits over n files; returns its path."""
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "benchmark",
        "inputs": [{"path": f"/absent/{k}.h5", "sha256": f"f{k:063x}"} for k in range(n)],
        "config": {"data": {"dt": 0.1}},
        "batch": {"size": size},
        "output": {"url": str(folder / "results")},
    }
    path = folder / f"listed-{n}.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return str(path)


class _End(Silent):
    """Ends this process where the first block of lanes begins, which compiles the programs of the chunk."""

    def begin(self, what: str, total: int) -> None:
        os._exit(0)


class Cost(NamedTuple):
    """What a process took: wall and processor time [s], peak resident memory [MiB]."""

    wall: float
    processor: float
    memory: float


def measure(command: Sequence[str]) -> Cost:
    """The cost of a command, by the operating system's account of the process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}")
    # macOS counts bytes, Linux KiB.
    mib = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Cost(wall, used.ru_utime + used.ru_stime, mib)


def table(names: Sequence[str], rows: Mapping[int, Sequence[Sequence[str]]], repeat: int) -> None:
    """Measure the commands of every row, in turns, and print the least of each, with the ratio to the first row."""
    found: dict[tuple[int, int], list[Cost]] = {}
    for _ in range(repeat):  # in turns, so that a load that comes and goes meets all rows
        for n, commands in rows.items():
            for at, command in enumerate(commands):
                found.setdefault((n, at), []).append(measure(command))
    least = {key: Cost(*map(min, zip(*costs, strict=True))) for key, costs in found.items()}
    print("| realizations | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    first = next(iter(rows))
    for n, commands in rows.items():
        cells = []
        for at in range(len(commands)):
            cost, base = least[n, at], least[first, at]
            times = f"{cost.processor:.2f} s (× {cost.processor / base.processor:.2f}), wall {cost.wall:.2f} s"
            cells.append(f"{times}, {cost.memory:.0f} MiB (× {cost.memory / base.memory:.2f})")
        print(f"| {n} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realizations", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--size", type=int, default=1000, help="realizations per chunk")
    parser.add_argument("--repeat", type=int, default=3, help="processes per number; the least counts")
    parser.add_argument("--url", help="directory for the campaigns, which are removed; default: the temporary one")
    parser.add_argument("--committed", type=int, nargs="+", help="only: status of committed campaigns, 100 per chunk")
    parser.add_argument("--listed", type=int, nargs="+", help="only: plan and status of fits over so many files")
    parser.add_argument("--one", metavar="MANIFEST", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        api.load(asked.one).run(0, progress=_End())
        raise SystemExit("the chunk was committed before")
    with tempfile.TemporaryDirectory(dir=asked.url) as scratch:
        folder = Path(scratch)
        if asked.committed:
            import aggregate

            rows = {}
            for n in asked.committed:
                (folder / str(n)).mkdir()
                rows[n] = [[*COMMAND, "status", aggregate.make(str(folder / str(n)), n, 100)]]
            table(["`status`, all committed"], rows, asked.repeat)
        elif asked.listed:
            made = {n: write_listed(folder, n, asked.size) for n in asked.listed}
            commands = {n: [[*COMMAND, "plan", m, "--no-memory"], [*COMMAND, "status", m]] for n, m in made.items()}
            table(["`plan`, listed", "`status`, listed"], commands, asked.repeat)
        else:
            made = {n: write(folder, n, asked.size) for n in asked.realizations}
            commands = {
                n: [
                    [*COMMAND, "plan", m, "--no-memory"],
                    [sys.executable, __file__, "--one", m],
                    [*COMMAND, "status", m],
                ]
                for n, m in made.items()
            }
            table(["`plan`", "`run` of one chunk", "`status`"], commands, asked.repeat)


if __name__ == "__main__":
    main()

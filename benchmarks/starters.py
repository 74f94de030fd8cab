"""How often each starter ends as a first user expects: every `lanewise init KIND`, carried out at full size.

shear, calibration and model are run from other base seeds, heterodyne over other simulated data. A starter ends well
if its verdict is PASS, or if all of its data sets converged.

    python benchmarks/starters.py                       # 20 seeds of each
    python benchmarks/starters.py --kinds shear --seeds 3
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

KINDS = ("shear", "calibration", "heterodyne", "model")
COMMAND = [sys.executable, "-c", "from lanewise import cli; cli.main()"]


def verdict(kind: str, seed: int, folder: Path) -> str:
    """The first line that `aggregate` prints, for the starter from one seed; raises if a command fails."""

    def lanewise(*words: str) -> str:
        done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False)
        # 2: some did not converge, which `aggregate` tells.
        if done.returncode not in (0, 2):
            raise SystemExit(f"lanewise {' '.join(words)} exits with {done.returncode}: {done.stderr}")
        return done.stdout

    flags: list[str] = []
    if kind in ("shear", "calibration"):
        flags = ["--base-seed", str(seed)]
    elif kind == "heterodyne":
        lanewise("simulate", "heterodyne", "data", "--seed", str(seed))
        flags = ["--data", f"data/het_s{seed}.h5"]
    lanewise("init", kind, *flags, "-o", "my.yaml")
    other = ["--set", f"inference.rng_seed={seed}"] if kind == "model" else []
    lanewise("run", "my.yaml", *other)
    return lanewise("aggregate", "my.yaml", *other).splitlines()[0]


def ends_well(line: str) -> bool:
    """Whether the line is a PASS, or says that all of n converged."""
    n_ok, of, n, *_ = [*line.split(), "", "", ""]
    return line.startswith("PASS:") or (of == "of" and n_ok == n)


def main() -> None:
    """Print a line per seed and a line per starter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1000, help="the first seed; the others are 1000 apart")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        well = 0
        for seed in range(arguments.first, arguments.first + 1000 * arguments.seeds, 1000):
            with tempfile.TemporaryDirectory() as folder:
                line = verdict(kind, seed, Path(folder))
            well += ends_well(line)
            print(f"{kind} {seed}: {line}", flush=True)
        print(f"{kind}: {well} of {arguments.seeds} end well", flush=True)


if __name__ == "__main__":
    main()

"""Galaxies of P1 per second and core, and the bytes that they leave in storage.

    python benchmarks/population.py [--galaxies 1000] [--samples 64] [--rounds 3]

Stamps of 63 × 63 pixels. The process keeps to one core. What is timed is the whole of a chunk: drawing the images by
GalSim, the modes, the draws, the likelihoods, storage; compilation is not. On a busy machine the processor's time
counts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

# Before JAX counts them.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

from lanewise import api  # noqa: E402

MANIFEST = Path(__file__).parents[1] / "manifests" / "p1.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # One population a chunk: the first compiles.
        overrides = [f"config.population.galaxies={args.galaxies}", "shear.paired=false", "resources.cpus=1"]
        overrides += [f"config.inference.importance_config.samples={args.samples}", f"output.url={folder}"]
        campaign = api.load(str(MANIFEST), [*overrides, "batch.size=1", f"realizations.count={args.rounds + 1}"])
        for number in range(args.rounds + 1):
            before = time.perf_counter(), time.process_time()
            campaign.run(number)
            wall, used = time.perf_counter() - before[0], time.process_time() - before[1]
            what = "with compilation" if number == 0 else "of the core"
            rates = f"{args.galaxies / used:6.0f} galaxies per second of the processor"
            print(f"{rates}, {args.galaxies / wall:6.0f} of the clock ({what})")
        files = [file for file in Path(folder).rglob("chunks/*/*.nc") if file.is_file()]
        n_bytes = sum(file.stat().st_size for file in files) / len(files)
    print(f"{n_bytes / args.galaxies:.0f} bytes of storage per galaxy")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

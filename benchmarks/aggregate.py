"""Aggregation of a large campaign: writes a packed campaign with artificial results, aggregates it, prints the numbers.

    python benchmarks/aggregate.py [--realizations 10000] [--size 100 1] [--url DIRECTORY]

Wall time, processor time and peak memory are those of the aggregating process, which is started anew. Chunks of one
realization are the worst case: each has its own commit and table. Writing them takes minutes. A directory in memory
(`--url /dev/shm`) avoids the flushes to disk.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from lanewise import api as campaigns
from lanewise.engine.results import Diagnostics, Result
from lanewise.manifest.plan import Realization
from lanewise.manifest.status import LaneStatus
from lanewise.storage import committing

POINTS, CHAINS, DRAWS = 10, 4, 100
NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
SCENE = {
    "image": {"pixel_scale": 0.3, "size_x": 24, "size_y": 24, "noise": {"sigma": 1e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.4},
    "gal": {"flux": 1.0, "half_light_radius": 0.5, "shear": {"g1": NORMAL, "g2": NORMAL}},
    "inference": {"method": "nuts"},
}


def _result(realization: Realization) -> Result:
    rng = np.random.default_rng(realization.planned.seed)
    truth = realization.planned.truth
    names = ("g1", "g2")
    posterior = {n: truth[n] + 0.01 * (rng.normal() + rng.normal(size=(CHAINS, DRAWS))) for n in names}
    ess = dict.fromkeys(names, 400.0)
    found = Diagnostics(
        rhat=dict.fromkeys(names, 1.0), ess=ess, ess_tail=ess, divergences=0, divergence_frac=0.0, bfmi=(1.0,) * CHAINS
    )
    stats = {"diverging": np.zeros((CHAINS, DRAWS), bool), "energy": rng.normal(size=(CHAINS, DRAWS))}
    return Result(
        run_id=realization.run_id,
        seed=realization.planned.seed,
        status=LaneStatus.OK,
        reason="",
        method="nuts",
        truth=truth,
        posterior=posterior,
        stats=stats,
        diagnostics=found,
    )


def make(url: str, n: int, size: int) -> str:
    """Write the manifest and commit every chunk; returns the manifest's path."""
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "benchmark",
        "config": SCENE,
        "shear": {"grid": [round(0.01 * k, 2) for k in range(1, POINTS + 1)]},
        "realizations": {"count": n // POINTS},
        "batch": {"size": size},
        "output": {"url": f"{url}/results", "layout": "packed"},
    }
    path = Path(url) / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    campaign = campaigns.load(str(path))
    for chunk in campaign.plan.chunks:
        committing.write(campaign.store, campaign.plan, chunk, [_result(r) for r in chunk.realizations], {})
    return str(path)


def aggregate(manifest: str) -> None:
    """Aggregate and print wall time and peak memory."""
    began = time.perf_counter()
    results = campaigns.load(manifest).aggregate()
    seconds = time.perf_counter() - began
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = f"{seconds:.1f} s ({time.process_time():.1f} s of processor time)"
    print(f"aggregate: {results.tally.n_used} realizations, {told}, peak {peak_gib:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--realizations", type=int, default=10_000)
    parser.add_argument("--size", type=int, nargs="+", default=[100, 1], help="realizations per chunk, one or several")
    parser.add_argument("--url", help="directory for the campaigns, which are removed; default: the temporary one")
    parser.add_argument("--aggregate", metavar="MANIFEST", help="only aggregate this campaign")
    asked = parser.parse_args()
    if asked.aggregate:
        aggregate(asked.aggregate)
        return
    for size in asked.size:
        with tempfile.TemporaryDirectory(dir=asked.url) as scratch:
            began = time.perf_counter()
            manifest = make(scratch, asked.realizations, size)
            print(f"made {asked.realizations} realizations, {size} per chunk, in {time.perf_counter() - began:.1f} s")
            sys.stdout.flush()
            subprocess.run([sys.executable, __file__, "--aggregate", manifest], check=True)


if __name__ == "__main__":
    main()

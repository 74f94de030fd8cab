"""catalogue.parquet of a large campaign: seconds and peak memory of writing it, and of reading it in batches.

    python benchmarks/catalogue.py [--rows 10000 100000] [--size 1000] [--url DIRECTORY]

Writes packed campaigns with artificial results (one mode each), then runs `lanewise catalogue` and a reader, each in a
process of its own. The reader takes 10 000 rows at a time. Making a campaign of a million takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import planning
import yaml
from pyarrow import parquet

from lanewise import api
from lanewise.engine.results import Diagnostics, Goodness, Result
from lanewise.manifest.plan import Realization
from lanewise.manifest.status import LaneStatus
from lanewise.storage import committing

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
SCENE = {
    "image": {"pixel_scale": 0.3, "size_x": 24, "size_y": 24, "noise": {"sigma": 1e-3}},
    "psf": {"type": "Gaussian", "sigma": 0.4},
    "gal": {
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3},
        "shear": {"g1": NORMAL, "g2": NORMAL},
        "position": {"type": "Normal", "sigma": 0.5},
    },
    "inference": {"method": "map"},
}
FIT = Goodness(570.0, 570, 0.5, 2.5, 3.5, 4.5, "pixel", 0.5, 0.1, 0.9, 0.9, 0, 200.0)


def _result(realization: Realization, names: tuple[str, ...]) -> Result:
    values = np.random.default_rng(realization.planned.seed).normal(size=len(names))
    return Result(
        run_id=realization.run_id,
        seed=realization.planned.seed,
        status=LaneStatus.OK,
        reason="",
        method="map",
        truth=realization.planned.truth,
        posterior={name: np.full((1, 1), value) for name, value in zip(names, values, strict=True)},
        laplace_std=dict.fromkeys(names, 0.01),
        diagnostics=Diagnostics(goodness=FIT),
    )


def make(folder: Path, n: int, size: int) -> str:
    """Write the manifest and commit every chunk; returns the manifest's path."""
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "benchmark",
        "config": SCENE,
        "shear": {"grid": [0.01]},
        "realizations": {"count": n},
        "batch": {"size": size},
        "output": {"url": str(folder / "results"), "layout": "packed"},
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    campaign = api.load(str(path))
    names = ("flux", "half_light_radius", "g1", "g2", "x", "y")
    for chunk in campaign.plan.chunks:
        found = [_result(one, names) for one in chunk.realizations]
        committing.write(campaign.store, campaign.plan, chunk, found, {})
    return str(path)


def read(path: str) -> None:
    """The sums over a catalogue, in batches."""
    total = {"g1_mean": 0.0, "response_g1": 0.0}
    for batch in parquet.ParquetFile(path).iter_batches(10_000, columns=[*total]):
        for name in total:
            total[name] += float(np.sum(batch[name].to_numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--size", type=int, default=1000, help="realizations per chunk")
    parser.add_argument("--url", help="directory for the campaigns, which are removed; default: the temporary one")
    parser.add_argument("--read", metavar="FILE", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.read:
        read(asked.read)
        return
    for n in asked.rows:
        with tempfile.TemporaryDirectory(dir=asked.url) as scratch:
            began = time.perf_counter()
            manifest = make(Path(scratch), n, asked.size)
            print(f"{n} rows: made in {time.perf_counter() - began:.0f} s", flush=True)
            file = Path(scratch) / "catalogue.parquet"
            written = planning.measure([*planning.COMMAND, "catalogue", manifest, "-o", str(file)])
            told = f"written in {written.wall:.1f} s ({written.processor:.1f} s of processor time)"
            print(f"{n} rows: {told}, {written.memory:.0f} MiB, {file.stat().st_size / 2**20:.1f} MiB on disk")
            seen = planning.measure([sys.executable, __file__, "--read", str(file)])
            print(f"{n} rows: read in {seen.wall:.1f} s, {seen.memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

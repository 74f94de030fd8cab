"""A survey through the table of exposures: objects per second and memory of making the plan, and of chunks.

    python benchmarks/survey.py [--objects 100000] [--chunks 2] [--exposures 1] [--pixels 32] [--method importance]
    python benchmarks/survey.py --objects 3000 --chunks 3 --pixels 32 48 64 128 --shares .6 .25 .1 .05 [--one-size]

Makes stamps with noise maps and images of the PSF in HDF5 files of 1000 objects, and a table that names them: 100 000
objects of 32 × 32 pixels take 820 MB. Then `plan` and `run` of some chunks of 1000, each in a process
of its own: wall and processor time, and peak memory. With several numbers of pixels, objects have these in the shares
given, and each is computed at its size, or with --one-size at the largest. The galaxies are Gaussians in closed form.
`--profile FILE` keeps where the last chunk spent its time, for `python -m pstats FILE`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import planning
import yaml

SCALE, PSF_SIGMA, SIGMA, PER_FILE = 0.2, 0.35, 2e-3, 1000
NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.3}


def gaussians(covariance: np.ndarray, pixels: int) -> np.ndarray:
    """Gaussians of unit flux about the middle of a stamp, shape (n, pixels, pixels).

    Args:
        covariance: of each [arcsec²], shape (n, 2, 2).
    """
    at = (np.arange(pixels) - (pixels - 1) / 2) * SCALE
    inverse = np.linalg.inv(covariance)[:, :, :, None, None]
    x, y = at, at[:, None]
    t = inverse[:, 0, 0] * x**2 + 2 * inverse[:, 0, 1] * x * y + inverse[:, 1, 1] * y**2
    norm = SCALE**2 / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))
    found: np.ndarray = norm[:, None, None] * np.exp(-t / 2)
    return found


def write_file(file: h5py.Group, rng: np.random.Generator, n: int, exposures: int, pixels: int) -> None:
    """Stamps of n objects; the exposures of an object follow each other."""
    g = 0.1 * rng.normal(size=(n, 2))
    shear = np.array([[1 + g[:, 0], g[:, 1]], [g[:, 1], 1 - g[:, 0]]]).transpose(2, 0, 1)
    size = (0.4 * np.exp(0.2 * rng.normal(size=n))) ** 2
    psf = np.eye(2) * PSF_SIGMA**2
    pixel = np.eye(2) * SCALE**2 / 12  # to second order
    area = size / (1 - np.sum(g**2, axis=1))
    seen = shear @ shear.transpose(0, 2, 1) * area[:, None, None] + psf + pixel
    image = np.repeat(gaussians(seen, pixels), exposures, axis=0)
    image += SIGMA * rng.normal(size=image.shape)
    file["image"] = image.astype("f4")
    file["weight"] = np.full(image.shape, SIGMA**-2, "f4")
    file["psf"] = gaussians(psf[None], 25).astype("f4")


def make(folder: Path, asked: argparse.Namespace) -> str:
    """Files, table and manifest; returns its path."""
    rng, rows = np.random.default_rng(1), []
    for first in range(0, asked.objects, PER_FILE):
        name, n = f"stamps-{first // PER_FILE:04d}.h5", min(PER_FILE, asked.objects - first)
        sizes = rng.choice(asked.pixels, size=n, p=asked.shares)
        with h5py.File(folder / name, "w") as file:
            for pixels in asked.pixels:
                write_file(file.create_group(str(pixels)), rng, int(np.sum(sizes == pixels)), asked.exposures, pixels)
        seen = dict.fromkeys(asked.pixels, 0)
        for at, pixels in enumerate(sizes):
            planes = {role: f"{name}#{pixels}/{role}" for role in ("image", "weight", "psf")}
            for _ in range(asked.exposures):
                rows.append({"id": first + at, **planes, "index": seen[pixels]})
                seen[pixels] += 1
    table = pd.DataFrame(rows).assign(dudx=SCALE, dudy=0.0, dvdx=0.0, dvdy=SCALE)
    table.to_parquet(folder / "objects.parquet")
    config: dict[str, Any] = {
        "image": {
            "pixel_scale": SCALE,
            "size_x": max(asked.pixels),
            "size_y": max(asked.pixels),
            "noise": {"type": "PerPixel"},
            **({} if asked.one_size or len(asked.pixels) == 1 else {"sizes": asked.pixels}),
        },
        "psf": {"type": "PerExposure", "fwhm": 2.355 * PSF_SIGMA, "pixel_scale": SCALE},
        "gal": {
            "type": "Gaussian",
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
            "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3},
            "shear": {"g1": NORMAL, "g2": NORMAL},
            "position": {"type": "Normal", "sigma": 0.5},
        },
        "inference": {"method": asked.method},
    }
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "survey",
        "config": config,
        "observations": {"table": "objects.parquet"},
        "batch": {"size": 1000},
        "output": {"url": "results", "layout": "packed"},
        "resources": {"device": "cpu"},
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    return str(path)


def report(what: str, cost: planning.Cost, objects: int) -> None:
    rate = f"{objects / cost.wall:.0f} objects per second"
    print(
        f"{what}: {cost.wall:.1f} s ({cost.processor:.1f} s of processor time), {rate}, {cost.memory:.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--chunks", type=int, default=2, help="chunks of 1000 to run; the first one compiles")
    parser.add_argument("--exposures", type=int, default=1)
    parser.add_argument("--pixels", type=int, nargs="+", default=[32])
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0])
    parser.add_argument("--one-size", action="store_true", help="every object at the largest size")
    parser.add_argument("--method", default="importance")
    parser.add_argument("--url", help="directory for the files, which are removed; default: the temporary one")
    parser.add_argument("--profile", metavar="FILE")
    asked = parser.parse_args()
    profile = os.path.abspath(asked.profile) if asked.profile else ""
    with tempfile.TemporaryDirectory(dir=asked.url) as scratch:
        manifest = make(Path(scratch), asked)
        os.chdir(scratch)
        report("plan", planning.measure([*planning.COMMAND, "plan", manifest, "--no-memory"]), asked.objects)
        for index in range(asked.chunks):
            command = [*planning.COMMAND, "run", manifest, "--batch-index", str(index)]
            if asked.profile and index == asked.chunks - 1:
                program = f"import cProfile; from lanewise.cli import main; cProfile.run('main()', {profile!r})"
                command[2] = program
            report(f"chunk {index}", planning.measure(command), min(1000, asked.objects))


if __name__ == "__main__":
    main()

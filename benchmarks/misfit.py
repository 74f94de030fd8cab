"""False alarms of `misfit` over good stamps, and how often it finds a neighbour.

    python benchmarks/misfit.py [--good 1000] [--each 20] [--method map]

48×48 pixels of .263″, exponential galaxies drawn from priors by GalSim; the median galaxy has S/N 20, 100 and 1000.
First table: good stamps, and how many of them have p below some values. Second table: stamps with a neighbour of the
same profile, by distance and flux ratio: how many are a misfit; in brackets the median of the neighbour's own S/N, in a
filter that knows its profile, after the fit has taken what it can. Last: the share found of those whose own S/N is 10
or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

import galsim
import jax
import numpy as np

from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.manifest import loading, planning
from lanewise.manifest.document import Document
from lanewise.manifest.plan import Realization, Single
from lanewise.manifest.problem import Observation

SCALE, PSF_SIGMA, RADIUS = 0.263, 0.382, 0.5
DISTANCES, RATIOS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.5), (0.01, 0.03, 0.1, 0.3)
# Of the median galaxy, S/N 100.
SIGMA_100 = 1.2e-3
LEVELS = (1e-1, 1e-2, 1e-3, 1e-6)


def campaign(signal: float, count: int, method: str) -> Any:
    """The manifest of good stamps."""
    prior = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
    config = {
        "image": {"pixel_scale": SCALE, "size_x": 48, "size_y": 48, "noise": {"sigma": SIGMA_100 * 100 / signal}},
        "psf": {"type": "Gaussian", "sigma": PSF_SIGMA},
        "gal": {
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.2},
            "half_light_radius": {"type": "LogNormal", "mean": RADIUS, "sigma": 0.15},
            "shear": {"g1": prior, "g2": prior},
            "position": {"type": "Normal", "sigma": 1.0},
        },
        "inference": {"method": "auto" if method == "map" else method, "precision": "float32"},
    }
    content = {
        "apiVersion": "lanewise/v1",
        "kind": "calibration",
        "name": "misfit",
        "config": config,
        "realizations": {"count": count},
        "batch": {"size": count, "width": 16},
        "output": {"url": "memory://unused"},
    }
    if method == "map":
        # Truths of a calibration are drawn; modes have no draws to rank, and need none here.
        content |= {"kind": "shear", "shear": {"grid": [0.02]}}
        config |= {"inference": {"method": "map", "precision": "float32"}, "simulation": {"truths": "drawn"}}
    return loading.load(Document("misfit", content))


def neighbour(ratio: float, distance: float, seed: int) -> np.ndarray:
    """The image of another galaxy, in a random direction."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    offset = galsim.PositionD(distance / SCALE * np.cos(angle), distance / SCALE * np.sin(angle))
    other = galsim.Exponential(flux=ratio, half_light_radius=RADIUS)
    drawn = galsim.Convolve(other, galsim.Gaussian(sigma=PSF_SIGMA))
    return np.asarray(drawn.drawImage(nx=48, ny=48, scale=SCALE, offset=offset, dtype=np.float64).array)


def results(signal: float, count: int, method: str, ratio: float = 0.0, distance: float = 0.0) -> Iterator[Any]:
    """Each result, with the neighbour's own S/N."""
    manifest = campaign(signal, count, method)
    config = shear_config.of(manifest)
    problem = ShearProblem(config)
    slopes = jax.jit(jax.jacfwd(problem.image))
    own: dict[int, float] = {}

    def observe(realization: Realization) -> Observation:
        planned = realization.planned
        assert isinstance(planned, Single)
        good = simulate(config, planned)
        if not ratio:
            return good
        light = neighbour(ratio, distance, planned.seed)
        at = np.array([good.truth[name] for name in problem.names])
        basis = np.linalg.qr(np.asarray(slopes(at, np.zeros(0)), np.float64).reshape(-1, len(at)))[0]
        left = light.ravel() - basis @ (basis.T @ light.ravel())
        assert config.image.noise.sigma is not None
        own[planned.seed] = float(np.linalg.norm(left)) / config.image.noise.sigma
        return Observation.of({**good.data, "image": good.data["image"] + light}, good.truth)

    plan = planning.build(manifest)
    for chunk in plan.chunks:
        for result in Engine(manifest, plan, observe=observe).run(chunk):
            yield result, own.get(result.seed, 0.0)


def p_of(result: Result) -> float:
    """The p-value of the fit."""
    assert result.diagnostics.goodness is not None
    return result.diagnostics.goodness.p


def statuses(found: list[Any]) -> Mapping[str, int]:
    """Number of results by status."""
    words = [result.status.word for result, _ in found]
    return {word: words.count(word) for word in sorted(set(words))}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=1000, help="good stamps per S/N")
    parser.add_argument("--each", type=int, default=20, help="stamps with a neighbour per S/N, distance and flux ratio")
    parser.add_argument("--method", default="map", help="method of inference")
    arguments = parser.parse_args()
    print("| S/N | good stamps | " + " | ".join(f"p < {level:g}" for level in LEVELS) + " | statuses |")
    for signal in (20, 100, 1000):
        found = list(results(signal, arguments.good, arguments.method))
        p = np.array([p_of(result) for result, _ in found if result.diagnostics.goodness])
        counts = " | ".join(f"{np.sum(p < level)}" for level in LEVELS)
        print(f"| {signal} | {len(p)} | {counts} | {statuses(found)} |", flush=True)
    bright: list[bool] = []
    for signal in (20, 100, 1000):
        print(f"\nS/N {signal}\n| distance | " + " | ".join(f"flux {ratio:g}" for ratio in RATIOS) + " |")
        for distance in DISTANCES:
            cells = []
            for ratio in RATIOS:
                found = list(results(signal, arguments.each, arguments.method, ratio, distance))
                seen = [result.status.word == "misfit" for result, _ in found]
                bright += [one for one, (_, size) in zip(seen, found, strict=True) if size >= 10]
                cells.append(f"{sum(seen)}/{len(seen)} ({np.median([size for _, size in found]):.2g})")
            print(f"| {distance:g}″ | " + " | ".join(cells) + " |", flush=True)
    print(f"\nown S/N of 10 or more: {sum(bright)} of {len(bright)} found")


if __name__ == "__main__":
    main()

"""What the grid costs and what it changes: `image.accuracy: answer` and `strict` on the scenes of others.

    python benchmarks/grids.py [--rounds 3] [--lanes 64] [--pairs 1000]

Scenes: 48×48 pixels of .263″ at S/N 100, float32, six latents. The first table has ms per realization in chunks of 16,
of the engine after compilation; medians of rounds in which all take turns. The second compares the answers of the two
on the same images: mean and width of every latent by `auto`, whose random numbers are the same; and the difference of
the multiplicative bias from pairs at g1 = ±.02, by `map`.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from lanewise.engine.engine import Engine
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.render import choose_grid
from lanewise.manifest import loading, planning
from lanewise.manifest.document import Document


def prior(kind: str, mean: float, sigma: float) -> dict[str, Any]:
    """A prior as a config has it."""
    return {"type": kind, "mean": mean, "sigma": sigma}


GAUSSIAN, MOFFAT = {"type": "Gaussian", "sigma": 0.382}, {"type": "Moffat", "sigma": 0.9, "beta": 2.5}
NARROW = {"flux": prior("LogNormal", 1.0, 0.3), "half_light_radius": prior("LogNormal", 0.5, 0.1)}
PUBLISHED = {
    "flux": prior("LogNormal", 1.0, 0.5),
    "half_light_radius": prior("LogNormal", 0.5, 0.3),
    "position": {"type": "Uniform", "x_min": 23.5, "x_max": 24.5, "y_min": 23.5, "y_max": 24.5},
}
SCENES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "Gaussian PSF, radius σ .1": (GAUSSIAN, NARROW, 0.2),
    "published NUTS config": (GAUSSIAN, PUBLISHED, 0.05),
    "Moffat PSF, radius σ .1": (MOFFAT, NARROW, 0.2),
}
SETTINGS: dict[str, dict[str, Any]] = {"auto": {}, "hmc": {"samples": 1000, "chains": 1}, "map": {}}


def engine(scene: str, accuracy: str, method: str, count: int, batch: int, *, paired: bool = False) -> Any:
    """The engine and the chunks of a campaign."""
    psf, galaxy, sigma = SCENES[scene]
    shear = {name: prior("Normal", 0.0, sigma) for name in ("g1", "g2")}
    config = {
        "image": {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": 1.2e-3}, "accuracy": accuracy},
        "psf": psf,
        "gal": {**galaxy, "shear": shear},
        "inference": {"method": method, f"{method}_config": SETTINGS[method], "precision": "float32"},
    }
    content = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "grids",
        "config": config,
        "shear": {"grid": [0.02], "paired": paired},
        "realizations": {"count": count},
        "batch": {"size": batch, "width": batch},
        "output": {"url": "memory://unused"},
    }
    loaded = loading.load(Document("grids", content))
    planned = planning.build(loaded)
    grid = choose_grid(shear_config.of(loaded))
    return Engine(loaded, planned), planned.chunks, f"{grid.padding:g}, {grid.band:g}, {grid.levels}"


def times(rounds: int) -> None:
    """Print ms per realization."""
    methods = {"answer": ("auto", "hmc", "map"), "strict": ("auto", "map")}
    print(f"{'scene':28}{'accuracy':10}{'grid':11}" + "".join(f"{name:>9}" for name in SETTINGS))
    made = {
        (scene, accuracy, method): engine(scene, accuracy, method, 16, 16)
        for scene in SCENES
        for accuracy, names in methods.items()
        for method in names
    }
    for one, (chunk,), _ in made.values():
        one.run(chunk)
    spent: dict[tuple[str, str, str], list[float]] = {key: [] for key in made}
    for _ in range(rounds):
        for key, (one, (chunk,), _) in made.items():
            began = time.perf_counter()
            one.run(chunk)
            spent[key].append((time.perf_counter() - began) / 16 * 1e3)
    for scene in SCENES:
        for accuracy in methods:
            cells = [spent.get((scene, accuracy, method)) for method in SETTINGS]
            shown = "".join(f"{np.median(cell):9.1f}" if cell else f"{'–':>9}" for cell in cells)
            print(f"{scene:28}{accuracy:10}{made[scene, accuracy, 'map'][2]:11}{shown}", flush=True)


def answers(lanes: int, pairs: int) -> None:
    """Print the differences of the answers."""
    print(f"\n{'scene':28}{'max |Δmean| [σ]':>17}{'max |Δwidth| [%]':>18}{'not ok':>8}{'Δm':>10}")
    for scene in SCENES:
        found = []
        for accuracy in ("answer", "strict"):
            one, (chunk,), _ = engine(scene, accuracy, "auto", lanes, lanes)
            found.append(one.run(chunk))
        names = list(found[0][0].posterior)
        mean, width = (
            np.array([[[getattr(r.posterior[n], moment)() for n in names] for r in results] for results in found])
            for moment in ("mean", "std")
        )
        bad = [sum(result.status.word != "ok" for result in results) for results in found]
        slopes = []
        for accuracy in ("answer", "strict"):
            one, chunks, _ = engine(scene, accuracy, "map", pairs, 100, paired=True)
            results = [result for chunk in chunks for result in one.run(chunk)]
            slopes.append(np.mean([r.posterior["g1"].mean() * np.sign(r.truth["g1"]) for r in results]) / 0.02)
        shift = np.max(np.abs(mean[0] - mean[1]) / width[1])
        ratio = 100 * np.max(np.abs(width[0] / width[1] - 1))
        changed = slopes[0] - slopes[1]
        print(f"{scene:28}{shift:17.1e}{ratio:18.1e}{bad[0]:4} {bad[1]:3}{changed:+10.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=1000)
    asked = parser.parse_args()
    times(asked.rounds)
    answers(asked.lanes, asked.pairs)


if __name__ == "__main__":
    main()

"""Speed and accuracy in one run, compared with the ancestor, JAX-GalSim and the time of one Fourier transform.

    python benchmarks/compare.py --ancestor PYTHON [--only gradient sampling batch start] [--batch 1 4 16]

PYTHON is the interpreter of an environment with the ancestor, shine-wl 0.0.3 (`pip install shine-wl==0.0.3`). Without
it the rows of the ancestor are left out. There is one scene, S/N 100: 48 × 48, Exponential × Gaussian, six latents.
Both sides use float32 and the same images.

- gradient: value and gradient of the likelihood per galaxy; see renderer.py.
- sampling: effective draws of g1 per second over all realizations, and modes per second. The times of lanewise are
  whole runs of the engine on compiled programs, with fit, warm-up and diagnostics. The rate of the ancestor is that of
  its draws alone. Its warm-up and compilation are printed, but not counted. The two sides take turns.
- batch: time per realization as a function of the lane width.
- start: tracing and compilation, cold and from the cache, in separate processes; see startup.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import renderer
import startup
import yaml

from lanewise import api as campaigns
from lanewise.engine import diagnostics
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.families.shear import family
from lanewise.families.shear.model.draw import draw
from lanewise.machine import device
from lanewise.manifest.plan import Realization
from lanewise.manifest.problem import Observation

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
SCENE: dict[str, Any] = {
    "image": {
        "pixel_scale": 0.263,
        "size_x": 48,
        "size_y": 48,
        "n_objects": 1,
        "fft_size": 128,
        "noise": {"type": "Gaussian", "sigma": 1.2e-3},
    },
    "psf": {"type": "Gaussian", "sigma": 0.382},
    "gal": {
        "type": "Exponential",
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
        "shear": {"type": "G1G2", "g1": NORMAL, "g2": NORMAL},
    },
}
MAP_INIT = {"enabled": True, "num_steps": 200, "learning_rate": 0.01}
# Settings that differ from the defaults: a chain of the ancestor's length, after a warm-up that whitening makes short.
OURS: dict[str, dict[str, Any]] = {"nuts": {"nuts_config": {"warmup": 100, "samples": 1000, "chains": 1}}}
THEIRS = {"warmup": 500, "samples": 1000, "chains": 1, "dense_mass": False, "map_init": MAP_INIT, "rng_seed": 42}
# Draws of the ancestor in one turn: some ten seconds and more.
TURN = {1: 400, 4: 150, 16: 50}


class Side:
    """A method of lanewise on a set of realizations, compiled."""

    def __init__(self, scratch: Path, method: str, batch: int, precision: str = "float32", **settings: Any) -> None:
        inference = {"method": method, "precision": precision, **(settings or OURS.get(method, {}))}
        manifest = {
            "apiVersion": "lanewise/v1",
            "kind": "shear",
            "name": "compare",
            "config": {**SCENE, "inference": inference},
            "shear": {"grid": [0.02]},
            "realizations": {"count": batch},
            "batch": {"size": batch, "width": batch},
            "convergence": {"ess_min": 1},
            "output": {"url": str(scratch / "results")},
        }
        path = scratch / f"{method}-{batch}-{precision}.yaml"
        path.write_text(yaml.safe_dump(manifest))
        campaign = campaigns.load(str(path))
        self.config, (self.chunk,) = campaign.manifest.config, campaign.plan.chunks
        self.seen = {r.run_id: family.observe(self.config, r.planned) for r in self.chunk.realizations}
        self.precision = precision
        self.engine = Engine(campaign.manifest, campaign.plan, observe=self._observe)
        self.run()

    def run(self) -> tuple[float, list[Result]]:
        """Time [s] and results."""
        device.prepare("auto", self.precision)
        began = time.perf_counter()
        results = self.engine.run(self.chunk)
        return time.perf_counter() - began, results

    @property
    def images(self) -> np.ndarray:
        """Shape (realization, ny, nx)."""
        return np.stack([one.data["image"] for one in self.seen.values()])

    def _observe(self, realization: Realization) -> Observation:
        return self.seen[realization.run_id]


class Ancestor:
    """The process of the ancestor, which answers commands."""

    def __init__(self, python: str, scratch: Path, images: np.ndarray) -> None:
        config, stack = scratch / "ancestor.yaml", scratch / "images.npy"
        config.write_text(yaml.safe_dump({**SCENE, "inference": THEIRS}))
        np.save(stack, images)
        program = str(Path(__file__).with_name("ancestor.py"))
        # Not our packages: its environment has its own.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [python, program, str(config), str(stack)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**environment, "EQX_ON_ERROR": "nan"},
        )
        self.versions = self._answer()

    def ask(self, do: str, **command: Any) -> dict[str, Any]:
        """The answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **command}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the ancestor's process has ended; run its program by hand to see why")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Score:
    """The results of one side in all its turns."""

    seconds: float = 0.0
    bulk: float = 0.0
    squared: float = 0.0
    rates: list[float] = field(default_factory=list)
    mean: Any = None
    width: Any = None

    def add(self, seconds: float, bulk: float, squared: float) -> None:
        """A turn: its time and effective draws of g1 and of its squared deviation, over all realizations."""
        self.seconds, self.bulk, self.squared = self.seconds + seconds, self.bulk + bulk, self.squared + squared
        self.rates.append(bulk / seconds)


def effective(results: list[Result]) -> tuple[float, float]:
    """ESS of g1 and of its squared deviation; for weighted draws the ESS of the weights."""
    draws = np.stack([one.posterior["g1"] for one in results])
    stated = [one.diagnostics.ess.get("g1") for one in results]
    found = diagnostics.summarise(draws)
    # A method of independent draws states its own size; that of chains is the one just found.
    bulk = sum(own if own is not None else new for own, new in zip(stated, found.ess, strict=True))
    return float(bulk), float(np.minimum(found.ess_sd, stated if None not in stated else np.inf).sum())


def cost(config: Any, image: np.ndarray, values: dict[str, float]) -> float:
    """Minus the log posterior density with respect to the latents, up to a constant; in float64."""
    residual = (image - np.asarray(draw(config, **values))) / config.image.noise.sigma
    found = 0.5 * np.sum(residual**2) + sum(0.5 * (values[g] / 0.2) ** 2 for g in ("g1", "g2"))
    for name, median, sigma in (("flux", 1.0, 0.3), ("half_light_radius", 0.5, 0.1)):
        found += 0.5 * (np.log(values[name] / median) / sigma) ** 2 + np.log(values[name])
    return float(found)


def compare_sampling(python: str | None, batch: int, turns: int, scratch: Path) -> None:
    """lanewise and the ancestor's NUTS and MAP, in turns."""
    names = ("nuts", "hmc", "importance", "auto")
    sides = {name: Side(scratch, name, batch) for name in names}
    modes = Side(scratch, "map", batch)
    truth = Side(scratch, "nuts", batch, "float64", nuts_config={"warmup": 200, "samples": 1000, "chains": 2})
    _, reference = truth.run()
    expected = np.array([np.mean(one.posterior["g1"]) for one in reference])
    wide = np.array([np.std(one.posterior["g1"]) for one in reference])
    scores = {name: Score() for name in names}
    mode_seconds: list[float] = []
    ancestor = Ancestor(python, scratch, modes.images) if python else None
    began = ancestor.ask("map", warmup=THEIRS["warmup"] if batch == 1 else 100) if ancestor else {}
    their_draws: list[np.ndarray] = []
    their_seconds: list[float] = []
    for _ in range(turns):
        for name, side in sides.items():
            seconds, results = side.run()
            scores[name].add(seconds, *effective(results))
            scores[name].mean = np.array([np.mean(one.posterior["g1"]) for one in results])
            scores[name].width = np.array([np.std(one.posterior["g1"]) for one in results])
        mode_seconds.append(modes.run()[0])
        if ancestor:
            answer = ancestor.ask("sample", count=TURN.get(batch, 25))
            their_draws.append(np.array(answer["draws"]["g1"]))
            their_seconds.append(answer["seconds"])
    theirs = None
    if ancestor:
        chain = np.concatenate(their_draws).T[:, None]
        found = diagnostics.summarise(chain)
        theirs = Score(sum(their_seconds), float(found.ess.sum()), float(found.ess_sd.sum()))
        theirs.mean, theirs.width = chain.mean(axis=(1, 2)), chain.std(axis=(1, 2))
        scores = {"ancestor's NUTS": theirs, **scores}
        versions = ", ".join(f"{name} {version}" for name, version in ancestor.versions.items())
        print(f"\nancestor: {versions}; EQX_ON_ERROR=nan, map_init enabled, one chain (ArviZ has no R̂ for it)")
        compiling = began["map_compile_s"] + began["compile_s"]
        print(
            f"  not counted: compilation {compiling:.1f} s, MAP {began['map_s']:.1f} s, "
            f"warm-up {began['warmup_s']:.1f} s ({began['warmup_steps']} leapfrogs); {len(chain[0, 0])} draws"
        )
    print(f"\nbatch {batch:20d}   s a run   ESS g1 /s    ×   ESS (g1−ḡ1)² /s    ×   mean off [σ]   width off")
    for name, score in scores.items():
        rate, squared = score.bulk / score.seconds, score.squared / score.seconds
        ratios = (rate * theirs.seconds / theirs.bulk, squared * theirs.seconds / theirs.squared) if theirs else (1, 1)
        off, narrow = np.sqrt(np.mean(((score.mean - expected) / wide) ** 2)), np.mean(score.width / wide) - 1
        print(
            f"{name:26s} {score.seconds / turns:9.3f} {rate:11.0f} {ratios[0]:6.0f} {squared:15.0f} {ratios[1]:6.0f} "
            f"{off:12.3f} {narrow:+12.2%}"
        )
    ours = float(np.median(mode_seconds)) / batch
    print(f"map: {ours * 1e3:.2f} ms a realization", end="")
    if ancestor:
        _compare_modes(modes, began, ours)
        ancestor.close()
    print(flush=True)


def _compare_modes(modes: Side, began: dict[str, Any], ours: float) -> None:
    """Time per mode, and the density at the modes."""
    device.prepare("auto", "float64")
    batch = len(modes.seen)
    gains = []
    for at, (result, image) in enumerate(zip(modes.run()[1], modes.images, strict=True)):
        device.prepare("auto", "float64")
        names = {"g1": "g1", "g2": "g2", "flux": "flux", "hlr": "half_light_radius", "x": "x", "y": "y"}
        found = {ours: float(began["map"][theirs][at]) for theirs, ours in names.items()}
        # Its centres count from the centre of the first pixel.
        found |= {axis: found[axis] + 0.5 for axis in "xy"}
        mine = {name: float(result.posterior[name].item()) for name in names.values()}
        gains.append(cost(modes.config, image, found) - cost(modes.config, image, mine))
    theirs = began["map_s"] / batch
    print(
        f"; ancestor ({MAP_INIT['num_steps']} Adam steps, compiled) {theirs * 1e3:.1f} ms: {theirs / ours:.0f} ×; its "
        f"cost is higher by {np.median(gains):.3g} (median; {min(gains):.2g} to {max(gains):.2g})",
        end="",
    )


def compare_batches(widths: list[int], scratch: Path) -> None:
    """Time per realization as a function of the lane width."""
    print("\nms a realization, at lane width " + "".join(f"{width:9d}" for width in widths))
    for method in ("map", "nuts", "hmc", "importance", "auto"):
        sides = [Side(scratch, method, width) for width in widths]
        spent = np.array([[side.run()[0] / len(side.seen) for side in sides] for _ in range(3)])
        each = np.median(spent, axis=0) * 1e3
        print(f"{method:32s}" + "".join(f"{one:9.2f}" for one in each) + f"   best/widest {each.min() / each[-1]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("gradient", "sampling", "batch", "start")
    parser.add_argument("--ancestor", metavar="PYTHON", help="of an environment with shine-wl 0.0.3")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="of the comparison with the ancestor")
    parser.add_argument("--width", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--turns", type=int, default=4)
    asked = parser.parse_args()
    print(startup.machine())
    with tempfile.TemporaryDirectory() as scratch:
        if "gradient" in asked.only:
            renderer.measure([16, 64, 256], "float32", rounds=9)
        if "sampling" in asked.only:
            for batch in asked.batch:
                compare_sampling(asked.ancestor, batch, asked.turns, Path(scratch))
        if "batch" in asked.only:
            compare_batches(asked.width, Path(scratch))
        if "start" in asked.only:
            startup.measure()


if __name__ == "__main__":
    main()

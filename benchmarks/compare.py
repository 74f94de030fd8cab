"""Speed and accuracy in one run, compared with the ancestor, JAX-GalSim, BPD's recipe and one Fourier transform.

    python benchmarks/compare.py --peers PYTHON [--only gradient sampling blackjax bpd batch growth start]

PYTHON is the interpreter of an environment with the ancestor, shine-wl 0.0.3, with blackjax 1.7 and with lanewise
(`pip install shine-wl==0.0.3 blackjax==1.7 .`). Without it the rows of peers are left out. Scenes have S/N 100 and six
latents: `narrow` (48 × 48, Exponential × Gaussian), `published` (the config of the published NUTS runs), `moffat` (PSF
of FWHM .9″, β 2.5), and without a peer `sersic` (free index), `strict` (Moffat, with exact images) and `level1` (the
shipped config, in float64). Both sides use float32 and the same images.

- gradient: value and gradient of the likelihood per galaxy; see renderer.py.
- sampling: effective draws of g1 per second over all realizations, and modes per second. The times of lanewise are
  whole runs of the engine on compiled programs, with fit, warm-up and diagnostics. The rate of the ancestor is that of
  its draws alone. Its warm-up and compilation are printed, but not counted. The two sides take turns.
- blackjax: its vmapped NUTS and its multi-path Pathfinder on the density of lanewise; see blackjax_peer.py.
- bpd: 63 × 63 pixels, the standard problem of LSSTDESC/BPD, and its recipe; see bpd.py.
- batch: time per realization as a function of the lane width.
- growth: time per realization as a function of the stamp's size and of the number of latents.
- start: tracing and compilation, cold and from the cache, in separate processes; see startup.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
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


def normal(sigma: float) -> dict[str, Any]:
    """A Normal prior about 0."""
    return {"type": "Normal", "mean": 0.0, "sigma": sigma}


def log_normal(mean: float, sigma: float) -> dict[str, Any]:
    """A LogNormal prior."""
    return {"type": "LogNormal", "mean": mean, "sigma": sigma}


def around(middle: float) -> dict[str, Any]:
    """A centre within half a pixel of the middle of the stamp [pixel from the lower left]."""
    bounds = {f"{axis}_{side}": middle + sign * 0.5 for axis in "xy" for side, sign in (("min", -1), ("max", 1))}
    return {"type": "Uniform", **bounds}


IMAGE = {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "n_objects": 1, "fft_size": 128, "noise": {"sigma": 1.2e-3}}
GALAXY: dict[str, Any] = {
    "type": "Exponential",
    "flux": log_normal(1.0, 0.3),
    "half_light_radius": log_normal(0.5, 0.1),
    "shear": {"type": "G1G2", "g1": normal(0.2), "g2": normal(0.2)},
}
GAUSSIAN, MOFFAT = {"type": "Gaussian", "sigma": 0.382}, {"type": "Moffat", "sigma": 0.9, "beta": 2.5}
SERSIC = {**GALAXY, "type": "Sersic", "n": {"type": "Uniform", "min": 0.8, "max": 4.0}}
# The published NUTS config: wide priors on flux and size, a narrow one on the centre.
PUBLISHED = {
    **GALAXY,
    "flux": log_normal(1.0, 0.5),
    "half_light_radius": log_normal(0.5, 0.3),
    "shear": {"type": "G1G2", "g1": normal(0.05), "g2": normal(0.05)},
    "position": around(24.0),
}
# The standard problem of LSSTDESC/BPD. Its ellipticity is a shear of a round galaxy here; the prior's factor
# (1 − e²)² is left out on both sides. The images have the centres of the priors: a flux of 1000, S/N 100, and .5″.
ROUND = {
    "type": "Exponential",
    "flux": {"type": "LogUniform", "min": 1e-3, "max": 1e9},
    "half_light_radius": {"type": "LogUniform", "min": 0.025, "max": 10.0},
    "shear": {"g1": normal(0.3), "g2": normal(0.3)},
    "position": {"type": "Normal", "sigma": 0.5},
}
SCENES: dict[str, dict[str, Any]] = {
    "narrow": {"image": IMAGE, "psf": GAUSSIAN, "gal": GALAXY},
    "published": {"image": IMAGE, "psf": GAUSSIAN, "gal": PUBLISHED},
    "moffat": {"image": IMAGE, "psf": MOFFAT, "gal": GALAXY},
    "sersic": {"image": IMAGE, "psf": MOFFAT, "gal": SERSIC},
    "strict": {"image": {**IMAGE, "accuracy": "strict"}, "psf": MOFFAT, "gal": GALAXY},
    "63px": {
        "image": {"pixel_scale": 0.2, "size_x": 63, "size_y": 63, "noise": {"sigma": 1.0}},
        "psf": {"type": "Gaussian", "sigma": 0.8 / 2.3548},
        "gal": ROUND,
    },
}
LEVEL1 = yaml.safe_load((Path(__file__).parents[1] / "manifests/configs/level1.yaml").read_text())
SCENES["level1"] = {name: part for name, part in LEVEL1.items() if name != "inference"}
# Of scenes that are not in float32.
PRECISIONS = {"level1": "float64"}
MAP_INIT = {"enabled": True, "num_steps": 200, "learning_rate": 0.01}
# Settings that differ from the defaults: a chain of the ancestor's length, after a warm-up that whitening makes short.
OURS: dict[str, dict[str, Any]] = {"nuts": {"nuts_config": {"warmup": 100, "samples": 1000, "chains": 1}}}
THEIRS = {"warmup": 500, "samples": 1000, "chains": 1, "dense_mass": False, "map_init": MAP_INIT, "rng_seed": 42}
# Draws of the ancestor in one turn: some ten seconds and more.
TURN = {1: 400, 4: 150, 16: 50}
BPD_GALAXIES = 2
ANCESTORS_SCENES = ("narrow", "published", "moffat")


class Side:
    """A method of lanewise on a set of realizations, compiled."""

    def __init__(
        self,
        scratch: Path,
        method: str,
        batch: int,
        precision: str = "float32",
        *,
        scene: Mapping[str, Any] = SCENES["narrow"],
        **settings: Any,
    ) -> None:
        inference = {"method": method, "precision": precision, **(settings or OURS.get(method, {}))}
        manifest = {
            "apiVersion": "lanewise/v1",
            "kind": "shear",
            "name": "compare",
            "config": {**scene, "inference": inference},
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


def peers_environment() -> dict[str, str]:
    """The variables for a peer's process, without our packages: it has its own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def answer_of(python: str, program: str, *arguments: Path) -> dict[str, Any]:
    """The line of JSON that a program beside this file prints, run by a peer's interpreter."""
    command = [python, str(Path(__file__).with_name(program)), *map(str, arguments)]
    said = subprocess.run(command, env=peers_environment(), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


class Ancestor:
    """The process of the ancestor, which answers commands."""

    def __init__(self, python: str, scratch: Path, images: np.ndarray, scene: Mapping[str, Any]) -> None:
        config, stack = scratch / "ancestor.yaml", scratch / "images.npy"
        galaxy = dict(scene["gal"])
        if "position" in galaxy:
            # Its centres count from the centre of the first pixel.
            galaxy["position"] = {k: v if k == "type" else v - 0.5 for k, v in galaxy["position"].items()}
        config.write_text(yaml.safe_dump({**scene, "gal": galaxy, "inference": THEIRS}))
        np.save(stack, images)
        program = str(Path(__file__).with_name("ancestor.py"))
        self._process = subprocess.Popen(
            [python, program, str(config), str(stack)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**peers_environment(), "EQX_ON_ERROR": "nan"},
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

    def off(self, expected: Any, wide: Any) -> tuple[float, float]:
        """Root mean square of the means' differences [σ], and the mean relative difference of the widths."""
        return float(np.sqrt(np.mean(((self.mean - expected) / wide) ** 2))), float(np.mean(self.width / wide) - 1)


def moments(results: list[Result]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of g1 of each realization."""
    draws = [one.posterior["g1"] for one in results]
    return np.array([np.mean(one) for one in draws]), np.array([np.std(one) for one in draws])


def effective(results: list[Result], name: str = "g1") -> tuple[float, float]:
    """ESS of a latent and of its squared deviation; for weighted draws the ESS of the weights."""
    bulk = squared = 0.0
    # One by one: the methods that `auto` takes have different numbers of draws.
    for one in results:
        stated, found = one.diagnostics.ess.get(name), diagnostics.summarise(one.posterior[name][None])
        # A method of independent draws states its own size; that of chains is the one just found.
        bulk += float(found.ess[0]) if stated is None else stated
        squared += float(found.ess_sd[0]) if stated is None else min(float(found.ess_sd[0]), stated)
    return bulk, squared


def cost(config: Any, image: np.ndarray, values: dict[str, float], scene: Mapping[str, Any]) -> float:
    """Minus the log posterior density with respect to the latents, up to a constant; in float64."""
    residual = (image - np.asarray(draw(config, **values))) / config.image.noise.sigma
    galaxy = scene["gal"]
    found = 0.5 * np.sum(residual**2)
    found += sum(0.5 * (values[g] / galaxy["shear"][g]["sigma"]) ** 2 for g in ("g1", "g2"))
    for name in ("flux", "half_light_radius"):
        found += 0.5 * (np.log(values[name] / galaxy[name]["mean"]) / galaxy[name]["sigma"]) ** 2 + np.log(values[name])
    return float(found)


def compare_sampling(scene_name: str, python: str | None, batch: int, turns: int, scratch: Path) -> None:
    """lanewise and the ancestor's NUTS and MAP on a scene, in turns."""
    scene = SCENES[scene_name]
    names, precision = ("nuts", "hmc", "importance", "auto"), PRECISIONS.get(scene_name, "float32")
    sides = {name: Side(scratch, name, batch, precision, scene=scene) for name in names}
    modes = Side(scratch, "map", batch, precision, scene=scene)
    truth = Side(
        scratch, "nuts", batch, "float64", scene=scene, nuts_config={"warmup": 200, "samples": 1000, "chains": 2}
    )
    _, reference = truth.run()
    expected, wide = moments(reference)
    scores = {name: Score() for name in names}
    mode_seconds: list[float] = []
    ancestor = Ancestor(python, scratch, modes.images, scene) if python and scene_name in ANCESTORS_SCENES else None
    began = ancestor.ask("map", warmup=THEIRS["warmup"] if batch == 1 else 100) if ancestor else {}
    their_draws: list[np.ndarray] = []
    their_seconds: list[float] = []
    for _ in range(turns):
        for name, side in sides.items():
            seconds, results = side.run()
            scores[name].add(seconds, *effective(results))
            scores[name].mean, scores[name].width = moments(results)
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
    print(
        f"\n{f'{scene_name}, batch {batch}':26s}   s a run   ESS g1 /s    ×   ESS (g1−ḡ1)² /s    ×   mean off [σ]   "
        "width off"
    )
    for name, score in scores.items():
        rate, squared = score.bulk / score.seconds, score.squared / score.seconds
        ratios = (rate * theirs.seconds / theirs.bulk, squared * theirs.seconds / theirs.squared) if theirs else (1, 1)
        off, narrow = score.off(expected, wide)
        print(
            f"{name:26s} {score.seconds / turns:9.3f} {rate:11.0f} {ratios[0]:6.0f} {squared:15.0f} {ratios[1]:6.0f} "
            f"{off:12.3f} {narrow:+12.2%}"
        )
    ours = float(np.median(mode_seconds)) / batch
    print(f"map: {ours * 1e3:.2f} ms a realization", end="")
    if ancestor:
        _compare_modes(modes, began, ours, scene)
        ancestor.close()
    print(flush=True)


def _compare_modes(modes: Side, began: dict[str, Any], ours: float, scene: Mapping[str, Any]) -> None:
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
        gains.append(cost(modes.config, image, found, scene) - cost(modes.config, image, mine, scene))
    theirs = began["map_s"] / batch
    print(
        f"; ancestor ({MAP_INIT['num_steps']} Adam steps, compiled) {theirs * 1e3:.1f} ms: {theirs / ours:.0f} ×; its "
        f"cost is higher by {np.median(gains):.3g} (median; {min(gains):.2g} to {max(gains):.2g})",
        end="",
    )


def compare_blackjax(scene_name: str, python: str, batch: int, scratch: Path) -> None:
    """blackjax on the density of lanewise: effective draws of g1 per second, with warm-up and fit on both sides."""
    scene = SCENES[scene_name]
    sides = {name: Side(scratch, name, batch, scene=scene) for name in ("nuts", "hmc", "auto")}
    config, stack = scratch / "blackjax.yaml", scratch / "blackjax.npy"
    config.write_text(yaml.safe_dump({**scene, "inference": {"method": "nuts", "precision": "float32"}}))
    np.save(stack, sides["auto"].images)
    answer = answer_of(python, "blackjax_peer.py", config, stack)
    scores: dict[str, Score] = {}
    for name in ("nuts", "pathfinder"):
        found, score = answer[name], Score()
        draws, weights = np.array(found["draws"]), np.exp(np.array(found["log_weights"]))
        weights /= weights.sum(axis=1, keepdims=True)
        size = diagnostics.summarise(draws[:, None]).ess if name == "nuts" else 1 / np.sum(weights**2, axis=1)
        score.add(found["seconds"], float(size.sum()), float("nan"))
        score.mean = np.sum(weights * draws, axis=1)
        score.width = np.sqrt(np.sum(weights * (draws - score.mean[:, None]) ** 2, axis=1))
        scores[f"blackjax {name}"] = score
        print(f"  {name}: compilation {found['compile_s']:.1f} s, not counted; largest k̂ {max(found['khat']):.2f}")
    for name, side in sides.items():
        runs, score = [side.run() for _ in range(3)], Score()
        seconds, results = sorted(runs, key=lambda run: run[0])[1]
        score.add(seconds, *effective(results))
        score.mean, score.width = moments(results)
        scores[name] = score
    expected, wide, slowest = scores["auto"].mean, scores["auto"].width, scores["blackjax nuts"].rates[0]
    title = f"{scene_name}, batch {batch}; {answer['versions']}"
    print(f"\n{title:44s}   s a run   ESS g1 /s      ×   mean off [σ]   width off")
    for name, score in scores.items():
        off, narrow = score.off(expected, wide)
        rate = score.rates[0]
        print(
            f"{name:44s} {score.seconds:9.3f} {rate:11.0f} {rate / slowest:6.1f} {off:12.3f} {narrow:+12.2%}",
            flush=True,
        )


def compare_batches(widths: list[int], methods: list[str], scratch: Path) -> None:
    """Time per realization as a function of the lane width."""
    print("\nms a realization, at lane width " + "".join(f"{width:9d}" for width in widths))
    for method in methods:
        sides = [Side(scratch, method, width) for width in widths]
        spent = np.array([[side.run()[0] / len(side.seen) for side in sides] for _ in range(3)])
        each = np.median(spent, axis=0) * 1e3
        print(f"{method:32s}" + "".join(f"{one:9.2f}" for one in each) + f"   best/widest {each.min() / each[-1]:.2f}")


def compare_growth(scratch: Path) -> None:
    """Time per realization for stamps of 32 to 128 pixels, and for 2 to 7 latents."""
    narrow = SCENES["narrow"]
    fixed = {"flux": 1.0, "half_light_radius": 0.5}
    sizes = {str(n): {**narrow, "image": {**IMAGE, "size_x": n, "size_y": n}} for n in (32, 48, 63, 64, 96, 128)}
    latents = {
        "4": {**narrow, "gal": {**GALAXY, **fixed}},
        "5": {**narrow, "gal": {**GALAXY, "flux": 1.0}},
        "6": narrow,
        "7": {**narrow, "gal": SERSIC},
        "8": {**narrow, "gal": {**GALAXY, "ellipticity": {"e1": normal(0.2), "e2": normal(0.2)}}},
    }
    for what, scenes in (("pixels a side", sizes), ("latents (7: with a Sersic index)", latents)):
        print(f"\nms a realization, batch 16, {what:34s}" + "".join(f"{name:>9}" for name in scenes))
        for method in ("map", "hmc", "importance", "auto"):
            sides = [Side(scratch, method, 16, scene=scene) for scene in scenes.values()]
            spent = np.array([[side.run()[0] / 16 for side in sides] for _ in range(3)])
            print(f"{method:62s}" + "".join(f"{one:9.2f}" for one in np.median(spent, axis=0) * 1e3), flush=True)


def compare_bpd(python: str | None, scratch: Path) -> None:
    """Seconds per galaxy and 300 effective draws, by lanewise and by the recipe of BPD, on the same images."""
    print("\n63 × 63 pixels, BPD's standard problem        s per galaxy and 300 effective draws of g1    ×")
    theirs: float | None = None
    for precision in ("float32", "float64"):
        for method in ("auto", "hmc", "nuts"):
            side = Side(scratch, method, 16, precision, scene=SCENES["63px"])
            runs = [side.run() for _ in range(3)]
            seconds = float(np.median([took for took, _ in runs]))
            own = 300 * seconds / min(effective(runs[0][1], "g1"))
            if theirs is None and python:
                np.save(scratch / "bpd.npy", side.images[:BPD_GALAXIES])
                answer = answer_of(python, "bpd.py", scratch / "bpd.npy")
                theirs = answer["seconds_per_300"]
                print(f"{'BPD recipe, float64: ' + answer['versions']:46s} {theirs:12.3f}")
                mine = moments(runs[0][1][:BPD_GALAXIES])
                for (mean, width), m, w in zip(answer["g1"], *mine, strict=True):
                    print(f"  g1: {mean:+.4f} ± {width:.4f} there, {m:+.4f} ± {w:.4f} here")
                print(f"  not counted: compilation {answer['compile_s']:.0f} s")
            ratio = f"{theirs / own:9.0f}" if theirs else ""
            print(f"{f'{method}, {precision}':46s} {own:12.5f} {ratio:>38}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("gradient", "sampling", "blackjax", "bpd", "batch", "growth", "start")
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with shine-wl 0.0.3 and blackjax 1.7")
    parser.add_argument("--scene", nargs="+", choices=[one for one in SCENES if one != "63px"], default=["narrow"])
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="of the comparison with the ancestor")
    parser.add_argument("--width", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    methods = ("map", "nuts", "hmc", "importance", "auto")
    parser.add_argument("--method", nargs="+", choices=methods, default=methods, help="of the part `batch`")
    parser.add_argument("--turns", type=int, default=4)
    asked = parser.parse_args()
    print(startup.machine())
    with tempfile.TemporaryDirectory() as scratch:
        if "gradient" in asked.only:
            renderer.measure([16, 64, 256], "float32", rounds=9)
        if "sampling" in asked.only:
            for scene, batch in itertools.product(asked.scene, asked.batch):
                compare_sampling(scene, asked.peers, batch, asked.turns, Path(scratch))
        if "blackjax" in asked.only and asked.peers:
            for scene in asked.scene:
                compare_blackjax(scene, asked.peers, asked.batch[-1], Path(scratch))
        if "bpd" in asked.only:
            compare_bpd(asked.peers, Path(scratch))
        if "batch" in asked.only:
            compare_batches(asked.width, asked.method, Path(scratch))
        if "growth" in asked.only:
            compare_growth(Path(scratch))
        if "start" in asked.only:
            startup.measure()


if __name__ == "__main__":
    main()

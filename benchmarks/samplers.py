"""Effective draws of g1 per second for each method, from images to results with diagnostics, and their accuracy.

    python benchmarks/samplers.py [--batch 16 64] [--signal-to-noise 100] [--methods importance hmc nuts]
    python benchmarks/samplers.py --accuracy [--signal-to-noise 20] [--methods importance hmc nuts]

The methods are interleaved in one run. Every time is a median over rounds, and every ratio is a median of the rounds'
ratios. A time is that of the engine on one chunk after compilation: mode, draws, diagnostics. The ESS is that of the
weights for importance, the number of draws for an approximation, and the bulk ESS for chains. The ESS of g1² is printed
too, because chains are antithetic in g1. --accuracy compares 64 lanes with chains of another key, ten times as long.
"""

from __future__ import annotations

import argparse
import platform
import time
from typing import Any

import jax
import numpy as np

from lanewise.engine import diagnostics
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.manifest import loading, planning
from lanewise.manifest.document import Document

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
METHODS: dict[str, dict[str, Any]] = {
    "auto": {},
    "importance": {},
    "hmc": {},
    "nuts": {"samples": 500, "chains": 4},
    "laplace": {},
    "vi": {"num_steps": 1000},
}
# Settings that give ten thousand effective draws of g1 and of g1² a lane.
LONG: dict[str, dict[str, Any]] = {
    "importance": {"samples": 16_000},
    "hmc": {"samples": 2000},
    "nuts": {"samples": 6000, "chains": 4},
}
REFERENCE = {"samples": 20_000}


def engine(options: argparse.Namespace, method: str, settings: dict[str, Any], batch: int, seed: int = 0) -> Any:
    """Engine and chunk: 48 × 48, Exponential × Gaussian, six latents."""
    scene = {
        "image": {
            "pixel_scale": 0.263,
            "size_x": 48,
            "size_y": 48,
            "noise": {"sigma": 0.12 / options.signal_to_noise},
        },
        "psf": {"type": "Gaussian", "sigma": 0.382},
        "gal": {
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
            "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.1},
            "shear": {"g1": NORMAL, "g2": NORMAL},
        },
        "inference": {
            "method": method,
            f"{method}_config": settings,
            "precision": options.precision,
            "rng_seed": seed,
        },
    }
    content = {
        "apiVersion": "lanewise/v1",
        "kind": "shear",
        "name": "benchmark",
        "config": scene,
        "shear": {"grid": [0.02]},
        "realizations": {"count": batch},
        "batch": {"size": batch, "width": batch},
        "output": {"url": "memory://unused"},
    }
    loaded = loading.load(Document("benchmark", content))
    planned = planning.build(loaded)
    return Engine(loaded, planned), planned.chunks[0]


def squared(result: Result) -> float:
    """ESS of (g1 − mean)²; for independent draws the ESS of g1."""
    g1 = result.posterior["g1"]
    if result.diagnostics.ess_kind != "bulk":
        return float(result.diagnostics.ess["g1"] or 0.0)
    return float(diagnostics.summarise(((g1 - g1.mean()) ** 2)[None]).ess[0])


def speed(options: argparse.Namespace, batch: int) -> None:
    """Effective draws per second, and their ratio to those of the last method."""
    engines = {name: engine(options, name, METHODS[name], batch) for name in options.methods}
    for made, chunk in engines.values():
        made.run(chunk)
    rates: dict[str, list[float]] = {name: [] for name in engines}
    last: dict[str, list[Result]] = {}
    for _ in range(options.rounds):
        for name, (made, chunk) in engines.items():
            began = time.perf_counter()
            last[name] = made.run(chunk)
            spent = time.perf_counter() - began
            rates[name].append(sum(result.diagnostics.ess["g1"] or 0.0 for result in last[name]) / spent)
    print(f"\nbatch {batch}, S/N {options.signal_to_noise:g}, {options.precision}; draws of g1 a second, all lanes")
    print(
        f"{'method':12s} {'ESS/s':>9s} {'g1² ESS/s':>10s} {'× ' + options.methods[-1]:>9s}  ess_kind     k̂ max  not ok"
    )
    for name, results in last.items():
        rate = np.median(rates[name])
        ess = sum(result.diagnostics.ess["g1"] or 0.0 for result in results)
        square = rate * sum(map(squared, results)) / ess
        ratio = np.median(np.array(rates[name]) / np.array(rates[options.methods[-1]]))
        khat = [result.diagnostics.khat for result in results if result.diagnostics.khat is not None]
        kind = results[0].diagnostics.ess_kind
        bad = sum(result.status.word != "ok" for result in results)
        worst = f"{max(khat):6.2f}" if khat else "     –"
        print(f"{name:12s} {rate:9.0f} {square:10.0f} {ratio:9.2f}  {kind!s:12s} {worst}  {bad}")


def accuracy(options: argparse.Namespace) -> None:
    """Mean and width of every latent in 64 lanes, compared with a long run."""
    batch = 64
    made, chunk = engine(options, "hmc", REFERENCE, batch, seed=1)
    reference = made.run(chunk)
    names = list(reference[0].posterior)
    mean, width = (
        np.array([[getattr(result.posterior[name], moment)() for name in names] for result in reference])
        for moment in ("mean", "std")
    )
    least = min(min(filter(None, result.diagnostics.ess.values())) for result in reference)
    print(f"\n{batch} lanes, S/N {options.signal_to_noise:g}, {options.precision}; reference: hmc of ESS {least:.0f}")
    print(f"{'method':12s} {'least ESS':>9s}  mean: rms, max [σ]   width: rms, max, mean [%]   not ok")
    for name, settings in ((name, LONG[name]) for name in options.methods if name in LONG):
        made, chunk = engine(options, name, settings, batch)
        results = made.run(chunk)
        off = np.array([[result.posterior[n].mean() for n in names] for result in results]) - mean
        wide = np.array([[result.posterior[n].std() for n in names] for result in results]) / width - 1
        ess = min(min(*filter(None, r.diagnostics.ess.values()), squared(r)) for r in results)
        bad = sum(result.status.word != "ok" for result in results)
        rms = [np.sqrt(np.mean(x**2)) for x in (off / width, wide)]
        print(
            f"{name:12s} {ess:9.0f}  {rms[0]:9.4f} {np.abs(off / width).max():9.4f}   "
            f"{100 * rms[1]:7.2f} {100 * np.abs(wide).max():7.2f} {100 * wide.mean():+7.3f}       {bad}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--signal-to-noise", type=float, default=100.0)
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true")
    options = parser.parse_args()
    # Before the device is known, JAX must not be asked for it: the first engine sets it up.
    engine(options, "importance", {}, 1)
    print(f"{platform.processor() or platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    if options.accuracy:
        accuracy(options)
        return
    for batch in options.batch:
        speed(options, batch)


if __name__ == "__main__":
    main()

"""What a gradient costs per exposure: in transforms of the stamp, and of four exposures against four objects of one.

    python benchmarks/exposures.py [--pixels 32 48 64] [--rounds 15] [--lanes 32]

A transform is the real FFT of the stamp, 2.5 N log2 N operations for N pixels. Operations are those that XLA counts in
the compiled program of the log density and its gradient. `modes` has noise of one width, `weights` a weight map. Times
are medians of ratios over rounds, in which the programs run in turns, on one device.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device

SCALE, NORMAL = 0.2, {"type": "Normal", "mean": 0.0, "sigma": 0.1}
NOISE: dict[str, dict[str, Any]] = {"modes": {"sigma": 1e-3}, "weights": {"type": "PerPixel", "sigma": 1e-3}}


def problem(pixels: int, noise: str) -> ShearProblem:
    """An exponential galaxy whose latents are flux, size, shear and place."""
    return ShearProblem(
        shear_config.parse(
            {
                "image": {"pixel_scale": SCALE, "size_x": pixels, "size_y": pixels, "noise": NOISE[noise]},
                "psf": {"type": "Gaussian", "sigma": 0.35},
                "gal": {
                    "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
                    "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.3},
                    "shear": {"g1": NORMAL, "g2": NORMAL},
                    "position": {"type": "Normal", "sigma": 0.5},
                },
                "inference": {"precision": "float32"},
            }
        )
    )


def data(of: ShearProblem, exposures: int) -> dict[str, jax.Array]:
    """Prepared exposures of noise, each with a place of its own."""
    stamp, rng = of.config.image, np.random.default_rng(1)
    shape = exposures, stamp.size_y, stamp.size_x
    observed = {
        "image": 1e-3 * rng.normal(size=shape),
        "jacobian": np.stack([SCALE * np.eye(2)] * exposures),
        "offset": rng.uniform(-0.5, 0.5, size=(exposures, 2)),
        "flux_factor": np.ones(exposures),
    }
    if stamp.noise.type == "PerPixel":
        observed["weight"] = np.full(shape, 1e6)
    return {name: jnp.asarray(array) for name, array in of.prepare(observed).items()}


def operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations that XLA counts in the compiled function; it counts the body of a loop once."""
    found = jax.jit(function).lower(*arguments).compile().cost_analysis()
    assert found is not None
    return float(found["flops"])


def transforms(of: ShearProblem) -> tuple[float, float]:
    """Of the log density with its gradient for one exposure: in FFTs of the stamp, and in images by this renderer."""
    seen, n = data(of, 1), of.config.image.size_x * of.config.image.size_y
    at = of.start(seen)
    gradient = operations(jax.value_and_grad(of.log_density), at, seen)
    latents = of.constrain(at)
    return gradient / (2.5 * n * math.log2(n)), gradient / operations(of.image, latents, seen)


def ratios(of: ShearProblem, lanes: int, rounds: int) -> tuple[float, float]:
    """Time of lanes of four exposures over that of four times as many of one; and of the latter, per FFT of a stamp."""
    stamp = of.config.image
    gradient = jax.jit(lambda u, d: jax.lax.map(lambda one: jax.value_and_grad(of.log_density)(*one), (u, d)))
    fft = jax.jit(lambda images: jax.lax.map(jnp.fft.rfft2, images))
    several = []
    for exposures in (4, 1):
        one = data(of, exposures)
        count = 4 * lanes // exposures
        stacked = {name: jnp.stack([array] * count) for name, array in one.items()}
        several.append((jnp.stack([of.start(one)] * count), stacked))
    images = jnp.ones((4 * lanes, stamp.size_y, stamp.size_x), jnp.float32)
    programs: list[Callable[[], Any]] = [
        lambda: gradient(*several[0]),
        lambda: gradient(*several[1]),
        lambda: fft(images),
    ]
    for program in programs:
        jax.block_until_ready(program())
    times = np.empty((rounds, len(programs)))
    for row in times:
        for at, program in enumerate(programs):
            began = time.perf_counter()
            jax.block_until_ready(program())
            row[at] = time.perf_counter() - began
    joint, single, transform = times.T
    return float(np.median(joint / single)), float(np.median(single / transform))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, nargs="+", default=[32, 48, 64])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--lanes", type=int, default=32)
    asked = parser.parse_args()
    device.prepare("auto", "float32")
    print("| noise | pixels | operations [FFTs] | [images] | time [FFTs] | four exposures / four objects |")
    print("|---|---|---|---|---|---|")
    for noise in NOISE:
        for pixels in asked.pixels:
            of = problem(pixels, noise)
            ffts, images = transforms(of)
            joint, single = ratios(of, asked.lanes, asked.rounds)
            print(f"| {noise} | {pixels} | {ffts:.2f} | {images:.2f} | {single:.2f} | {joint:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Time of one likelihood with its gradient: lanewise, JAX-GalSim, and for scale one rfft2 of the stamp.

    python benchmarks/renderer.py [--batch 16 64] [--precision float32]

All forms are interleaved in one run. Every time is a median over rounds, and every ratio is a median of the rounds'
ratios. The image error of each form is its largest difference from GalSim at tight settings, divided by the peak.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import galsim
import jax
import jax.numpy as jnp
import numpy as np

from lanewise.engine.lanes import over_lanes
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.grid import Grid, GridRenderer
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.manifest.plan import Single

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from jax_galsim_renderer import Renderer, jax_galsim

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
SIZE = {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}
FLUX = {"type": "LogNormal", "mean": 1.0, "sigma": 0.3}
TIGHT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9, maximum_fft_size=16384)
SIGMA = 1.2e-3
FORMS: dict[str, tuple[int, Callable[[shear_config.ShearConfig], Renderer]]] = {
    "modes": (1, lambda config: GridRenderer(config, Grid(1, 1))),
    "pixels": (2, lambda config: GridRenderer(config, Grid(2, 1))),
    "jax-galsim": (1, jax_galsim),
}


class Drawn:
    """The likelihood of an image by any renderer."""

    def __init__(self, render: Renderer) -> None:
        self._render = render

    def prepare(self, data: Any) -> Any:
        return {"image": data["image"] / SIGMA}

    def log_likelihood(self, p: Any, data: Any) -> jax.Array:
        return -0.5 * jnp.sum((data["image"] - self._render(p) / SIGMA) ** 2)


def scene(padding: int, precision: str) -> shear_config.ShearConfig:
    """48 × 48, Exponential × Gaussian, S/N 100, six latents."""
    return shear_config.parse(
        {
            "image": {"pixel_scale": 0.263, "size_x": 48, "size_y": 48, "noise": {"sigma": SIGMA}, "padding": padding},
            "psf": {"type": "Gaussian", "sigma": 0.382},
            "gal": {"flux": FLUX, "half_light_radius": SIZE, "shear": {"g1": NORMAL, "g2": NORMAL}},
            "inference": {"precision": precision},
        }
    )


def error(draw: Renderer) -> float:
    """Largest difference from GalSim divided by the peak, for a sheared galaxy off the centre."""
    p = {"g1": 0.05, "g2": 0.02, "e1": 0.0, "e2": 0.0, "flux": 1.0, "half_light_radius": 0.5, "x": 0.3, "y": 0.4}
    galaxy = galsim.Exponential(half_light_radius=0.5, gsparams=TIGHT).shear(g1=0.05, g2=0.02)
    seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.382, gsparams=TIGHT)], gsparams=TIGHT)
    expected = seen.drawImage(nx=48, ny=48, scale=0.263, offset=(0.3, 0.4), dtype=np.float64).array
    return float(np.abs(np.asarray(draw(p)) - expected).max() / expected.max())


def likelihoods(form: str, precision: str, batch: int, *, sequential: bool) -> Callable[[], Any]:
    """Value and gradient of `batch` lanes, compiled."""
    config = scene(FORMS[form][0], precision)
    problem = ShearProblem(config)
    if form == "jax-galsim":
        # No config asks for it: the problem differs from that of a campaign in its likelihood alone.
        problem._likelihood = cast("Any", Drawn(jax_galsim(config)))
    members = [Single("r", 1 + k, {"g1": 0.02, "g2": 0.0}) for k in range(batch)]
    prepared = [problem.prepare(simulate(config, member).data) for member in members]
    dtype = config.inference.precision
    data = {name: jnp.asarray(np.stack([one[name] for one in prepared]), dtype) for name in prepared[0]}
    positions = jax.vmap(problem.start)(data)
    function = jax.jit(over_lanes(jax.value_and_grad(problem.log_density), sequential=sequential))
    return lambda: function(positions, data)


def measure(batches: list[int], precision: str, rounds: int) -> None:
    """Print a table for every batch."""
    device.prepare("auto", precision)
    errors = {name: error(draw(scene(padding, precision))) for name, (padding, draw) in FORMS.items()}
    for batch in batches:
        stamps = jnp.asarray(np.random.default_rng(0).normal(size=(batch, 48, 48)), precision)
        floor = jax.jit(jnp.fft.rfft2)
        timed: dict[str, Callable[[], Any]] = {"one rfft2": lambda stamps=stamps, floor=floor: floor(stamps)}
        for name in FORMS:
            timed[f"{name}, vmap"] = likelihoods(name, precision, batch, sequential=False)
            timed[f"{name}, one by one"] = likelihoods(name, precision, batch, sequential=True)
        for call in timed.values():
            jax.block_until_ready(call())
        spent: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(rounds):
            for name, call in timed.items():
                repeats = 1 if "galsim" in name else max(1, 512 // batch)
                began = time.perf_counter()
                for _ in range(repeats):
                    done = call()
                jax.block_until_ready(done)
                spent[name].append((time.perf_counter() - began) / repeats / batch * 1e6)
        # What a campaign on this device takes of JAX-GalSim: the quicker of its two ways to map.
        peer = np.min([spent[name] for name in spent if "galsim" in name], axis=0)
        print(f"\n{f'batch {batch}, {precision}':30s} µs a lane   × rfft2   JAX-GalSim ×   error / peak")
        for name, took in spent.items():
            ratio, gain = np.median(np.array(took) / spent["one rfft2"]), np.median(peer / took)
            form = name.rsplit(",", 1)[0]
            shown = f"{errors[form]:.1e}" if form in errors else ""
            print(f"{name:30s} {np.median(took):9.1f} {ratio:9.2f} {gain:14.1f}   {shown}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}")
    measure(options.batch, options.precision, options.rounds)


if __name__ == "__main__":
    main()

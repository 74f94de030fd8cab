"""Convergence diagnostics of many lanes at once, compared with ArviZ lane by lane on the same draws.

    python benchmarks/diagnostics.py [--lanes 256] [--latents 6] [--chains 1 4] [--draws 1000]

Both sides compute R̂, bulk and tail ESS, and both Monte Carlo errors. ArviZ gets one data set per lane, as a user would
call it. The two sides are interleaved; every time is the minimum over its rounds. The printed difference is the largest
of all diagnostics and latents. ArviZ computes no R̂ of a single chain.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lanewise.engine import diagnostics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

KINDS: dict[str, Callable[[Any], Any]] = {
    "rhat": arviz.rhat,
    "ess": arviz.ess,
    "ess_tail": lambda lane: arviz.ess(lane, method="tail", prob=(0.05, 0.95)),
    "mcse_mean": arviz.mcse,
    "mcse_sd": lambda lane: arviz.mcse(lane, method="sd"),
}


def chains(shape: tuple[int, ...], memory: float) -> np.ndarray:
    """AR(1) draws."""
    draws = np.random.default_rng(0).normal(size=shape)
    for t in range(1, shape[-1]):
        draws[..., t] += memory * draws[..., t - 1]
    return draws


def by_arviz(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Every diagnostic, shape (lane, latent)."""
    found: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    for lane in draws:
        data = arviz.convert_to_dataset({f"latent{at}": one for at, one in enumerate(lane)})
        for kind, diagnose in KINDS.items():
            if kind != "rhat" or draws.shape[2] > 1:
                found[kind].append([float(value) for value in diagnose(data).data_vars.values()])
    return {kind: np.array(values) for kind, values in found.items() if values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=256)
    parser.add_argument("--latents", type=int, default=6)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--memory", type=float, default=0.3, help="lag-one autocorrelation")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print("chains   ArviZ [s]   ours [s]   ratio   largest relative difference")
    for n_chains in asked.chains:
        draws = chains((asked.lanes, asked.latents, n_chains, asked.draws), asked.memory)
        diagnostics.summarise(draws)
        theirs, ours = [], []
        for _ in range(asked.rounds):
            began = time.perf_counter()
            expected = by_arviz(draws)
            middle = time.perf_counter()
            found = diagnostics.summarise(draws)
            ours.append(time.perf_counter() - middle)
            theirs.append(middle - began)
        off = max(float(np.abs(getattr(found, kind) / value - 1).max()) for kind, value in expected.items())
        print(f"{n_chains:6d} {min(theirs):11.2f} {min(ours):10.3f} {min(theirs) / min(ours):7.1f}   {off:.1e}")


if __name__ == "__main__":
    main()

"""Draws of heterodyne posteriors: one data set end to end, and simulation-based calibration.

    python benchmarks/heterodyne_cmc.py end-to-end [--frames 100] [--shards 1]
    python benchmarks/heterodyne_cmc.py sbc [--count 128] [--frames 32] [--shards 4] [--log FILE]

`end-to-end` simulates the example, fits and samples it, and prints wall time with compilation, R̂, effective sizes and
how the draws were made. `sbc` draws truths from priors that are uniform within BOUNDS, and obey the labelling rule. It
prints for each quantity the p-value of its truth's ranks among the draws, over simultaneous bands of their ECDF, and
how many runs came out in each combination. With --log every run is written to a file, and a second run continues after
the last one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lanewise.families.heterodyne import config, simulate
from lanewise.families.heterodyne.c2 import time_grid
from lanewise.families.heterodyne.cmc import sample
from lanewise.families.heterodyne.cmc.sample import Sampled
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import fit as fits
from lanewise.families.heterodyne.simulate import Experiment
from lanewise.statistics import uniformity

# Uniform priors. The share changes within the window, and the correlation falls within it.
BOUNDS = {
    "two_component": {
        **{"D0_ref": (1e4, 3e4), "alpha_ref": (-0.4, 0.2), "D_offset_ref": (0.0, 2e3)},
        **{"D0_sample": (3e3, 1e4), "alpha_sample": (-0.2, 0.4), "D_offset_sample": (0.0, 2e3)},
        **{"v0": (600.0, 1200.0), "beta": (0.0, 0.4), "v_offset": (-30.0, 30.0)},
        **{"f0": (0.2, 0.6), "f1": (-0.5, -0.1), "f3": (0.05, 0.3), "phi0": (0.0, 4.0)},
    },
    "static": {"D0": (5e3, 3e4), "alpha": (-0.4, 0.4), "D_offset": (0.0, 2e3)},
}
# Ranks are among this many draws, thinned.
DRAWS = 255


def sampled(where: Experiment, truth: dict[str, float], seed: int, settings: dict[str, Any]) -> Sampled:
    matrices = simulate.simulate(truth, where, seed)
    data = TwoTimeData(matrices, where.q, where.dt, np.array(where.phi))
    base = {"method": "both", "model": {"type": where.model.name}, "errors": "independent"}
    finish = fits.prepared(data, config.checked({**base, **settings}))
    return sample.sample(finish, fits.fitted(finish))


def end_to_end(args: argparse.Namespace) -> None:
    where = Experiment(n_frames=args.frames, dt=10 / args.frames, model=MODELS[args.model])
    began = time.perf_counter()
    found = sampled(where, dict(where.model.example), 1, {"cmc": {"num_shards": args.shards}})
    seconds = time.perf_counter() - began
    of = found.result.diagnostics
    r_hat = max((value for value in of.rhat.values() if value is not None), default=None)
    sizes = [value for value in of.ess.values() if value is not None]
    print(f"{seconds:.1f} s, {found.combination} by {found.result.method}, {found.result.status.word}")
    print(f"largest R-hat {r_hat}, smallest effective size {min(sizes, default=0):.0f}, k-hat {of.khat}")


def drawn(where: Experiment, rng: np.random.Generator) -> dict[str, float]:
    """A truth of the prior."""
    t = time_grid(where.n_frames, where.dt)
    while True:
        found = {name: float(rng.uniform(*ends)) for name, ends in BOUNDS[where.model.name].items()}
        if where.model.name == "static":
            return found
        found["f2"] = 0.0
        share = found["f0"] * np.exp(found["f1"] * t) + found["f3"]
        if share.mean() <= 0.5 and share.max() < 0.95:
            return found


def one(where: Experiment, seed: int, n_shards: int) -> dict[str, Any]:
    truth = drawn(where, np.random.default_rng(seed))
    bounds = {name: {"min": low, "max": high} for name, (low, high) in BOUNDS[where.model.name].items()}
    parameters = bounds | ({"f2": 0.0} if "f0" in bounds else {})
    priors = {name: {"type": "uniform"} for name in (*bounds, "contrast", "offset")}
    scaling = {"contrast": {"min": 0.2, "max": 0.4}, "offset": {"min": 0.98, "max": 1.02}}
    # Contrast and offset of the truth are the centres of their bounds: their ranks are no test.
    cmc = {"num_shards": n_shards, "priors": priors}
    found = sampled(where, truth, seed, {"parameters": parameters, "scaling": scaling, "cmc": cmc})
    ranks = {}
    for name, value in truth.items():
        if name in found.result.posterior:
            draws = found.result.posterior[name].reshape(-1)
            thinned = draws[np.linspace(0, len(draws) - 1, DRAWS).astype(int)]
            ranks[name] = int(np.count_nonzero(thinned < value))
    return {"seed": seed, "combination": found.combination, "status": found.result.status.word, "ranks": ranks}


def sbc(args: argparse.Namespace) -> None:
    where = Experiment(n_frames=args.frames, dt=10 / args.frames, model=MODELS[args.model])
    log = Path(args.log) if args.log else None
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []
    for seed in range(len(rows), args.count):
        rows.append(one(where, seed, args.shards))
        if log:
            with log.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(dict(Counter(f"{row['combination']}, {row['status']}" for row in rows)))
    drew = [row for row in rows if row["ranks"]]
    for name in drew[0]["ranks"]:
        ranks = np.array([row["ranks"][name] for row in drew])
        p = uniformity.ecdf_p(ranks, DRAWS + 1, uniformity.n_steps(DRAWS + 1))
        print(f"{name:18} p = {p:.3f} over {len(ranks)} runs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["end-to-end", "sbc"])
    parser.add_argument("--model", default="two_component", choices=list(BOUNDS))
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--log")
    args = parser.parse_args()
    ends = args.what == "end-to-end"
    args.frames, args.shards = args.frames or (100 if ends else 32), args.shards or (1 if ends else 4)
    (end_to_end if ends else sbc)(args)


if __name__ == "__main__":
    main()

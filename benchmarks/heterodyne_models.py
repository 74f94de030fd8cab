"""How often the data of each model prefer it: ΔBIC for independent noise, that of the composite likelihood for speckle.

The rows "speckle, BIC" judge data with speckle noise by the BIC of independent noise.

    python benchmarks/heterodyne_models.py --count 100 --log FILE     # continues where FILE ends

Each data set has the example truth of its model and its own noise. All three models are fitted to it.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lanewise.families.heterodyne import simulate, speckle
from lanewise.families.heterodyne.c2 import Definitions
from lanewise.families.heterodyne.data import TwoTimeData
from lanewise.families.heterodyne.models import MODELS, ModelName
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.machine import device

GAP = 2e6
# Noise of the data, and the noise for which the models are judged.
NOISES = ("independent", "speckle", "speckle, BIC")
DETECTOR = simulate.Detector(pixels=4000, modes=3, flux=5.0)
FIT = {"candidates": 64, "starts": 8, "polish": 4, "agreement": 2, "hops": 8, "rounds": 2}


def data_of(name: ModelName, noise: str, seed: int) -> TwoTimeData:
    """A data set of 22 frames at three angles."""
    where = simulate.Experiment(
        22, 9 / 22, phi=(-40.0, 0.0, 40.0), model=MODELS[name], definitions=Definitions(gap=GAP), noise=0.005
    )
    truth = MODELS[name].example
    c2 = (
        speckle.simulate(truth, where, DETECTOR, seed)
        if noise.startswith("speckle")
        else simulate.simulate(truth, where, seed)
    )
    return TwoTimeData(c2, where.q, where.dt, np.array(where.phi))


def settings(name: ModelName, noise: str) -> dict[str, Any]:
    """The fit of one model, compared with the two others; the pixels of a detector are known."""
    errors = {"noise": "speckle", "pixels": DETECTOR.pixels} if noise == "speckle" else "independent"
    model = {"type": name, "compare": [other for other in MODELS if other != name], "gap": GAP}
    return {"fit": FIT, "errors": errors, "model": model}


def todo(count: int, done: list[dict[str, Any]]) -> Iterator[tuple[ModelName, str, int]]:
    """What is not in the log yet."""
    known = {(one["truth"], one["noise"], one["seed"]) for one in done}
    for seed in range(count):
        for noise in NOISES:
            yield from ((name, noise, seed) for name in MODELS if (name, noise, seed) not in known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="data sets of each model and noise")
    parser.add_argument("--log", type=Path, required=True, help="one JSON line per data set; the run continues it")
    options = parser.parse_args()
    device.prepare("auto", "float64")
    done = [json.loads(line) for line in options.log.read_text().splitlines()] if options.log.exists() else []
    with options.log.open("a") as log:
        for name, noise, seed in todo(options.count, done):
            found = fit(data_of(name, noise, seed), settings(name, noise)).comparison
            assert found is not None
            done.append({"truth": name, "noise": noise, "seed": seed, "deltas": dict(found.deltas), "best": found.best})
            print(json.dumps(done[-1]), file=log, flush=True)
    print(f"{'data of':15}{'noise':13}{'n':>4}  preferred (times), and the smallest criterion of the runner-up")
    for noise in NOISES:
        for name in MODELS:
            rows = [one for one in done if (one["truth"], one["noise"]) == (name, noise)]
            margins = [sorted(one["deltas"].values())[1] for one in rows if one["best"] == name]
            print(
                f"{name:15}{noise:13}{len(rows):4}  {dict(Counter(one['best'] for one in rows))}"
                f"  Δ ≥ {min(margins, default=float('nan')):.1f}, median {np.median(margins):.1f}"
            )


if __name__ == "__main__":
    main()

"""Do the errors of heterodyne fits cover the truth under speckle noise?

    python benchmarks/heterodyne_errors.py [--count 200] [--known] [--log FILE]

Data sets of three kinds (CASES) are simulated pixel by pixel and fitted with the default config, `errors: auto`, which
knows nothing of the detector. With --known the fit is told `errors: speckle` with pixels and modes, as from a file that
counts its pixels. The table has, for each quantity, the share of 68 % and 95 % intervals that cover the truth, and the
scatter of the estimates over the mean claimed error: first with the errors that the fit gives, then with those for
independent noise. A fit is right if its sum of squares is not above that at the truth.

With --log every fit is written to a file, and a second run continues after the last one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lanewise.families.heterodyne import simulate, speckle
from lanewise.families.heterodyne.c2 import time_grid
from lanewise.families.heterodyne.data import TwoTimeData, without_diagonal
from lanewise.families.heterodyne.nlsq.fit import fit
from lanewise.families.heterodyne.nlsq.result import Estimates
from lanewise.machine import device

CASES = tuple(simulate.Detector(*case) for case in ((20000, 3, 1.0), (4000, 5, 5.0), (20000, 3, 0.05)))
WHERE = simulate.Experiment()
QUANTITIES = ("J_ref", "J_sample", "v", "contrast", "offset")
LEVELS = ((0.6827, 1.0), (0.95, 1.959964))
FIRST_SEED = 6000


def truths(detector: simulate.Detector) -> np.ndarray:
    p, t = simulate.EXAMPLE, time_grid(WHERE.n_frames, WHERE.dt)
    t_ref = float(np.exp(np.log(t).mean()))
    rates = [p[f"D0_{one}"] * t_ref ** p[f"alpha_{one}"] + p[f"D_offset_{one}"] for one in ("ref", "sample")]
    return np.array([*rates, p["v0"] * t_ref ** p["beta"] + p["v_offset"], 1 / detector.modes, 1.0])


def ssr_of_truth(c2: np.ndarray) -> float:
    """Sum of squares at the true parameters, contrast and offset fitted."""
    above = np.triu_indices(WHERE.n_frames, 1)
    g, y = simulate.shape(simulate.EXAMPLE, WHERE)[:, *above].ravel(), c2[:, *above].ravel()
    return float(np.linalg.lstsq(np.stack([g, np.ones_like(g)], axis=1), y, rcond=None)[1][0])


def one(detector: simulate.Detector, seed: int, known: bool) -> dict[str, Any]:
    noisy = speckle.simulate(simulate.EXAMPLE, WHERE, detector, seed)
    data = TwoTimeData(np.stack([without_diagonal(m) for m in noisy]), WHERE.q, WHERE.dt, np.array(WHERE.phi))
    told = {"noise": "speckle", "pixels": detector.pixels, "modes": detector.modes}
    result = fit(data, {"errors": told} if known else {})

    def pairs(of: Estimates) -> list[tuple[float, float]]:
        return [(e.value, e.error) for e in (of.j_ref, of.j_sample, of.v, of.contrast[0], of.offset[0])]

    return {
        "case": CASES.index(detector),
        "seed": seed,
        "estimates": [value for value, _ in pairs(result)],
        "errors": [error for _, error in pairs(result)],
        "independent": [error for _, error in pairs(result.independent)],
        "converged": result.converged,
        "right": result.ssr <= 1.001 * ssr_of_truth(data.c2),
        "speckle": result.speckle is not None,
        "chi2": result.ssr / result.noise.sigma**2 / result.expected_chi2,
        "p": result.speckle.p_value if result.speckle else None,
        "warnings": result.warnings,
    }


def table(records: list[dict[str, Any]]) -> None:
    for kind in ("errors", "independent"):
        print(f"\n{'errors as given' if kind == 'errors' else 'errors for independent noise'}")
        print(f"{'photons, pixels, modes':24}{'':>6}" + "".join(f"{name:>18}" for name in (*QUANTITIES, "pooled")))
        for case, detector in enumerate(CASES):
            rows = [r for r in records if r["case"] == case]
            if not rows:
                continue
            values, errors = (np.array([r[key] for r in rows]) for key in ("estimates", kind))
            z = (values - truths(detector)) / errors
            inside = [np.abs(z) < k for _, k in LEVELS]
            cells = [
                f"{100 * a.mean():.0f} {100 * b.mean():.0f} {s:.2f}"
                for a, b, s in zip(inside[0].T, inside[1].T, values.std(axis=0) / errors.mean(axis=0), strict=True)
            ]
            cells.append(" ".join(f"{100 * a.mean():.1f}" for a in inside))
            name = f"{detector.flux:g}, {detector.pixels}, {detector.modes}"
            print(f"{name:24}{len(rows):>6}" + "".join(f"{cell:>18}" for cell in cells))
    print()
    for case, detector in enumerate(CASES):
        right = [r for r in records if r["case"] == case and r["right"]]
        wrong = [r for r in records if r["case"] == case and not r["right"]]
        if right:
            print(
                f"{detector.flux:g}, {detector.pixels}, {detector.modes}: {len(right)} right fits, of which "
                f"{100 * np.mean([r['converged'] for r in right]):.1f} % converged and "
                f"{100 * np.mean([r['speckle'] for r in right]):.0f} % with speckle errors; {len(wrong)} wrong, "
                f"{sum(r['converged'] for r in wrong)} of them converged; "
                f"χ² / expectation {np.mean([r['chi2'] for r in right]):.3f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="data sets of each kind")
    parser.add_argument("--known", action="store_true", help="tell the fit pixels and modes")
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))), help="which of CASES")
    parser.add_argument("--log", type=Path, help="file of the fits so far, one JSON object per line")
    asked = parser.parse_args()
    device.prepare("auto", "float64")
    records = (
        [json.loads(line) for line in asked.log.read_text().splitlines()] if asked.log and asked.log.exists() else []
    )
    done = {(r["case"], r["seed"]) for r in records}
    for seed in range(FIRST_SEED, FIRST_SEED + asked.count):
        for case in asked.cases:
            if (case, seed) in done:
                continue
            records.append(one(CASES[case], seed, asked.known))
            if asked.log:
                with asked.log.open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
    table(records)


if __name__ == "__main__":
    main()

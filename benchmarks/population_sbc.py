"""Ranks of the shear and of free parameters of populations, through simulated images and the engine.

    python benchmarks/population_sbc.py [--count 256] [--galaxies 100] [--samples 100] [--snr-min 0] [--output FILE]

The scene is manifests/level2-free.yaml on stamps of 24 × 24 pixels. For each realization the shear and all free
parameters are drawn from their priors, GalSim draws the galaxies of that population, and the engine infers them as
those of any campaign: modes, draws, weights, the joint posterior. Then come the ranks of the truths: their tests of
uniformity, and whether their distribution function is inside its simultaneous 95 % bands. A run that was interrupted
goes on with the realizations that FILE has not got. Galaxies with doubtful weights count, as in any campaign, and up
to a tenth of a population's are allowed: populations that are left out would bias the ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lanewise import api
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.families.calibration import results
from lanewise.families.calibration.ranks import Ranks
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.population.galaxies import Galaxies
from lanewise.families.shear.population_config import HYPER
from lanewise.families.shear.priors import Prior
from lanewise.manifest.plan import Realization
from lanewise.manifest.problem import Observation
from lanewise.manifest.status import LaneStatus
from lanewise.statistics import uniformity

MANIFEST = Path(__file__).parents[1] / "manifests" / "level2-free.yaml"
# Truths are drawn, so no prior may reach where the interim priors of single galaxies are too narrow.
PRIORS = {
    "ellipticity_sigma": (0.2, 0.15),
    "flux_mean": (1.0, 0.15),
    "flux_sigma": (0.3, 0.2),
    "half_light_radius_mean": (0.5, 0.1),
    "half_light_radius_sigma": (0.12, 0.2),
}
G_SIGMA, HALF_WIDTH, INTERIM, PIXELS = 0.05, 0.3, 0.45, 24
# Part of the key of the truths' random numbers.
_PURPOSE = 11


def overrides(args: argparse.Namespace, folder: str) -> list[str]:
    """What differs from the manifest."""
    found = {
        "output.url": folder,
        "shear": json.dumps({"grid": [0.0], "g2": 0.0}),
        "realizations": json.dumps({"count": args.count, "base_seed": args.base_seed}),
        "batch": json.dumps({"size": 8, "width": 16}),
        "config.population.galaxies": args.galaxies,
        "config.population.half_width": HALF_WIDTH,
        "config.population.interim": INTERIM,
        "config.population.max_failed_frac": 0.1,
        "config.image.size_x": PIXELS,
        "config.image.size_y": PIXELS,
        "config.gal.shear.g1.sigma": G_SIGMA,
        "config.gal.shear.g2.sigma": G_SIGMA,
    }
    for name, (mean, sigma) in PRIORS.items():
        found |= {f"config.population.free.{name}.mean": mean, f"config.population.free.{name}.sigma": sigma}
    if args.samples:
        found["config.inference.importance_config.samples"] = args.samples
    if args.snr_min:
        found["config.population.selection"] = json.dumps({"snr_min": args.snr_min})
    return [f"{key}={value}" for key, value in found.items()]


def truth(config: ShearConfig, seed: int) -> dict[str, float]:
    """The shear and the free parameters, drawn from their priors."""
    assert config.population is not None
    priors = {**config.latents, **dict(config.population.free)}
    shares = np.random.default_rng((seed, _PURPOSE)).random(len(priors))
    return {name: prior.quantile(share) for (name, prior), share in zip(priors.items(), shares, strict=True)}


def with_values(config: ShearConfig, values: dict[str, float]) -> ShearConfig:
    """The config whose population is drawn with these values of its parameters."""
    there = config.population
    assert there is not None
    fields: dict[str, dict[str, float]] = {name: dict(prior.fields) for name, prior in there.distributions}
    sigma = there.sigma
    for name, (quantity, field) in HYPER.items():
        if name in values and quantity == "ellipticity":
            sigma = values[name]
        elif name in values:
            fields[quantity][field] = values[name]
    distributions = tuple((name, Prior("LogNormal", (one["mean"], one["sigma"]))) for name, one in fields.items())
    return replace(config, population=replace(there, sigma=sigma, distributions=distributions))


def observe(config: ShearConfig, realization: Realization) -> Observation:
    """The galaxies of a population whose every parameter is drawn."""
    seed = realization.planned.seed
    found = truth(config, seed)
    shear = {name: found[name] for name in ("g1", "g2")}
    return Observation(Galaxies(with_values(config, found), seed, shear, turned=False), found)


def rows(args: argparse.Namespace, known: set[int]) -> Iterator[dict[str, Any]]:
    """A row for each realization that is not known: its seed, status, ranks and offsets."""
    with tempfile.TemporaryDirectory() as folder:
        campaign = api.load(str(MANIFEST), overrides(args, folder))
        config = shear_config.of(campaign.manifest)
        engine = Engine(campaign.manifest, campaign.plan, observe=lambda one: observe(config, one))
        for chunk in campaign.plan.chunks:
            if {one.planned.seed for one in chunk.realizations} <= known:
                continue
            for result in engine.run(chunk):
                yield _row(result)


def _row(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {"seed": result.seed, "status": result.status.word, "reason": result.reason}
    if result.members is not None:
        found["galaxies"] = result.member_counts
    if result.status is not LaneStatus.OK:
        return found
    group = result.groups["population"]
    found["selected"] = int(group["n_selected"][0])
    found["cut_error"] = float(np.max(group["cut_error"])) if "cut_error" in group else None
    ranks, pulls, depth = {}, {}, 0
    for name, draws in result.posterior.items():
        flat = draws.ravel()
        depth = len(flat) + 1
        ranks[name] = int(np.sum(flat < result.truth[name]))
        pulls[name] = float((flat.mean() - result.truth[name]) / flat.std())
    return {**found, "ranks": ranks, "n_ranks": depth, "pulls": pulls}


def tell(found: list[dict[str, Any]]) -> None:
    """The tests of uniformity, of each quantity."""
    fine = [row for row in found if row["status"] == "ok"]
    print("status:", dict(Counter(row["status"] for row in found)))
    galaxies: Counter[str] = Counter()
    for row in found:
        galaxies.update(row.get("galaxies", {}))
    print("galaxies:", dict(galaxies))
    n_ranks = fine[0]["n_ranks"]
    table = pd.DataFrame([{"run_id": str(row["seed"]), "seed": row["seed"], **row["ranks"]} for row in fine])
    ranks = Ranks(n_ranks, table)
    bins, steps = uniformity.n_bins(len(fine), n_ranks), uniformity.n_steps(n_ranks)
    gamma = uniformity.band(len(fine), steps)
    low, high = uniformity.limits(len(fine), steps, gamma)
    print(f"{len(fine)} realizations, {n_ranks} ranks, {bins} bins, {steps} steps, γ of the 95 % bands {gamma:.4f}")
    print("quantity                 mean rank   p(χ²)   p(ECDF)      p   in band  68 % cover      pull")
    for name in ranks.quantities:
        test = results.rank_test(name, ranks, bins, steps)
        counts = uniformity.ecdf_counts(table[name].to_numpy(np.int64), n_ranks, steps)
        inside = "yes" if np.all((counts >= low) & (counts <= high)) else "NO"
        cover = next(one for one in test.coverage if one.level == 0.68)
        pulls = np.array([row["pulls"][name] for row in fine])
        print(
            f"{name:24s} {test.mean:9.3f} {test.p_chi2:7.3f} {test.p_ecdf:9.3f} {test.p:7.3f} {inside:>8s}"
            f" {cover.value:5.3f} of {cover.nominal:5.3f} {pulls.mean():+.2f} ± {pulls.std():.2f}"
        )
    errors = [row["cut_error"] for row in fine if row["cut_error"] is not None]
    if errors:
        shares = sum(row["selected"] for row in fine) / (len(fine) * sum(fine[0]["galaxies"].values()))
        print(f"{shares:.3f} pass the cut; largest error from its probability: {max(errors):.3f} σ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--galaxies", type=int, default=100)
    parser.add_argument("--base-seed", type=int, default=7000)
    parser.add_argument("--samples", type=int, default=0, help="draws of each galaxy; 0: the manifest's")
    parser.add_argument("--snr-min", type=float, default=0.0, help="cut fainter galaxies; 0: none")
    parser.add_argument("--output", type=Path, default=None, help="a line of JSON for each realization")
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    if args.output and args.output.exists():
        found = [json.loads(line) for line in args.output.read_text().splitlines()]
    begun, used = time.perf_counter(), time.process_time()
    known = {row["seed"] for row in found}
    for row in rows(args, known):
        if row["seed"] in known:
            continue
        found.append(row)
        if args.output:
            with args.output.open("a") as file:
                file.write(json.dumps(row) + "\n")
    tell(found)
    print(f"{time.perf_counter() - begun:.0f} s, {time.process_time() - used:.0f} s of the processor")
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

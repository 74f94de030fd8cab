"""How often a verdict is wrong: toy shear campaigns with a known bias.

Every campaign has groups of four images (a galaxy and its rotation by 90°, each at ±g), a Gaussian likelihood of g for
every image, and the posterior of that likelihood under the prior of its cell, with the noise of a thousand effective
draws. Posterior moments come from quadrature here; estimates, errors and verdicts are those of a real campaign. A cell
is one prior × S/N × number of groups × kind of noise, at m = 0, on the bound, and at twice the bound.

    python benchmarks/verdicts.py --json cells.jsonl            # 2000 campaigns a cell, 20 000 on the bound: hours
    python benchmarks/verdicts.py --campaigns 200 --bound 500   # minutes
    python benchmarks/verdicts.py --json cells.jsonl --table    # the tables of what is there

A run that was stopped continues where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lanewise.families.shear.priors import Prior
from lanewise.families.shear.statistics.bias import component_bias
from lanewise.families.shear.statistics.criteria import Bounds, Evidence, decide
from lanewise.families.shear.statistics.estimates import Estimates, GaussianPrior, without_pull
from lanewise.families.shear.statistics.selection import GroupCount
from lanewise.families.shear.statistics.tally import Tally
from lanewise.statistics.sequential import Reach
from lanewise.statistics.verdict import Verdict

SHEAR, ESS = 0.1, 1000.0
# Width of one image's likelihood of g, about as measured with flux and size free.
SIGMA = {10: 0.2, 20: 0.1, 100: 0.02}
PRIORS = ("Normal", "Uniform", "StudentT", "TruncatedNormal")
GROUPS = (4, 10, 100)
NOISES = ("white", "clustered", "heteroscedastic", "outliers")
TRUTHS = (0, 1, 2)  # m in units of the bound
# Share of the variance that the arms of a group have in common, where they have any.
COMMON = 0.9
# Noise of a heteroscedastic campaign, by group, and how likely each scale is.
SCALES, SHARES = np.array([0.6, 1.0, 1.6]), np.array([0.25, 0.5, 0.25])
OUTLIERS, FAR = 0.01, 10.0
# A bound that campaigns of this size can decide: in ideal errors of m, but never above one half.
REACH, REACH_OF_FEW, LARGEST = 8.0, 16.0, 0.5
INTERVALS = {68: 1.0, 95: 2.0, 99.7: 3.0}  # their nominal coverage is that of so many errors
BLOCK = 500
COLUMNS = (
    "PASS on the bound",
    "worst cell",
    "PASS at twice the bound",
    "INVALID at m = 0",
    "worst cell",
    "INCONCLUSIVE at m = 0",
    *(f"{level} %" for level in INTERVALS),
    "lowest cell",
)


@dataclass(frozen=True)
class Cell:
    """One kind of campaign; `times` is m in units of the bound."""

    prior: str
    signal_to_noise: int
    n_groups: int
    noise: str
    times: int

    @property
    def sigma(self) -> float:
        """Width of the likelihood of one image."""
        return SIGMA[self.signal_to_noise]

    @property
    def bound(self) -> float:
        """On |m|, from the ideal error of m."""
        spread = {
            "white": 1.0,
            "clustered": math.sqrt(1 - COMMON),
            "heteroscedastic": math.sqrt(float(SHARES @ SCALES**2)),
            "outliers": math.sqrt(1 + OUTLIERS * (FAR**2 - 1)),
        }[self.noise]
        error = spread * self.sigma / SHEAR / math.sqrt(4 * self.n_groups)
        return min(LARGEST, (REACH if self.n_groups >= 10 else REACH_OF_FEW) * error)


def priors(cell: Cell) -> tuple[GaussianPrior | Prior, Any]:
    """The prior as the product and as SciPy have it: at least six widths of the likelihood wide."""
    wide = max(0.3, 6 * cell.sigma)
    match cell.prior:
        case "Normal":
            return GaussianPrior(0.0, wide), stats.norm(0, wide)
        case "Uniform":
            return Prior("Uniform", (-2 * wide, 2 * wide)), stats.uniform(-2 * wide, 4 * wide)
        case "StudentT":
            return Prior("StudentT", (4.0, 0.0, wide)), stats.t(4, 0, wide)
    return Prior("TruncatedNormal", (0.0, wide, -2 * wide, 2 * wide)), stats.truncnorm(-2, 2, 0, wide)


class Posterior:
    """Mean and standard deviation of the posterior by the likelihood's position, by the trapezoidal rule."""

    def __init__(self, prior: Any, sigma: float) -> None:
        self._x = np.linspace(-1 - 60 * sigma, 1 + 60 * sigma, 6001)
        offsets = sigma * np.linspace(-9, 9, 721)
        mean, deviation = [], []
        for x in np.array_split(self._x, 60):
            at = x[:, None] + offsets
            log = prior.logpdf(at) - 0.5 * (offsets / sigma) ** 2
            # Far outside the support, the posterior is a spike at its edge.
            inside = np.isfinite(log).any(axis=1)
            weight = np.exp(log - np.where(inside, log.max(axis=1), 0.0)[:, None])
            total = np.where(inside, weight.sum(axis=1), 1.0)
            first = (weight * at).sum(axis=1) / total
            mean.append(np.where(inside, first, np.clip(x, *prior.support())))
            deviation.append(np.sqrt((weight * (at - first[:, None]) ** 2).sum(axis=1) / total))
        self._mean, self._deviation = np.concatenate(mean), np.maximum(np.concatenate(deviation), 1e-3 * sigma)

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.interp(x, self._x, self._mean), np.interp(x, self._x, self._deviation)


def campaigns(cell: Cell, n: int) -> Iterator[Estimates]:
    """Raw posterior means and widths of n campaigns."""
    rng = np.random.default_rng(np.random.SeedSequence([CELLS.index(cell), 1]))
    prior = priors(cell)[1]
    scales = SCALES if cell.noise == "heteroscedastic" else np.ones(1)
    posteriors = [Posterior(prior, scale * cell.sigma) for scale in scales]
    truth = np.tile([SHEAR, -SHEAR, SHEAR, -SHEAR], cell.n_groups)
    group = np.repeat(np.arange(cell.n_groups), 4)
    names = np.tile(["s", "s", "s_r90", "s_r90"], cell.n_groups)
    unknown = np.full(len(truth), np.nan)
    for first in range(0, n, BLOCK):
        shape = (min(BLOCK, n - first), cell.n_groups)
        kind = rng.choice(len(scales), p=SHARES if len(scales) > 1 else None, size=shape)[:, group]
        noise = rng.standard_normal((shape[0], len(truth)))
        if cell.noise == "clustered":
            noise = math.sqrt(COMMON) * rng.standard_normal(shape)[:, group] + math.sqrt(1 - COMMON) * noise
        if cell.noise == "outliers":
            noise *= np.where(rng.random(shape) < OUTLIERS, FAR, 1.0)[:, group]
        x = (1 + cell.times * cell.bound) * truth + cell.sigma * scales[kind] * noise
        found = [posterior(x) for posterior in posteriors]
        mean, width = (np.choose(kind, [one[part] for one in found]) for part in (0, 1))
        mean = mean + width * rng.standard_normal(mean.shape) / math.sqrt(ESS)
        width = width * np.sqrt(1 + math.sqrt(2 / ESS) * rng.standard_normal(mean.shape))
        for raw, error in zip(mean, width, strict=True):
            yield Estimates(
                run_id=names,
                seed=group,
                truth=truth,
                value=raw,
                width=error,
                raw=raw,
                raw_width=error,
                shrinkage=None,
                response=None,
                half=unknown,
                half_width=unknown,
            )


def measure(cell: Cell, n: int) -> dict[str, Any]:
    """Shares of the verdicts, and coverage of the intervals of m, over n campaigns."""
    prior = priors(cell)[0]
    bounds = Bounds(None, None, cell.bound, None, 0.05, Reach())
    verdicts = dict.fromkeys((v.value for v in Verdict), 0)
    covered, n_errors = dict.fromkeys(INTERVALS, 0), 0
    n_images = 4 * cell.n_groups
    tally = Tally(n_images, n_images, 0, 0, 0, 0.0, ())
    for raw in campaigns(cell, n):
        data = without_pull(raw, prior, np.full(n_images, ESS))
        bias = component_bias("g1", data)
        decision = decide(Evidence([bias], [data], tally, (), (GroupCount(cell.n_groups, 0),)), bounds)
        verdicts[decision.verdict.value] += 1
        if bias.m is not None and bias.m.error is not None:
            n_errors += 1
            for level, errors in INTERVALS.items():
                covered[level] += abs(bias.m.value - cell.times * cell.bound) < errors * bias.m.error
    shown = {f"covered_{level}": count / n_errors if n_errors else None for level, count in covered.items()}
    return {**asdict(cell), "bound": cell.bound, "n": n, **verdicts, "n_errors": n_errors, **shown}


CELLS = [Cell(*key) for key in itertools.product(PRIORS, SIGMA, GROUPS, NOISES, TRUTHS)]


def tables(rows: list[dict[str, Any]]) -> None:
    """Print one table for each factor, and the worst cells."""
    cells = pd.DataFrame(rows)
    for factor in ("prior", "signal_to_noise", "n_groups", "noise"):
        print(f"\n| {factor} | {' | '.join(COLUMNS)} |")
        print("|---" * (len(COLUMNS) + 1) + "|")
        for level, part in cells.groupby(factor, sort=False):
            none, on, beyond = (part[part["times"] == times] for times in TRUTHS)
            cover = [part[f"covered_{k}"] for k in INTERVALS]
            numbers = [
                on["PASS"].sum() / on["n"].sum(),
                (on["PASS"] / on["n"]).max(),
                beyond["PASS"].sum() / beyond["n"].sum(),
                none["INVALID"].sum() / none["n"].sum(),
                (none["INVALID"] / none["n"]).max(),
                none["INCONCLUSIVE"].sum() / none["n"].sum(),
                *(np.average(one, weights=part["n_errors"]) for one in cover),
            ]
            shown = " | ".join(f"{100 * number:.3g} %" for number in numbers)
            print(f"| {level} | {shown} | {' / '.join(f'{100 * one.min():.1f}' for one in cover)} |")
    for level, errors in INTERVALS.items():
        nominal, seen = float(stats.chi2.cdf(errors**2, 1)), f"covered_{level}"
        short = cells[cells[seen] < nominal - 3 * np.sqrt(nominal * (1 - nominal) / cells["n_errors"])]
        print(f"\n{level} % intervals that cover less than {nominal:.4f} by more than 3 errors: {len(short)} cells")
        if len(short):
            print(short[[*Cell.__dataclass_fields__, "n", seen]].to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=2000, help="per cell")
    parser.add_argument("--bound", type=int, default=20_000, help="per cell with m on the bound")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="keeps the cells that are done, one a line")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there; compute nothing")
    asked = parser.parse_args()
    before = asked.json.read_text() if asked.json and asked.json.exists() else ""
    kept = [json.loads(line) for line in before.splitlines()]
    there = {tuple(row[name] for name in Cell.__dataclass_fields__) for row in kept}
    left = [] if asked.table else [cell for cell in CELLS if tuple(vars(cell).values()) not in there]
    with ProcessPoolExecutor(asked.workers) as pool:
        sizes = [asked.bound if cell.times == 1 else asked.campaigns for cell in left]
        for at, row in enumerate(pool.map(measure, left, sizes), start=1):
            kept.append(row)
            print(f"{at} of {len(left)}: {row}", flush=True)
            if asked.json:
                with asked.json.open("a") as file:
                    print(json.dumps(row), file=file)
    tables(kept)


if __name__ == "__main__":
    main()

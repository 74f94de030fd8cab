"""Straight lines of 20 to 60 points, one posterior each: kind model against NumPyro's own NUTS, by two ways.

    python benchmarks/model.py             # 10 000 lines; 200 of them in the loop, 400 in the plate: under ten minutes
    python benchmarks/model.py --quick     # a minute, for the code alone: its figures mean nothing

- lanewise: `method: auto`, its whole run, from the table to committed results. Compilation is in `all`, not in `warm`,
  which is the time of a second run of other data sets of the same sizes; `two` is that of two processes.
- loop: NUTS of NumPyro for one data set after the other, one chain. The data are padded to 64 rows and masked, and
  the whole of `MCMC.run` is one jitted function of them: compiled once, and the first data set is not counted.
- written: the same as users write it, `MCMC.run` with `jit_model_args=True`, which traces and compiles parts each time.
- plate: one model with a plate over the data sets and one NUTS over all of their latents. A smaller number of them is
  run, and scaled by that number: this favours the plate, whose trees grow with the number of latents.

Effective draws are those of the slope: of chains the bulk ESS by ArviZ, of importance weights 1/Σw², as lanewise's
summary has them. Programs: what XLA compiled for at least half a second; nothing is compiled before, because the
compilation cache is a new one. Of each size that data sets are padded to, these are two of the sampler and one of the
search for other modes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX is imported: an empty cache, so that programs are counted. Worker processes import this file again, and use
# the same.
if __name__ == "__main__":
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro.infer import MCMC, NUTS

from lanewise import api
from lanewise.manifest.document import Document

ROWS = 64
MODEL = """
import numpyro
import numpyro.distributions as dist


def model(data):
    slope = numpyro.sample("slope", dist.Normal(0, 5))
    intercept = numpyro.sample("intercept", dist.Normal(0, 10))
    width = numpyro.sample("width", dist.LogNormal(0, 1))
    with numpyro.plate("point", data["x"].shape[0]):
        numpyro.sample("y", dist.Normal(intercept + slope * data["x"], width), obs=data["y"])
"""
COMPILED: list[float] = []


class Measured(NamedTuple):
    """Seconds and effective draws per data set."""

    seconds: float
    effective: float

    @property
    def rate(self) -> float:
        """Effective draws per second."""
        return self.effective / self.seconds


def lines(n: int, seed: int) -> pd.DataFrame:
    """A long table of n data sets."""
    rng = np.random.default_rng(seed)
    parts = []
    for at in range(n):
        size = int(rng.integers(20, 61))
        x = rng.uniform(0, 10, size)
        y = rng.normal(0, 5) + rng.normal(0, 2) * x + rng.normal(0, np.exp(rng.normal(0, 0.5)), size)
        parts.append(pd.DataFrame({"star": f"s{seed}_{at:05d}", "x": x, "y": y}))
    return pd.concat(parts, ignore_index=True)


def lanewise(
    folder: Path, table: pd.DataFrame, name: str, layout: str, workers: int = 1
) -> tuple[Measured, pd.DataFrame]:
    """A whole campaign."""
    (folder / "lines.py").write_text(MODEL)
    table.to_parquet(folder / f"{name}.parquet", index=False)
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "model",
        "name": name,
        "model": "lines.py:model",
        "inputs": {"table": f"{name}.parquet", "id": "star", "columns": ["x", "y"]},
        "inference": {"method": "auto"},
        "batch": {"size": 1000, "width": 100},
        "output": {"url": str(folder / name), "layout": layout},
    }
    began = time.perf_counter()
    campaign = api.load(Document(str(folder / "lines.yaml"), manifest))
    campaign.run(workers=workers)
    seconds = time.perf_counter() - began
    summary = campaign.summary
    n = len(summary)
    return Measured(seconds / n, float(summary.loc[summary["status"] == "ok", "ess_slope"].sum()) / n), summary


def padded(table: pd.DataFrame) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x, y and mask of every data set, shape (data set, ROWS)."""
    groups = [part for _, part in table.groupby("star", sort=False)]
    arrays = np.zeros((3, len(groups), ROWS))
    for at, part in enumerate(groups):
        arrays[0, at, : len(part)], arrays[1, at, : len(part)], arrays[2, at, : len(part)] = part["x"], part["y"], 1
    x, y, mask = jnp.asarray(arrays)
    return x, y, mask.astype(bool)


def one(x: jax.Array, y: jax.Array, mask: jax.Array) -> None:
    """The model for one data set."""
    slope, intercept = numpyro.sample("slope", dist.Normal(0, 5)), numpyro.sample("intercept", dist.Normal(0, 10))
    width = numpyro.sample("width", dist.LogNormal(0, 1))
    numpyro.sample("y", dist.Normal(intercept + slope * x, width).mask(mask), obs=y)


def every(x: jax.Array, y: jax.Array, mask: jax.Array) -> None:
    """The model for all data sets."""
    with numpyro.plate("star", x.shape[0]):
        slope, intercept = numpyro.sample("slope", dist.Normal(0, 5)), numpyro.sample("intercept", dist.Normal(0, 10))
        width = numpyro.sample("width", dist.LogNormal(0, 1))
    line = intercept[:, None] + slope[:, None] * x
    numpyro.sample("y", dist.Normal(line, width[:, None]).mask(mask), obs=y)


def sampler(model: Callable[..., None], draws: int) -> MCMC:
    """One chain of NUTS, compiled once for data of one shape."""
    return MCMC(NUTS(model), num_warmup=draws, num_samples=draws, progress_bar=False, jit_model_args=True)


def loop(table: pd.DataFrame, draws: int) -> tuple[Measured, dict[str, float]]:
    """One data set after the other; also the mean slope of each."""
    x, y, mask = padded(table)

    @jax.jit
    def run(key: jax.Array, x: jax.Array, y: jax.Array, mask: jax.Array) -> jax.Array:
        chains = MCMC(NUTS(one), num_warmup=draws, num_samples=draws, progress_bar=False)
        chains.run(key, x, y, mask)
        slope: jax.Array = chains.get_samples()["slope"]
        return slope

    run(jax.random.key(0), x[0], y[0], mask[0]).block_until_ready()
    effective, means, began = 0.0, {}, time.perf_counter()
    drawn = [np.asarray(run(jax.random.key(at), x[at], y[at], mask[at])) for at in range(1, len(x))]
    seconds = time.perf_counter() - began
    for name, slopes in zip(table["star"].unique()[1:], drawn, strict=True):
        effective += float(arviz.ess(slopes[None]))
        means[name] = float(slopes.mean())
    return Measured(seconds / len(drawn), effective / len(drawn)), means


def written(table: pd.DataFrame, draws: int) -> Measured:
    """The loop as users write it."""
    x, y, mask = padded(table)
    chains = sampler(one, draws)
    chains.run(jax.random.key(0), x[0], y[0], mask[0])
    effective, began = 0.0, time.perf_counter()
    for at in range(1, len(x)):
        chains.run(jax.random.key(at), x[at], y[at], mask[at])
        effective += float(arviz.ess(np.asarray(chains.get_samples()["slope"])[None]))
    return Measured((time.perf_counter() - began) / (len(x) - 1), effective / (len(x) - 1))


def plate(table: pd.DataFrame, draws: int) -> Measured:
    """One NUTS over all, timed in a second run, which compiles nothing."""
    x, y, mask = padded(table)
    chains = sampler(every, draws)
    chains.run(jax.random.key(0), x, y, mask)
    began = time.perf_counter()
    chains.run(jax.random.key(1), x, y, mask)
    slopes = np.asarray(chains.get_samples()["slope"])
    seconds = time.perf_counter() - began
    effective = sum(float(arviz.ess(slopes[None, :, at])) for at in range(slopes.shape[1]))
    return Measured(seconds / slopes.shape[1], effective / slopes.shape[1])


def main() -> None:
    """Measure, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--loop", type=int, default=200)
    parser.add_argument("--plate", type=int, default=400)
    parser.add_argument("--draws", type=int, default=500, help="of NUTS, after as many of warm-up")
    parser.add_argument("--written", type=int, default=20)
    parser.add_argument("--layout", choices=("directories", "packed"), default="directories", help="of the output")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.quick:
        asked.lines, asked.loop, asked.plate, asked.written, asked.draws = 100, 6, 20, 3, 100
    jax.monitoring.register_event_duration_secs_listener(_listen)
    with tempfile.TemporaryDirectory() as scratch:
        whole, summary = lanewise(Path(scratch), lines(asked.lines, 1), "first", asked.layout)
        compiled = sum(seconds >= 0.5 for seconds in COMPILED)
        warm, _ = lanewise(Path(scratch), lines(asked.lines, 2), "second", asked.layout)
        again = sum(seconds >= 0.5 for seconds in COMPILED) - compiled
        two, _ = lanewise(Path(scratch), lines(asked.lines, 3), "third", asked.layout, workers=2)
    few = lines(asked.lines, 1)
    by_loop, means = loop(few[few["star"].isin(few["star"].unique()[: asked.loop])], asked.draws)
    by_hand = written(few[few["star"].isin(few["star"].unique()[: asked.written])], asked.draws)
    by_plate = plate(few[few["star"].isin(few["star"].unique()[: asked.plate])], asked.draws)
    statuses, methods = (summary[name].value_counts().to_dict() for name in ("status", "method_used"))
    print(f"{asked.lines} lines, {asked.layout}, on {jax.default_backend()}; status {statuses}; methods {methods}")
    print(f"programs compiled: {compiled} in the first run, {again} in the second")
    ours = {"all": whole, "warm": warm, "two": two}
    for name, found in {**ours, "loop": by_loop, "written": by_hand, "plate": by_plate}.items():
        print(f"{name:<7} {1e3 * found.seconds:10.3f} ms and {found.effective:8.0f} effective draws per data set")
    for name, found in ours.items():
        others = {"the loop": by_loop, "the loop as written": by_hand, "the plate": by_plate}
        ratios = ", ".join(f"{found.rate / other.rate:.1f} × {which}" for which, other in others.items())
        print(f"{name:<7} effective draws per second: {ratios}")
    rows = summary.set_index("id").loc[list(means)]
    apart = (rows["slope_mean"] - pd.Series(means)) / rows["slope_sd"]
    print(f"slopes of the loop differ by {float(np.sqrt(np.mean(apart**2))):.3f} posterior widths rms")


def _listen(event: str, seconds: float, **_: Any) -> None:
    if event.endswith("backend_compile_duration"):
        COMPILED.append(seconds)


if __name__ == "__main__":
    main()

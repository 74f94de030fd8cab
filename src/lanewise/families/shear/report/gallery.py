"""Example realizations for the report: outliers with data, model and residual, and the worst-mixed chains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lanewise.engine.results import Result
from lanewise.errors import Damaged, LanewiseError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.pixel_weights import inverse_sigma
from lanewise.families.shear.statistics.results import BiasResults, Chains, Outlier
from lanewise.families.shear.statistics.selection import COMPONENTS
from lanewise.manifest import registry
from lanewise.manifest.plan import Planned
from lanewise.report.canvas import PALETTE, Picture, drawn
from lanewise.statistics.regression import Array
from lanewise.storage import commits
from lanewise.storage.record import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SHOWN = 4
_BINS = 20
_CHAINS = (PALETTE["g1"], PALETTE["g2"], PALETTE["third"], PALETTE["fourth"])


def look(record: Record, summary: pd.DataFrame, results: BiasResults) -> tuple[BiasResults, dict[str, Picture]]:
    """The results with example realizations added, and their figures: name (a file stem) → SVG."""
    gone = {one.run_id for one in results.excluded}
    # A population has no image of its own.
    single = shear_config.of(record.manifest).population is None
    farthest = [] if not single else outliers(summary, [str(name) for name in summary["run_id"] if name not in gone])
    mixed = least_mixed(summary)
    committed = results_of(record, [*(one.run_id for one in farthest), *([mixed] if mixed else [])])
    shown, plots = [], {}
    for one in farthest:
        if one.run_id not in committed:
            continue
        try:
            images = stamps(record, *committed[one.run_id])
        except (LanewiseError, OSError):
            continue  # image files may not be available where results are aggregated
        shown.append(replace(one, chi2=float(np.sum(images.residual**2)), n_pixels=int(np.sum(images.counted))))
        plots[f"stamps_{one.run_id}"] = draw_stamps(one.run_id, images)
    chains = None
    if mixed in committed:
        _, result = committed[mixed]
        chains = chains_of(result)
        plots["chains"] = draw_chains(result)
    return replace(results, outliers=tuple(shown), chains=chains), plots


@dataclass(frozen=True)
class StampComparison:
    """An image, the model at the posterior mean, and their difference / noise σ, each of shape (ny, nx).

    Of correlated noise, a pixel of the difference is what the pixels before it do not predict.

    Attributes:
        counted: pixels that are not masked; the residual of a masked pixel is 0.
    """

    data: Array
    model: Array
    residual: Array
    counted: NDArray[np.bool_]


def outliers(summary: pd.DataFrame, counted: Sequence[str]) -> list[Outlier]:
    """The counted realizations with the largest |pull|, largest first; `chi2` and `n_pixels` are not set yet.

    At most one per seed, because the arms of a pair or ring have similar offsets.

    Args:
        summary: the whole table.
        counted: run ids of the realizations that count.
    """
    rows = summary[summary["run_id"].isin(set(counted))]
    names, found = [str(name) for name in rows["run_id"]], []
    seed = dict(zip(names, rows["seed"], strict=True))
    for component in COMPONENTS:
        mean, truth, width = (rows[f"{component}_{what}"].to_numpy(np.float64) for what in ("mean", "true", "std"))
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = (mean - truth) / width
        found += [(name, component, float(one)) for name, one in zip(names, pull, strict=True) if np.isfinite(one)]
    chosen: dict[int, Outlier] = {}
    for name, component, off in sorted(found, key=lambda one: (-abs(one[2]), one[0])):
        chosen.setdefault(int(seed[name]), Outlier(name, component, off, math.nan, 0))
        if len(chosen) == _SHOWN:
            break
    return list(chosen.values())


def least_mixed(summary: pd.DataFrame) -> str | None:
    """Run id of the realization with the largest R̂; None if there is no R̂."""
    rhat = summary[["rhat_g1", "rhat_g2"]].to_numpy(np.float64)
    worst = np.where(np.isfinite(rhat), rhat, -np.inf).max(axis=1, initial=-np.inf)
    return str(summary["run_id"].iloc[int(worst.argmax())]) if np.isfinite(worst).any() else None


def results_of(record: Record, run_ids: Sequence[str]) -> dict[str, tuple[Planned, Result]]:
    """These realizations with their committed results, by run id; chunks that cannot be read are skipped."""
    wanted = set(run_ids)
    found: dict[str, tuple[Planned, Result]] = {}
    planned = {r.run_id: (c.index, r.planned) for c in record.plan.chunks for r in c.realizations if r.run_id in wanted}
    for commit in record.survey({index for index, _ in planned.values()})[0].values():
        try:
            results = commits.load_results(record.store, commit)
        except Damaged:
            continue
        for result in results:
            if isinstance(result, Result) and result.run_id in wanted and result.posterior:
                found[result.run_id] = planned[result.run_id][1], result
    return found


def stamps(record: Record, planned: Planned, result: Result) -> StampComparison:
    """The image of a realization, simulated or read again, and the model at the posterior mean.

    Of an object with exposures it is the first one.
    """
    import jax

    from lanewise.families.shear.model import exposures
    from lanewise.families.shear.model.correlated import inner, whitened, whitened_by
    from lanewise.families.shear.model.draw import draw
    from lanewise.families.shear.model.problem import ShearProblem
    from lanewise.machine import device

    config = shear_config.of(record.manifest)
    device.prepare("auto", config.precision)
    observed = registry.lanes(record.manifest.kind).observe(config, planned)
    given = {name: observed.truth[name] for name in config.simulation.given}
    means = {name: float(np.mean(draws)) for name, draws in result.posterior.items()}
    seen = observed.data
    if exposures.are_in(seen):
        config = config.on_stamp(seen["image"].shape[1:])
        problem = ShearProblem(config)
        at = np.array([means[name] for name in problem.names])
        drawn = jax.jit(problem.image)(at, problem.seen(seen))
        seen, model = {name: array[0] for name, array in seen.items()}, np.asarray(drawn[0], dtype=np.float64)
    else:
        model = np.asarray(draw(config, **given, **means), dtype=np.float64)
    data = np.asarray(seen["image"], dtype=np.float64)
    if config.image.noise.per_exposure:
        counted = inner(seen["power"], data.shape)
        return StampComparison(data, model, counted * whitened_by(seen["power"], data - model), counted)
    if config.image.noise.type == "Correlated":
        return StampComparison(data, model, whitened(config.image, data - model), np.ones(data.shape, bool))
    root = inverse_sigma(config.image, seen)
    return StampComparison(data, model, (np.where(root > 0, data, model) - model) * root, root > 0)


def chains_of(result: Result) -> Chains:
    """Convergence of the chains of g1 and g2: largest R̂, smallest ESS."""
    named = [name for name in COMPONENTS if name in result.posterior]
    rhat = [value for name in named if (value := result.diagnostics.rhat.get(name)) is not None]
    ess = [value for name in named if (value := result.diagnostics.ess.get(name)) is not None]
    return Chains(result.run_id, max(rhat), min(ess), *result.shape)


def draw_stamps(name: str, shown: StampComparison) -> Picture:
    """Data, model and residual in three panels, as SVG."""
    return drawn(f"stamps-{name}", partial(_stamps, shown), (5.4, 1.75))


def draw_chains(result: Result) -> Picture:
    """Traces and rank histograms per chain, of g1 and g2, as SVG."""
    posterior: dict[str, np.ndarray] = {k: result.posterior[k] for k in COMPONENTS if k in result.posterior}
    return drawn("chains", partial(_chains, posterior), (7.6, 0.5 + 1.7 * len(posterior)))


def _stamps(shown: StampComparison, figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots(1, 3)
    figure.subplots_adjust(0.01, 0.03, 0.93, 0.86, wspace=0.36)
    top = float(np.nanmax(shown.model))
    panels = (
        ("data [flux]", shown.data, "cividis", (min(0.0, -0.05 * top), top)),
        ("model [flux]", shown.model, "cividis", (min(0.0, -0.05 * top), top)),
        ("(data − model) / σ", shown.residual, "coolwarm", (-4.0, 4.0)),
    )
    for one, (title, image, colours, (low, high)) in zip(axes, panels, strict=True):
        drawn = one.imshow(image, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        one.set_title(title, fontsize=9, pad=4)
        one.set_xticks([])
        one.set_yticks([])
        for spine in one.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(drawn, ax=one, fraction=0.046, pad=0.03)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, length=2, pad=2)
        bar.locator = MaxNLocator(4)
        bar.update_ticks()


def _chains(posterior: Mapping[str, np.ndarray], figure: Figure) -> None:
    axes = figure.subplots(len(posterior), 2, squeeze=False, gridspec_kw={"width_ratios": (2, 1)})
    height = 0.5 + 1.7 * len(posterior)
    figure.subplots_adjust(0.1, 0.45 / height, 0.99, 1 - 0.12 / height, wspace=0.22, hspace=0.25)
    for (trace, bars), (name, draws) in zip(axes, posterior.items(), strict=True):
        rank = draws.ravel().argsort().argsort().reshape(draws.shape)
        for chain, (values, places) in enumerate(zip(draws, rank, strict=True)):
            colour = _CHAINS[chain % len(_CHAINS)]
            step = max(1, len(values) // 500)
            trace.plot(np.arange(0, len(values), step), values[::step], color=colour, linewidth=0.6, alpha=0.8)
            counts = np.bincount(places * _BINS // draws.size, minlength=_BINS)
            bars.stairs(counts, np.arange(_BINS + 1) / _BINS, color=colour, linewidth=1.1)
        bars.axhline(draws.shape[1] / _BINS, color=PALETTE["muted"], linewidth=0.8)
        bars.set_ylim(0)
        trace.set_ylabel(name)
        bars.set_ylabel("number of draws")
    axes[-1][0].set_xlabel("number of the draw")
    axes[-1][1].set_xlabel("rank / number of draws")

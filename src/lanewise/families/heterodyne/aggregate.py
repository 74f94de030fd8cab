"""The summary and the report of a heterodyne campaign."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from lanewise.errors import NOT_CONVERGED
from lanewise.families.heterodyne import cmc_result, curves, draw_figures, figures, report
from lanewise.families.heterodyne import summary as table
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.report import Survey
from lanewise.families.heterodyne.results import TaskResult
from lanewise.families.heterodyne.tasks import of
from lanewise.manifest.protocols import Conclusion, DamagedChunk
from lanewise.manifest.status import causes
from lanewise.report import context as contexts
from lanewise.report.canvas import Picture, save
from lanewise.report.page import REPORT
from lanewise.report.tables import SUMMARY, frame_csv
from lanewise.statistics.numbers import percent
from lanewise.storage import commits
from lanewise.storage.record import Record

# Number of fits that the report shows.
_WORST = 3
# Samplers whose draws have an order.
_CHAINS = ("hmc", "nuts")


def survey(record: Record, summary: pd.DataFrame, damaged: tuple[DamagedChunk, ...] = ()) -> Survey:
    """The outcome of the campaign so far.

    Args:
        summary: the table of the committed tasks.
    """
    bad = summary[summary["status"] != "ok"]
    return Survey(
        n_planned=len(record.plan.realizations),
        statuses=dict(sorted(Counter(summary["status"]).items())),
        keys=table.swept(record),
        groups=table.seed_groups(summary, table.swept(record)),
        not_ok=tuple(zip(bad["task"], bad["status"], bad["reason"], strict=True)),
        missing=tuple(of(one) for _, one in record.missing(set(summary["run_id"]))),
        damaged=damaged,
    )


def aggregate(record: Record) -> Survey:
    """Write summary.csv, plots and report.html of the committed chunks; a damaged chunk counts as missing."""
    rows, damaged = record.rows()
    summary = table.table(record, rows)
    record.store.put(SUMMARY, frame_csv(summary))
    found = survey(record, summary, record.damaged_chunks(damaged))
    plots = _plots(record, summary)
    save(record.store, {name: picture for name, _, picture in plots})
    page = report.render(found, summary, plots, contexts.context(record))
    record.store.put(REPORT, page.encode())
    return found


def conclude(record: Record) -> Conclusion:
    """`aggregate` for the command line: the outcome, and the reasons of the first tasks that are not ok."""
    found = aggregate(record)
    lines = [found.headline]
    lines += [f"  {one}" for one in causes(found.not_ok)]
    missing = frozenset(one.run_id for one in found.missing)
    return Conclusion(found, tuple(lines), 0 if found.complete else NOT_CONVERGED, missing, found.damaged)


def _plots(record: Record, summary: pd.DataFrame) -> list[tuple[str, str, Picture]]:
    """Name, caption and SVG of each plot; none if no task has a fit."""
    fitted = summary[summary["ssr"].notna()] if "ssr" in summary else summary.iloc[:0]
    if fitted.empty:
        return []
    found = []
    keys = [key for key in table.swept(record) if fitted[key].astype(str).nunique() > 1]
    if fitted["input_filename"].nunique() > 1:
        keys.append("input_filename")
    for key in keys:
        what = "the files" if key == "input_filename" else key
        caption = (
            f"Fitted parameters against {what}, with bars of ±1σ. Hollow points: not converged, or no error is known."
        )
        found.append((f"over-{key.replace('.', '-')}", caption, figures.over(fitted, key)))
    for result in _worst(record, fitted):
        found += _of_fit(result)
    return found


def _of_fit(result: TaskResult) -> list[tuple[str, str, Picture]]:
    arrays, nlsq = result.arrays, result.content["nlsq"]
    cuts = (
        f"{result.task}: the two-time correlation c₂ against the lag at some ages. Points: data; lines: the model at "
        "the same frames, with its 1σ band."
    )
    rates = (
        f"{result.task}: the rates of the fit against the age, with their 1σ bands. The dotted line is at the mean "
        "age t_ref."
    )
    maps = (
        f"{result.task}: two-time correlation c₂ of the data (top) and the model (middle), averaged over blocks of "
        "frames, and their difference in units of its error (bottom). Its rms is "
        f"{nlsq['residual_rms']:.2f}; independent noise alone has 1."
    )
    if nlsq["degenerate"]:
        rates += f" Not determined: {'; '.join(nlsq['degenerate'])}."
    found = [
        (f"cuts-{result.run_id}", cuts, curves.cuts(result.task, arrays)),
        (f"rates-{result.run_id}", rates, curves.rates(result.task, arrays, MODELS[result.model].rates)),
        (f"maps-{result.run_id}", maps, figures.worst_maps(result.task, arrays)),
    ]
    return found + _of_draws(result)


def _of_draws(result: TaskResult) -> list[tuple[str, str, Picture]]:
    """Plots of the draws of a posterior; none if there are none."""
    cmc, arrays, task, run_id = result.content.get("cmc", {}), result.arrays, result.task, result.run_id
    if not cmc.get("means"):
        return []
    labels = MODELS[result.model].headline
    corner = f"{task}: draws of the posterior (blue points and histograms), and the fit with bands of ±1σ (orange)."
    predicted = (
        f"{task}: the same cuts by the posterior: the model with one standard deviation (dark), and where 95 % of new "
        f"values fall (light). {percent(curves.share_predicted(arrays), '.1f')} of the values do."
    )
    found = [
        (f"corner-{run_id}", corner, draw_figures.corner(task, arrays, _fitted(result), labels)),
        (f"predicted-{run_id}", predicted, curves.predicted(task, arrays)),
    ]
    if cmc["sampler"] in _CHAINS:
        draws = {label: arrays[f"{cmc_result.DRAWS}{name}"] for name, label in labels.items()}
        found.append((f"traces-{run_id}", f"{task}: the chains.", draw_figures.traces(task, draws)))
    if (parts := cmc.get("shards")) is None or parts["worst"] is None or cmc["combination"] == "one shard":
        return found
    told = f"{task}: what each of the shards says, with its standard deviation, and all data (orange band)."
    found.append((f"shards-{run_id}", told, draw_figures.shards(task, cmc, labels)))
    # Another run has the draws of a shard that it sampled.
    if (row := parts["table"][parts["worst"]])["sampler"] in _CHAINS and not row["source"]:
        draws = {label: arrays[f"{cmc_result.SHARD}{name}"] for name, label in labels.items()}
        told = f"{task}: the chains of shard {parts['worst']}, whose sampling is the worst."
        found.append((f"shard-traces-{run_id}", told, draw_figures.traces(f"shard-{task}", draws)))
    return found


def _fitted(result: TaskResult) -> dict[str, tuple[float, float]]:
    """Value and error of what the data determine best, and of contrast and offset if all angles share them."""
    nlsq = result.content["nlsq"]
    errors = nlsq["errors"]
    found = {name: (nlsq[name], errors[name]) for name in MODELS[result.model].headline}
    found |= {name: (nlsq[name][0], errors[name][0]) for name in ("contrast", "offset")}
    return {name: (value, float("inf") if error is None else error) for name, (value, error) in found.items()}


def _worst(record: Record, fitted: pd.DataFrame) -> list[TaskResult]:
    """The results with the largest structured residuals, worst first."""
    ranked = fitted.sort_values("residual_rms", ascending=False, kind="stable")
    wanted = [str(run_id) for run_id in ranked["run_id"][:_WORST]]
    found: dict[str, TaskResult] = {}
    for index, commit in record.survey()[0].items():
        if not set(wanted).isdisjoint(record.plan.chunks[index].run_ids):
            results = commits.load_results(record.store, commit)
            found |= {result.run_id: result for result in results if isinstance(result, TaskResult)}
    return [found[run_id] for run_id in wanted]

"""What a shear campaign comes to: summary, m and c with the verdict, and the report, each in files of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from lanewise.errors import Damaged, UsageError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import observations
from lanewise.families.shear.point_spread import Psf
from lanewise.families.shear.report import gallery, page
from lanewise.families.shear.report.figures import figures
from lanewise.families.shear.shears import TURNED
from lanewise.families.shear.statistics import by_galaxies
from lanewise.families.shear.statistics import forecast as forecasts
from lanewise.families.shear.statistics import summary as table
from lanewise.families.shear.statistics.estimates import estimates
from lanewise.families.shear.statistics.results import BiasResults, evaluate
from lanewise.families.shear.statistics.selection import COMPONENTS, ShearTruth
from lanewise.families.shear.statistics.tally import Excluded
from lanewise.manifest.protocols import Conclusion, DamagedChunk, Forecast
from lanewise.manifest.status import LaneStatus, causes
from lanewise.report import context as contexts
from lanewise.report.canvas import Picture, save
from lanewise.report.page import REPORT, Context
from lanewise.report.tables import SUMMARY, frame_csv, to_csv, to_json
from lanewise.statistics import sequential
from lanewise.statistics.verdict import EXIT_CODES, Decision, lines
from lanewise.storage.record import Record
from lanewise.storage.store import Store

BIAS_RESULTS = "bias_results"
STATS = "stats"


def write_stats(store: Store, folder: str, name: str, results: object, plots: Mapping[str, Picture]) -> None:
    """Write the results as NAME.json and NAME.csv, and the plots, below `folder` ("" is the root)."""
    base = f"{folder}/" if folder else ""
    store.put(f"{base}{name}.json", to_json(results).encode())
    store.put(f"{base}{name}.csv", to_csv(results))
    save(store, plots, folder)


def evaluated(record: Record, summary: pd.DataFrame, damaged: Mapping[int, Damaged] | None = None) -> BiasResults:
    """Bias and verdict of a campaign; realizations of the plan that are not in the summary are missing.

    Args:
        damaged: committed chunks that cannot be read, by index.
    """
    return evaluate(
        summary,
        priors=table.priors(record),
        acceptance=record.manifest.acceptance,
        missing=missing(record, summary),
        damaged=record.damaged_chunks(damaged or {}),
        unlike=table.unlike(record),
        psf_shape=_psf_shape(record),
        n_per_count=forecasts.n_per_count(record),
        reach=sequential.reach(record.manifest.realizations.count, record.manifest.realizations.extensions),
    )


def _psf_shape(record: Record) -> tuple[float, float]:
    """Ellipticity of the point-spread function [reduced shear]; zero of an image, whose shape is not known."""
    psf = shear_config.of(record.manifest).psf
    if not isinstance(psf, Psf):
        return 0.0, 0.0
    # From a distortion to the g-convention, g = e / (1 + √(1 − e²)).
    scale = 1 + math.sqrt(1 - psf.e1**2 - psf.e2**2)
    return psf.e1 / scale, psf.e2 / scale


def aggregate(record: Record) -> BiasResults:
    """Summary, statistics and report of what is committed; always ends in a report.

    A chunk that is damaged counts as missing, and the results say so.
    """
    summary, damaged = table.survey(record)
    record.store.put(SUMMARY, frame_csv(summary))
    results, looked_at = gallery.look(record, summary, evaluated(record, summary, damaged))
    plots = {**figures(results, summary), **looked_at}
    write_stats(record.store, STATS, BIAS_RESULTS, results, plots)
    record.store.put(REPORT, page.render(results, summary, plots, context(record, summary)).encode())
    return results


def concluded(results: BiasResults) -> Conclusion:
    """What a shear campaign comes to."""
    absent = (one.run_id for one in results.missing)
    return conclusion(results, results.verdict, absent, results.damaged, results.excluded)


def conclusion(
    results: object,
    decision: Decision,
    missing: Iterable[str],
    damaged: tuple[DamagedChunk, ...],
    excluded: Sequence[Excluded],
) -> Conclusion:
    """What results with a verdict come to.

    Args:
        missing: run ids of the realizations that are planned, but not there.
        damaged: committed chunks that cannot be read.
        excluded: realizations that were computed and do not count.
    """
    code = EXIT_CODES[decision.verdict]
    told = [f"  not counted: {one}" for one in causes((one.run_id, one.status, one.reason) for one in excluded)]
    return Conclusion(results, (*lines(decision), *told), code, frozenset(missing), damaged, decision.extend_count)


def conclude(record: Record) -> Conclusion:
    """As `aggregate`, for the command line."""
    return concluded(aggregate(record))


def forecast(record: Record, target: float) -> tuple[Forecast, ...]:
    """What every component needs for σ_m = target, from what is committed.

    Raises:
        UsageError: the campaign cannot be extended, or has nothing committed that gives an error.
    """
    per_count = forecasts.n_per_count(record)
    if per_count is None:
        raise UsageError(f"--target-sigma-m: {observations.NO_EXTENSION}")
    summary, damaged = table.survey(record)
    results = evaluated(record, summary, damaged)
    priors = dict(zip(COMPONENTS, table.priors(record), strict=True))
    absent = missing(record, summary)
    data = {
        bias.component: estimates(
            summary,
            bias.component,
            priors[bias.component] or table.unlike(record).get(bias.component),
            absent,
            results.acceptance.estimator,
        )
        for bias in results.components
    }
    population = shear_config.of(record.manifest).population
    unknown = any(bias.m is not None and bias.m.error is None for bias in results.components)
    scatter = by_galaxies.errors(_arms(record)) if population and unknown else {}
    found = forecasts.of_results(results, target, per_count, data, population.galaxies if population else 1, scatter)
    if not found:
        raise UsageError(
            "--target-sigma-m: too little is committed to tell an error of m; run a pilot first, "
            "some ten realizations at two shears"
        )
    return found


def _arms(record: Record) -> list[by_galaxies.Arm]:
    """The committed populations that have converged."""
    from lanewise.engine.results import Result
    from lanewise.families.shear.population.membership import GROUP
    from lanewise.storage import commits

    loaded = (one for commit in record.survey()[0].values() for one in commits.load_results(record.store, commit))
    found = [one for one in loaded if isinstance(one, Result) and one.status is LaneStatus.OK]
    shears = [(one.truth["g1"], one.truth["g2"]) for one in found]
    return [
        by_galaxies.Arm(one.seed, one.run_id.endswith(TURNED), shear, one.groups[GROUP]["without_block"])
        for one, shear in zip(found, shears, strict=True)
    ]


def context(record: Record, summary: pd.DataFrame) -> Context:
    """What a report says of its campaign."""
    return replace(
        contexts.context(record),
        truth="true shear (g1, g2)",
        missing_chunks=contexts.missing_chunks(record, summary, COMPONENTS),
        retried=contexts.retried(summary),
    )


def missing(record: Record, summary: pd.DataFrame) -> tuple[ShearTruth, ...]:
    """Realizations of the plan that the summary does not hold."""
    members = [r.planned for _, r in record.missing(set(summary["run_id"]))]
    # An image from a file may have no known truth; it is missing all the same.
    shears = [(m.truth.get("g1", math.nan), m.truth.get("g2", math.nan)) for m in members]
    return tuple(ShearTruth(m.run_id, g1, g2, m.seed) for m, (g1, g2) in zip(members, shears, strict=True))

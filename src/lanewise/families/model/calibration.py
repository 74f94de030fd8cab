"""Whether the posteriors hold the truths of the simulated data sets as often as they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lanewise.engine.results import Result
from lanewise.errors import Damaged
from lanewise.families.calibration import aggregate, results
from lanewise.families.calibration.ranks import Ranks, thinned
from lanewise.families.calibration.results import CalibrationResults, Missing
from lanewise.families.calibration.sizing import n_ranks
from lanewise.families.model import datasets
from lanewise.manifest.manifest import Realizations
from lanewise.report.canvas import Picture
from lanewise.storage import commits
from lanewise.storage.record import Record


def concluded(
    record: Record, summary: pd.DataFrame, damaged: Mapping[int, Damaged]
) -> tuple[CalibrationResults, Mapping[str, Picture]]:
    """Write ranks and verdict; returns the numbers, and the plots, name → SVG.

    Args:
        summary: rows of the simulated data sets that are committed.
        damaged: committed chunks that cannot be read, by index.
    """
    found = _ranks(record, {str(run_id) for run_id in summary.loc[summary["status"] == "ok", "run_id"]})
    absent = record.missing(set(summary["run_id"])) if len(summary) < datasets.extent_of(record.manifest).count else []
    numbers = results.evaluate(
        summary,
        found,
        acceptance=record.manifest.acceptance,
        missing=tuple(Missing(one.run_id, one.planned.seed) for _, one in absent if datasets.is_simulated(one.run_id)),
        damaged=record.damaged_chunks(damaged),
        asked=Realizations(datasets.extent_of(record.manifest).count),
    )
    return numbers, aggregate.write(record, numbers, found)


def _ranks(record: Record, counted: set[str]) -> Ranks:
    """The ranks of the truths among the draws of each latent, in the plan's order."""
    depth = n_ranks(record.manifest.convergence.ess_min)
    rows: list[dict[str, Any]] = []
    holding = [chunk.index for chunk in record.plan.chunks if not counted.isdisjoint(chunk.run_ids)]
    found = record.survey(holding)[0]
    for index in record.plan.order(found):
        for result in commits.load_results(record.store, found[index]):
            if isinstance(result, Result) and result.run_id in counted:
                if not rows:  # antithetic chains can have more effective draws than draws
                    depth = min(depth, n_ranks(result.shape[0] * result.shape[1]))
                below = {
                    name: int(np.sum(thinned(result.posterior[name], depth - 1) < truth))
                    for name, truth in result.truth.items()
                }
                rows.append({"run_id": result.run_id, "seed": result.seed, **below})
    return Ranks(depth, pd.DataFrame(rows, columns=None if rows else ["run_id", "seed"]))

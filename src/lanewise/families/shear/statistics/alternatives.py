"""m of the same populations by other estimators of their shear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lanewise.families.shear.statistics.selection import COMPONENTS, Component, counts
from lanewise.statistics.regression import Measure, design, fit, measures, shifted

# Name of the estimator, and what its column in summary.csv ends in. None of them has a prior on the shear.
ESTIMATORS = {"known distributions": "known_mean", "score at zero shear": "expansion"}


@dataclass(frozen=True)
class Alternative:
    """m of one component by another estimator; the shear of the verdict is that of the posterior.

    Attributes:
        estimator: a key of `ESTIMATORS`.
        m: with its error by the scatter between seeds.
    """

    component: Component
    estimator: str
    m: Measure


def alternatives(summary: pd.DataFrame) -> Iterator[Alternative]:
    """m by every estimator whose column is there, over the realizations that count."""
    rows = summary[counts(summary)]
    for component in COMPONENTS:
        truth = pd.to_numeric(rows[f"{component}_true"]).to_numpy(np.float64)
        for estimator, ending in ESTIMATORS.items():
            column = f"{component}_{ending}"
            if column not in rows or len(np.unique(truth)) < 2:
                continue
            value = pd.to_numeric(rows[column]).to_numpy(np.float64)
            seed = rows["seed"].to_numpy(np.int64)
            line = fit(design(truth), value=value, width=np.full(len(value), np.nan), seed=seed)
            if line is not None:
                yield Alternative(component, estimator, shifted(measures(line, None)[1], -1.0))

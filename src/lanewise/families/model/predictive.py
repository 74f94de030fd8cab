"""How well a data set looks like data that its posterior predicts, and what it is expected to predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lanewise.engine.results import Result

COLUMNS = PPC, ELPD, ELPD_SE, KHAT = "ppc_p", "elpd_loo", "elpd_loo_se", "khat_loo"


def columns(result: Result) -> dict[str, Any]:
    """The columns of the summary that follow from a result's groups; empty if it has none.

    ppc_p: share of predicted data sets that scatter at least as much about the mean prediction as the data do, see
    `tail`. elpd_loo: expected log predictive density by PSIS-LOO, its standard error, and the largest Pareto k̂.
    """
    found: dict[str, Any] = {}
    if "posterior_predictive" in result.groups:
        found[PPC] = tail(result)
    if "loo" in result.groups:
        points = left_out(result)
        found[ELPD] = float(np.sum(points))
        found[ELPD_SE] = float(np.sqrt(points.size * np.var(points)))
        found[KHAT] = float(max(np.max(one) for one in result.groups["loo_khat"].values()))
    return found


def left_out(result: Result) -> np.ndarray:
    """Expected log predictive density of each datum given the others [nats], shape (datum,), site after site."""
    values: np.ndarray = _flat(result.groups["loo"], 0)[0]
    return values.astype(float)


def observed(result: Result) -> np.ndarray:
    """The observed values in the same order."""
    values: np.ndarray = _flat(result.groups["observed_data"], 0)[0]
    return values


def tail(result: Result) -> float:
    """P(T(replicated) ≥ T(observed)), T the mean square of residuals in units of the predictive standard deviation.

    Source:
        Gelman, Meng & Stern 1996, with the discrepancy averaged over the posterior first.
    """
    drawn = _flat(result.groups["posterior_predictive"], 2).astype(float)
    centre, width = drawn.mean(axis=0), drawn.std(axis=0)
    varies = width > 0
    seen = observed(result).astype(float)
    replicated = np.mean(((drawn - centre)[:, varies] / width[varies]) ** 2, axis=1)
    return float(np.mean(replicated >= np.mean(((seen - centre)[varies] / width[varies]) ** 2)))


def _flat(group: Mapping[str, np.ndarray], n_axes: int) -> np.ndarray:
    """All sites of a group side by side, shape (draw, datum); n_axes: axes of draws."""
    parts = [np.asarray(one) for _, one in sorted(group.items())]
    return np.concatenate([one.reshape(int(np.prod(one.shape[:n_axes])), -1) for one in parts], axis=1)

"""Comparison of two models over the same data sets by their expected log predictive densities."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lanewise.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from lanewise.engine.results import Result
    from lanewise.storage.record import Record

_SHOWN = 20
_KHAT_MAX = 0.7


@dataclass(frozen=True)
class Difference:
    """One data set, or all of them.

    Attributes:
        n: number of data.
        first, second: elpd of the two models [nats].
        difference: of the first from the second; positive: the first one predicts better.
        error: its standard error, from the differences of single data.
        khat: the largest Pareto k̂ of both; above 0.7 the difference is not to be trusted.
    """

    id: str
    n: int
    first: float
    second: float
    difference: float
    error: float
    khat: float


@dataclass(frozen=True)
class Comparison:
    """All data sets that are ok in both campaigns.

    Attributes:
        of: names of the campaigns.
        left_out: ids of data sets that are not ok, or not committed, in one of them.
    """

    of: tuple[str, str]
    data_sets: tuple[Difference, ...]
    total: Difference
    left_out: tuple[str, ...]


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Manifest or output URL of one campaign.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Manifest or output URL of another one.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write all data sets to FILE, .csv or .json.")
    ] = None,
) -> None:
    """Compare two models over the same data sets by PSIS-LOO.

    Both need outputs.log_likelihood: true.

    Prints for each data set, and in total, how much better A predicts a new datum than B does: the difference of the
    expected log predictive densities [nats], and its standard error.
    """
    from lanewise.storage.record import open_record

    if output is not None and not output.endswith((".csv", ".json")):
        raise UsageError(f"--output {output}: expected a file that ends in .csv or .json")
    found = compared(open_record(first), open_record(second), (first, second))
    print(text(found))
    if output is not None:
        Path(output).write_text(csv(found) if output.endswith(".csv") else json.dumps(asdict(found), indent=2) + "\n")


def compared(first: Record, second: Record, names: tuple[str, str]) -> Comparison:
    """Compare what is committed of two campaigns.

    Args:
        names: of the campaigns, for messages.

    Raises:
        UsageError: a campaign has no log likelihoods, or the two do not observe the same data.
    """
    import numpy as np

    from lanewise.families.model import predictive
    from lanewise.families.model.datasets import identifier_of

    results = [_results(record, name) for record, name in zip((first, second), names, strict=True)]
    ids = [_run_ids(record) for record in (first, second)]
    if differ := sorted(ids[0] ^ ids[1]):
        text = f"data set {identifier_of(differ[0])} is in one of the campaigns only"
        raise UsageError(f"{names[0]}, {names[1]}: {text}; compare models over one table")
    rows, differences, khats = [], [], []
    for run_id in sorted(results[0].keys() & results[1].keys()):
        a, b = (of[run_id] for of in results)
        seen = [predictive.observed(one) for one in (a, b)]
        if not np.array_equal(seen[0], seen[1]):
            text = "the two campaigns observe different values"
            remedy = "both models must observe the same columns, untransformed, of the same rows"
            where = f"{names[0]}, {names[1]}: data set {identifier_of(run_id)}"
            raise UsageError(f"{where}: {text} ({seen[0].size} and {seen[1].size} data); {remedy}")
        points = [predictive.left_out(one) for one in (a, b)]
        khat = max(float(np.max(k)) for one in (a, b) for k in one.groups["loo_khat"].values())
        rows.append(_difference(identifier_of(run_id), points[0], points[1], khat))
        differences.append(points)
        khats.append(khat)
    if not rows:
        raise UsageError(f"{names[0]}, {names[1]}: no data set is ok in both campaigns")
    whole = [np.concatenate([one[at] for one in differences]) for at in (0, 1)]
    absent = tuple(identifier_of(one) for one in sorted(ids[0] - {*results[0]} | ids[0] - {*results[1]}))
    total = _difference("total", whole[0], whole[1], max(khats))
    return Comparison((first.manifest.name, second.manifest.name), tuple(rows), total, absent)


def _run_ids(record: Record) -> set[str]:
    """Those of the data sets, without simulated ones."""
    from lanewise.families.model import datasets

    return {one.run_id for one in record.plan.realizations if not datasets.is_simulated(one.run_id)}


def _results(record: Record, name: str) -> dict[str, Result]:
    """The results of the data sets that are ok, by run id."""
    from lanewise.engine.results import Result
    from lanewise.families.model import config
    from lanewise.manifest.status import LaneStatus
    from lanewise.storage import commits

    kind = record.manifest.kind
    if kind != "model":
        raise UsageError(f"{name}: is of kind {kind}; compare takes campaigns of kind model")
    if not config.of(record.manifest).outputs.log_likelihood:
        raise UsageError(f"{name}: has no log likelihoods; set outputs.log_likelihood: true and run it again")
    found, wanted = {}, _run_ids(record)
    for _, commit in sorted(record.commits().items()):
        for one in commits.load_results(record.store, commit):
            if isinstance(one, Result) and one.status is LaneStatus.OK and one.run_id in wanted:
                # The draws are large and not needed.
                found[one.run_id] = replace(one, posterior={}, stats={}, groups=_without_draws(one))
    return found


def _without_draws(result: Result) -> dict[str, Any]:
    return {name: part for name, part in result.groups.items() if name in ("loo", "loo_khat", "observed_data")}


def _difference(name: str, first: np.ndarray, second: np.ndarray, khat: float) -> Difference:
    """Vehtari, Gelman & Gabry 2017, eq. 24."""
    import numpy as np

    apart = first - second
    error = float(np.sqrt(apart.size * np.var(apart)))
    a, b = float(np.sum(first)), float(np.sum(second))
    return Difference(name, apart.size, a, b, a - b, error, khat)


def text(found: Comparison) -> str:
    """A table for people: the data sets with the largest differences, and the total."""
    first, second = found.of
    largest = sorted(found.data_sets, key=lambda one: -abs(one.difference))[:_SHOWN]
    lines = [f"elpd by PSIS-LOO [nats], A: {first}, B: {second}; A − B > 0: A predicts better"]
    lines.append(f"{'data set':<24} {'data':>6} {'A':>12} {'B':>12} {'A − B':>10} {'error':>9} {'k̂':>6}")
    for one in (*largest, found.total):
        lines.append(
            f"{one.id:<24.24} {one.n:>6} {one.first:>12.2f} {one.second:>12.2f} {one.difference:>+10.2f} "
            f"{one.error:>9.2f} {one.khat:>6.2f}"
        )
    if len(found.data_sets) > _SHOWN:
        lines.append(f"… the {_SHOWN} largest of {len(found.data_sets)} differences; --output writes all")
    lines += list(_warnings(found))
    return "\n".join(lines)


def _warnings(found: Comparison) -> Iterator[str]:
    if bad := sum(one.khat > _KHAT_MAX for one in found.data_sets):
        yield f"{bad} data sets have a Pareto k̂ above {_KHAT_MAX}: their elpd is not to be trusted"
    if found.left_out:
        shown = ", ".join(found.left_out[:5]) + (" …" if len(found.left_out) > 5 else "")
        yield f"left out, because not ok in both campaigns: {len(found.left_out)} ({shown})"


def csv(found: Comparison) -> str:
    """One row per data set, and the total."""
    import pandas as pd

    buffer = io.StringIO()
    pd.DataFrame([asdict(one) for one in (*found.data_sets, found.total)]).to_csv(buffer, index=False)
    return buffer.getvalue()

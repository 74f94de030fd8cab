"""The files of a data set's result, and its row of the summary."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lanewise.engine.files import LaneOutputs, described
from lanewise.engine.posterior_file import Arrays, posterior_nc
from lanewise.engine.results import Result
from lanewise.families.model import predictive
from lanewise.families.model.datasets import identifier_of

SUMMARY_PARQUET = "summary.parquet"
_ELEMENT = re.compile(r"(.+)\[([^\[\]]+)\]")
_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


def files(result: Result) -> dict[str, bytes]:
    """The files of a data set's directory by name; convergence.json is last and marks it complete."""
    return _STORED.files(result)


def summary_row(result: Result) -> dict[str, Any]:
    """The row of summary.csv: id, status, and for each element mean, sd, quantiles, R̂ and effective sample size.

    With what is asked for under `outputs`: `predictive.columns`.
    """
    row = {"id": identifier_of(result.run_id), **described(result), **predictive.columns(result)}
    # All at once: a call costs more than its arithmetic.
    flat = [np.ravel(draws) for draws in result.posterior.values()]
    quantiles = np.quantile(flat, list(_QUANTILES.values()), axis=1).T if flat and flat[0].size > 1 else None
    for at, (name, draws) in enumerate(result.posterior.items()):
        row[f"{name}_mean"], row[f"{name}_sd"] = float(np.mean(draws)), result.width(name)
        if quantiles is not None:
            row |= {f"{name}_{key}": float(value) for key, value in zip(_QUANTILES, quantiles[at], strict=True)}
        row[f"rhat_{name}"] = result.diagnostics.rhat.get(name)
        row[f"ess_{name}"] = result.diagnostics.ess.get(name)
    return row


def packed_nc(results: Sequence[Result]) -> bytes:
    """A chunk's results in one netCDF-4 file."""
    return _STORED.packed_nc(results)


def unpack(data: bytes) -> list[Result]:
    """The results in such a file."""
    return _STORED.unpack(data)


def parquet(frame: pd.DataFrame, units: Mapping[str, str]) -> bytes:
    """The table as Parquet; its metadata have the units of the data, as JSON under `units`."""
    import pyarrow
    from pyarrow import parquet as format_of

    out = io.BytesIO()
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), "units": json.dumps(dict(units))})
    format_of.write_table(table, out)
    return out.getvalue()


def arrays(flat: Mapping[str, np.ndarray]) -> Arrays:
    """Draws of elements as arrays by site, with the names of their axes: those of plates, else `theta_dim_0`, ….

    Args:
        flat: element, see `structure.Variable.flat` → draws of shape (chain, draw).
    """
    sites: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    labels: dict[str, tuple[str, ...]] = {}
    for element, draws in flat.items():
        found = _ELEMENT.fullmatch(element)
        name, inside = (found[1], found[2].split(",")) if found else (element, [])
        axes = [part.rpartition("=") for part in inside]
        labels[name] = tuple(dim for dim, _, _ in axes)
        sites.setdefault(name, {})[tuple(int(at) for _, _, at in axes)] = draws
    shapes = {
        name: tuple(1 + max(at[k] for at in parts) for k in range(len(labels[name]))) for name, parts in sites.items()
    }
    dims = _dims(labels, shapes)
    whole: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name, parts in sites.items():
        draws = next(iter(parts.values()))
        values = np.full((*draws.shape, *shapes[name]), np.nan)
        for place, drawn in parts.items():
            here: tuple[Any, ...] = (slice(None), slice(None), *place)
            values[here] = drawn
        whole[name] = (dims[name], values)
    return whole


def _dims(labels: Mapping[str, tuple[str, ...]], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, ...]]:
    """Names of axes. A plate's name is kept where no site has it, and where it has one size everywhere."""
    sizes = {(dim, n) for name, of in labels.items() for dim, n in zip(of, shapes[name], strict=True)}
    ambiguous = {dim for dim, times in Counter(dim for dim, _ in sizes).items() if times > 1}
    taken = {"", "chain", "draw", *labels} | ambiguous

    def named(name: str, k: int, dim: str) -> str:
        return f"{name}_dim_{k}" if dim in taken or labels[name].count(dim) > 1 else dim

    return {name: tuple(named(name, k, dim) for k, dim in enumerate(of)) for name, of in labels.items()}


def _posterior(result: Result) -> bytes:
    units = {"units": ", ".join(f"{name} [{unit}]" for name, unit in result.units.items())} if result.units else {}
    return posterior_nc(result, arrays(result.posterior), {"id": identifier_of(result.run_id), **units})


_STORED = LaneOutputs((), posterior=_posterior)

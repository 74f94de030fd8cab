"""catalogue.parquet: a row for each object with its estimates, written chunk by chunk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lanewise.engine.results import Result
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.observations import exposures_of
from lanewise.families.shear.scene import quantity
from lanewise.manifest.plan import Planned
from lanewise.manifest.status import LaneStatus
from lanewise.storage import commits
from lanewise.storage.record import Record

CATALOGUE = "catalogue.parquet"
# Rows of a row group, which is what is in memory at a time; chunks whose commits are read at a time.
_GROUP, _CHUNKS = 10_000, 64
_UNITS = {"flux": "flux", "half_light_radius": "arcsec", "g1": "reduced shear", "g2": "reduced shear"}
_UNITS |= {"e1": "distortion", "e2": "distortion", "x": "pixel", "y": "pixel"}


class Column(NamedTuple):
    """A column: its name, its type in Arrow's words, its unit, and what it means."""

    name: str
    type: str
    unit: str
    meaning: str


def columns(latents: Sequence[str]) -> tuple[Column, ...]:
    """The columns for these latents."""
    units = {name: _UNITS.get(quantity(name), "1") for name in latents}
    pairs = itertools.combinations_with_replacement(latents, 2)
    return (
        Column("id", "string", "", "object of the table of exposures; without one, the run id"),
        Column("run_id", "string", "", "name of the realization"),
        Column("n_exposures", "int32", "1", "exposures in the table; 1 without one"),
        Column("ra", "double", "degree", "right ascension in the table"),
        Column("dec", "double", "degree", "declination in the table"),
        Column("x_image", "double", "pixel", "place in the first image by the table, from the lower left corner"),
        Column("y_image", "double", "pixel", "place in the first image by the table, from the lower left corner"),
        Column("flags", "int32", "", f"0 for ok, else the sum of {', '.join(_bits())}"),
        Column("method", "string", "", "method of inference"),
        *(Column(f"{name}_mean", "double", units[name], f"posterior mean of {name}") for name in latents),
        *(
            Column(f"cov_{a}_{b}", "double", f"{units[a]} · {units[b]}", f"posterior covariance of {a} and {b}")
            for a, b in pairs
        ),
        Column("signal_to_noise", "double", "1", "of the image by the fitted model"),
        Column("chi2", "double", "1", "χ² of the residual"),
        Column("dof", "int64", "1", "its degrees of freedom"),
        Column("misfit_p", "double", "1", "probability, at most, that the tests of the fit find as much by chance"),
        Column("peak_sigma", "double", "standard deviations", "largest residual in a matched filter"),
        Column("khat", "double", "1", "Pareto shape of the importance weights"),
        Column("rhat_max", "double", "1", "largest R̂ of a latent"),
        Column("ess_min", "double", "1", "smallest effective sample size of a latent"),
    )


def rows(record: Record) -> Iterator[dict[str, Any]]:
    """The row of each committed realization, in the plan's order; a chunk's results are in memory at a time.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    latents, plan = tuple(shear_config.of(record.manifest).latents), record.plan
    order = plan.order(plan.indices)
    for at in range(0, len(order), _CHUNKS):
        indices = order[at : at + _CHUNKS]
        found = record.commits(indices)
        for index in indices:
            if index not in found:
                continue
            planned = {one.run_id: one.planned for one in plan.chunks[index].realizations}
            for result in commits.load_results(record.store, found[index]):
                assert isinstance(result, Result)
                yield _row(result, planned[result.run_id], latents)


def write(record: Record, path: str) -> int:
    """Write the catalogue of what is committed to a file of this machine.

    The metadata of each column have its `unit` and `meaning`.

    Returns:
        The number of rows.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
    """
    import pyarrow as pa
    from pyarrow import parquet

    known = columns(tuple(shear_config.of(record.manifest).latents))
    fields = [
        pa.field(one.name, pa.type_for_alias(one.type), metadata={"unit": one.unit, "meaning": one.meaning})
        for one in known
    ]
    schema = pa.schema(fields, metadata={"units": json.dumps({one.name: one.unit for one in known})})
    n, found = 0, rows(record)
    with parquet.ParquetWriter(path, schema) as file:
        while group := list(itertools.islice(found, _GROUP)):
            file.write_table(pa.Table.from_pylist(group, schema=schema))
            n += len(group)
    return n


def _row(result: Result, planned: Planned, latents: Sequence[str]) -> dict[str, Any]:
    exposures = exposures_of(planned)
    first: Mapping[str, float] = exposures.rows[0].numbers if exposures else {}
    diagnostics = result.diagnostics
    row: dict[str, Any] = {
        "id": exposures.id if exposures else result.run_id,
        "run_id": result.run_id,
        "n_exposures": len(exposures.rows) if exposures else 1,
        "ra": first.get("ra"),
        "dec": first.get("dec"),
        "x_image": first.get("x"),
        "y_image": first.get("y"),
        "flags": flags(result.status),
        "method": result.method,
        "khat": diagnostics.khat,
        "rhat_max": _extreme(diagnostics.rhat, max),
        "ess_min": _extreme(diagnostics.ess, min),
    }
    if (fit := diagnostics.goodness) is not None:
        row |= {"signal_to_noise": fit.signal_to_noise, "chi2": fit.chi2, "dof": fit.dof}
        row |= {"misfit_p": fit.p, "peak_sigma": fit.peak_sigma}
    if result.posterior:
        draws = np.stack([result.posterior[name].ravel() for name in latents])
        row |= {f"{name}_mean": float(one.mean()) for name, one in zip(latents, draws, strict=True)}
        row |= _covariance(result, draws, latents)
    return row


def _covariance(result: Result, draws: np.ndarray, latents: Sequence[str]) -> dict[str, float]:
    """Of the draws; of a mode, which is one draw, the variances of the Laplace approximation."""
    if draws.shape[1] == 1:
        return {f"cov_{name}_{name}": width**2 for name in latents if (width := result.width(name)) is not None}
    covariance = np.atleast_2d(np.cov(draws))
    pairs = itertools.combinations_with_replacement(range(len(latents)), 2)
    return {f"cov_{latents[i]}_{latents[j]}": float(covariance[i, j]) for i, j in pairs}


def flags(status: LaneStatus) -> int:
    """0 for ok; one bit for each other status."""
    return 0 if status is LaneStatus.OK else 1 << (status - LaneStatus.UNINFORMATIVE)


def _bits() -> list[str]:
    return [f"{flags(status)} ({status.word})" for status in LaneStatus if status > LaneStatus.OK]


def _extreme(values: Mapping[str, float | None], of: Any) -> float | None:
    known = [value for value in values.values() if value is not None]
    return float(of(known)) if known else None

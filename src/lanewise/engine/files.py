"""The files of a realization, and the packed file that holds a chunk of them.

The packed file is the data; the directories are a view that can be written again from it. Bytes depend on the results
alone: no clock, host, path or attempt enters.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import h5netcdf
import numpy as np

from lanewise.engine.results import Diagnostics, Result
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus


def files(result: Result) -> dict[str, bytes]:
    """The files of a realization's directory by name; convergence.json is last and marks it complete."""
    found = {}
    if result.posterior:
        found["posterior.nc"] = posterior_nc(result)
    if result.truth:
        found["truth.json"] = _json({"run_id": result.run_id, "seed": result.seed, **result.truth})
    found["convergence.json"] = _json(convergence(result))
    return found


def convergence(result: Result) -> dict[str, Any]:
    """The content of convergence.json; what is undefined is null."""
    n_chains, n_draws = result.shape
    return {
        **asdict(result.diagnostics),
        "n_samples": n_chains * n_draws,
        "n_chains": n_chains,
        "status": result.status.word,
        "reason": result.reason,
        "method_used": result.method,
        "tries": [asdict(one) for one in result.tries],
    }


def described(result: Result) -> dict[str, Any]:
    """What every summary says of a realization: run id, seed, status, method and diagnostics of the whole."""
    found = result.diagnostics
    return {
        "run_id": result.run_id,
        "seed": result.seed,
        "status": result.status.word,
        "passed_convergence": result.status is LaneStatus.OK,
        "method_used": result.method,
        "divergences": found.divergences,
        "divergence_frac": found.divergence_frac,
        "ess_kind": found.ess_kind,
        "khat": found.khat,
        "retries": max(0, len(result.tries) - 1),
        "reason": result.reason,
    }


def described_latent(result: Result, name: str) -> dict[str, Any]:
    """Truth, estimates and diagnostics of one latent, of all draws and of the first half; without what is undefined."""
    found = result.diagnostics
    row: dict[str, Any] = {
        f"{name}_true": result.truth.get(name),
        f"rhat_{name}": found.rhat.get(name),
        f"ess_{name}": found.ess.get(name),
    }
    if name in result.posterior:
        draws = result.posterior[name]
        row[f"{name}_mean"] = float(np.mean(draws))
        row[f"{name}_median"] = float(np.median(draws))
        row[f"{name}_std"] = result.width(name)
        half = draws[:, : draws.shape[1] // 2]
        if half.size > 1:
            row[f"{name}_half_mean"], row[f"{name}_half_std"] = float(np.mean(half)), float(np.std(half, ddof=1))
    return row


@dataclass(frozen=True)
class LaneOutputs:
    """What a family of lanes leaves in storage; `manifest.protocols.Outputs`.

    Attributes:
        latents: those that have columns in the summary.
        columns: of the summary, in order; those that nothing is known of are empty. Without them, what is known.
    """

    latents: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def files(self, result: Result, /) -> dict[str, bytes]:
        """The files of a realization's directory by name."""
        return files(result)

    def summary_row(self, result: Result, /) -> dict[str, Any]:
        """Status, diagnostics, and the raw posterior of each latent, of all draws and of half."""
        row = dict.fromkeys(self.columns) | described(result)
        for name in self.latents:
            row |= described_latent(result, name)
        return row

    def packed_nc(self, results: Sequence[Result], /) -> bytes:
        """A chunk's results in one file."""
        return packed_nc(results)

    def unpack(self, data: bytes, /) -> list[Result]:
        """The results in such a file."""
        return unpack(data)


def posterior_nc(result: Result) -> bytes:
    """posterior.nc: netCDF-4 with the groups posterior and sample_stats, as both generations of ArviZ read it."""
    n_chains, n_draws = result.shape
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        file.attrs["inference_method"] = result.method
        for name, variables in (("posterior", result.posterior), ("sample_stats", _sample_stats(result))):
            group = file.create_group(name)
            group.attrs["inference_method"] = result.method
            group.dimensions = {"chain": n_chains, "draw": n_draws}
            group.create_variable("chain", ("chain",), data=np.arange(n_chains))
            group.create_variable("draw", ("draw",), data=np.arange(n_draws))
            _write(group, ("chain", "draw"), variables)
    return buffer.getvalue()


def packed_nc(results: Sequence[Result]) -> bytes:
    """A chunk's results in one netCDF-4 file with a leading realization axis; what a realization lacks is NaN there."""
    n_chains = max(r.shape[0] for r in results)
    n_draws = max(r.shape[1] for r in results)
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        file.dimensions = {"realization": len(results)}
        records = [_record(result) for result in results]
        text = np.array([json.dumps(record, allow_nan=False) for record in records], dtype=object)
        file.create_variable("record", ("realization",), dtype=h5netcdf.core.h5py.string_dtype(), data=text)
        for name, parts in (
            ("posterior", [r.posterior for r in results]),
            ("sample_stats", [r.stats for r in results]),
        ):
            group = file.create_group(name)
            group.dimensions = {"chain": n_chains, "draw": n_draws}
            # A retry may have longer chains than its neighbours, or another method with statistics of its own.
            dtypes = {key: array.dtype for part in parts for key, array in part.items()}
            stacked = {
                key: np.stack([_padded(part.get(key), (n_chains, n_draws), dtype) for part in parts])
                for key, dtype in dtypes.items()
            }
            _write(group, ("realization", "chain", "draw"), stacked)
    return buffer.getvalue()


def unpack(data: bytes) -> list[Result]:
    """The results in a packed file."""
    found = []
    with h5netcdf.File(io.BytesIO(data), "r") as file:
        records = [json.loads(text) for text in file["record"][:]]
        arrays = {
            name: {key: _read(file[name][key]) for key in file[name].variables}
            for name in ("posterior", "sample_stats")
        }
        for index, record in enumerate(records):
            n_chains, n_draws = record.pop("shape")
            names = record.pop("arrays")
            status = LaneStatus[record.pop("status").upper()]
            diagnostics, tries = record.pop("diagnostics"), record.pop("tries", ())
            if diagnostics["bfmi"] is not None:
                diagnostics["bfmi"] = tuple(diagnostics["bfmi"])
            parts = {
                name: {key: arrays[name][key][index, :n_chains, :n_draws] for key in keys}
                for name, keys in names.items()
            }
            found.append(
                Result(
                    **record,
                    status=status,
                    posterior=parts["posterior"],
                    stats=parts["sample_stats"],
                    diagnostics=Diagnostics(**diagnostics),
                    tries=tuple(Try(**one) for one in tries),
                )
            )
    return found


def _record(result: Result) -> dict[str, Any]:
    """All of a result but its arrays."""
    return {
        "run_id": result.run_id,
        "seed": result.seed,
        "status": result.status.word,
        "reason": result.reason,
        "method": result.method,
        "truth": dict(result.truth),
        "laplace_std": dict(result.laplace_std),
        "diagnostics": asdict(result.diagnostics),
        "tries": [asdict(one) for one in result.tries],
        "shape": result.shape,
        "arrays": {"posterior": list(result.posterior), "sample_stats": list(result.stats)},
    }


def _sample_stats(result: Result) -> dict[str, np.ndarray]:
    widths = {f"laplace_std_{name}": np.full(result.shape, width) for name, width in result.laplace_std.items()}
    return {**result.stats, **widths}


def _padded(array: np.ndarray | None, shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """An array, or none, in the corner of one of the shape: NaN around it, 0 where there is no NaN."""
    whole = np.full(shape, np.nan, dtype) if dtype.kind == "f" else np.zeros(shape, dtype)
    if array is not None:
        whole[: array.shape[0], : array.shape[1]] = array
    return whole


def _write(group: Any, dimensions: tuple[str, ...], variables: Mapping[str, np.ndarray]) -> None:
    for name, values in variables.items():
        # netCDF has no booleans: xarray's convention is a byte with the attribute dtype.
        stored = values.astype(np.int8) if values.dtype == bool else values
        variable = group.create_variable(name, dimensions, data=stored)
        if values.dtype == bool:
            variable.attrs["dtype"] = "bool"


def _read(variable: Any) -> np.ndarray:
    values: np.ndarray = variable[...]
    return values.astype(bool) if variable.attrs.get("dtype") == "bool" else values


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()

"""The files of a realization, and the packed file that holds a chunk of them.

The packed file holds the data; the directories can be written again from it. The bytes depend on the results alone:
they contain no time, host, path or attempt.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import h5netcdf
import numpy as np

from lanewise.engine import flat
from lanewise.engine.posterior_file import posterior_nc
from lanewise.engine.results import Diagnostics, Goodness, Result, without_values
from lanewise.manifest.problem import Members
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus

# Members whose reasons convergence.json names.
_MEMBERS_TOLD = 20


def convergence(result: Result) -> dict[str, Any]:
    """The content of convergence.json; undefined values are null."""
    n_chains, n_draws = result.shape
    return {
        **asdict(result.diagnostics),
        "n_samples": n_chains * n_draws,
        "n_chains": n_chains,
        "status": result.status.word,
        "reason": result.reason,
        "method_used": result.method,
        "model_used": result.model or None,
        "tries": [asdict(one) for one in result.tries],
        **({} if result.members is None else {"members": _members_told(result.members)}),
    }


def described(result: Result) -> dict[str, Any]:
    """The columns of every summary: run id, seed, status, method, and the diagnostics that are not per latent."""
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
        **_fitted(found.goodness),
        "retries": max(0, len(result.tries) - 1),
        "reason": result.reason,
        **({f"members_{word}": n for word, n in sorted(result.member_counts.items())}),
    }


def _fitted(found: Goodness | None) -> dict[str, Any]:
    """Columns of the goodness of fit; none where it was not judged."""
    if found is None:
        return {}
    own = ("chi2", "dof", "peak_sigma", "peak_x", "peak_y", "prior_sigma")
    return {**{name: getattr(found, name) for name in own}, "misfit_p": found.p}


def described_latent(result: Result, name: str) -> dict[str, Any]:
    """Truth, diagnostics and estimates of one latent, from all draws and from their first half."""
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
    """How the results of a family of lanes are stored; a `manifest.protocols.Outputs`.

    Attributes:
        latents: names of the latents that have columns in the summary.
        columns: columns of the summary, in order; unknown values are empty. Default: the columns that have values.
        posterior: the content of posterior.nc; default: `posterior_nc` of every latent.
        more: further columns of a result, or others in their place.
    """

    latents: tuple[str, ...]
    columns: tuple[str, ...] = ()
    posterior: Callable[[Result], bytes] | None = None
    more: Callable[[Result], Mapping[str, Any]] | None = None

    def files(self, result: Result, /) -> dict[str, bytes]:
        """The files of a realization's directory by name; convergence.json is last and marks it complete."""
        found = {}
        if result.posterior:
            found["posterior.nc"] = (self.posterior or posterior_nc)(result)
        if result.truth:
            found["truth.json"] = _json({"run_id": result.run_id, "seed": result.seed, **result.truth})
        found["convergence.json"] = _json(convergence(result))
        return found

    def summary_row(self, result: Result, /) -> dict[str, Any]:
        """A row of summary.csv; see `described` and `described_latent`."""
        row = dict.fromkeys(self.columns) | described(result)
        for name in self.latents:
            row |= described_latent(result, name)
        return row if self.more is None else {**row, **self.more(result)}

    def packed_nc(self, results: Sequence[Result], /) -> bytes:
        """A chunk's results in one netCDF-4 file, arrays of shape (realization, chain, draw) padded with NaN."""
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
                # A retry may use longer chains or another method, whose statistics have other names.
                dtypes = {key: array.dtype for part in parts for key, array in part.items()}
                stacked = {
                    key: np.stack([_padded(part.get(key), (n_chains, n_draws), dtype) for part in parts])
                    for key, dtype in dtypes.items()
                }
                flat.write_variable(group, ("realization", "chain", "draw"), stacked)
            if several := [_members_arrays(result.members) for result in results if result.members is not None]:
                flat.write(file.create_group("members"), several, compress=True)
            if more := [_groups_arrays(result) for result in results if result.groups]:
                flat.write(file.create_group("groups"), more)
        return buffer.getvalue()

    def unpack(self, data: bytes, /) -> list[Result]:
        """The results in a packed file."""
        found = []
        with h5netcdf.File(io.BytesIO(data), "r") as file:
            arrays = {
                name: {key: flat.read_variable(file[name][key]) for key in file[name].variables}
                for name in ("posterior", "sample_stats")
            }
            of_each = {name: flat.Reader(file[name]) for name in ("members", "groups") if name in file}
            for index, record in enumerate(json.loads(text) for text in file["record"][:]):
                n_chains, n_draws = record.pop("shape")
                status = LaneStatus[record.pop("status").upper()]
                diagnostics = _diagnostics(record.pop("diagnostics"))
                tries = tuple(Try(**one) for one in record.pop("tries"))
                posterior, stats = (
                    {key: arrays[name][key][index, :n_chains, :n_draws] for key in keys}
                    for name, keys in record.pop("arrays").items()
                )
                told = record.pop("members", None)
                groups = {
                    group: {name: of_each["groups"].take(f"{group} {name}", shape) for name, shape in shapes.items()}
                    for group, shapes in record.pop("groups", {}).items()
                }
                found.append(
                    Result(
                        **record,
                        status=status,
                        posterior=posterior,
                        stats=stats,
                        diagnostics=diagnostics,
                        tries=tries,
                        members=None if told is None else _read_members(told, of_each["members"]),
                        groups=groups,
                    )
                )
        return found


def _record(result: Result) -> dict[str, Any]:
    """A result without its arrays, JSON-ready."""
    return {
        "run_id": result.run_id,
        "seed": result.seed,
        "status": result.status.word,
        "reason": result.reason,
        "method": result.method,
        "model": result.model,
        "truth": dict(result.truth),
        "laplace_std": dict(result.laplace_std),
        "diagnostics": asdict(result.diagnostics),
        "tries": [asdict(one) for one in result.tries],
        "shape": result.shape,
        "arrays": {"posterior": list(result.posterior), "sample_stats": list(result.stats)},
        **({} if result.members is None else {"members": _members_record(result.members)}),
        **({"groups": _groups_record(result)} if result.groups else {}),
        **({"units": dict(result.units)} if result.units else {}),
    }


def _diagnostics(told: dict[str, Any]) -> Diagnostics:
    bfmi, goodness = told.pop("bfmi"), told.pop("goodness", None)
    return Diagnostics(
        **told, bfmi=None if bfmi is None else tuple(bfmi), goodness=None if goodness is None else Goodness(**goodness)
    )


def _groups_record(result: Result) -> dict[str, Any]:
    return {group: {name: array.shape for name, array in arrays.items()} for group, arrays in result.groups.items()}


def _groups_arrays(result: Result) -> dict[str, np.ndarray]:
    return {f"{group} {name}": array for group, arrays in result.groups.items() for name, array in arrays.items()}


def _members_told(members: Members) -> dict[str, Any]:
    """Members by status, and why the first ones that are not ok are not."""
    first = list(members.reasons.items())[:_MEMBERS_TOLD]
    return {"n": len(members.status), "counts": members.counts, "reasons": {str(at): text for at, text in first}}


def _members_record(members: Members) -> dict[str, Any]:
    shapes = {name: array.shape for name, array in members.record.items()}
    return {"n": len(members.status), "reasons": {str(at): text for at, text in members.reasons.items()}, "of": shapes}


def _members_arrays(members: Members) -> dict[str, np.ndarray]:
    return {"status": members.status, **{f"record_{name}": array for name, array in members.record.items()}}


def _read_members(told: Mapping[str, Any], arrays: flat.Reader) -> Members:
    """The members of the next realization."""
    return Members(
        arrays.take("status", [told["n"]]),
        {name: arrays.take(f"record_{name}", shape) for name, shape in told["of"].items()},
        {int(at): text for at, text in told["reasons"].items()},
    )


def _padded(array: np.ndarray | None, shape: tuple[int, int], dtype: np.dtype[Any]) -> np.ndarray:
    """The array padded to the shape with NaN, or with 0 for integers and booleans."""
    whole = without_values(shape, dtype)
    if array is not None:
        whole[: array.shape[0], : array.shape[1]] = array
    return whole


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()

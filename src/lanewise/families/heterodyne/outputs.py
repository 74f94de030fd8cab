"""The files of a task, and the packed file of a chunk. Their bytes depend only on the results."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import h5netcdf
import numpy as np

from lanewise.families.heterodyne import cmc_result
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.results import TaskResult
from lanewise.manifest.protocols import Try
from lanewise.manifest.status import LaneStatus

RESULT = "result.json"
_RECORD = "record"
_NUMBERS = (
    *("t_ref", "reduced_chi2", "chi2", "expected_chi2", "ssr", "noise", "residual_rms", "shared_noise_z"),
    *("exchange_chi2", "second_component_chi2"),
    *("n_data", "n_free", "agreement", "n_polished", "rounds"),
)


def files(result: TaskResult) -> dict[str, bytes]:
    """result.json, the NPZ, and posterior.nc of a sampled task.

    A task without a fit has no files; its reason is in summary.csv and the report.
    """
    if not result.content:
        return {}
    drawn = cmc_result.netcdf(result.arrays, result.run_id, result.seed, result.content.get("cmc", {}))
    return {
        **({} if drawn is None else {"posterior.nc": drawn}),
        # The stem is a key of a dictionary over many runs; the name of a task is unique in its campaign only.
        f"{result.task}_{result.run_id.removeprefix('het_')}.npz": _npz(result.arrays),
        RESULT: (json.dumps(result.content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }


def summary_row(result: TaskResult) -> dict[str, Any]:
    """One row of summary.csv: the swept values, every estimate with its error, χ², convergence and status."""
    row: dict[str, Any] = {"run_id": result.run_id, "task": result.task, "input_filename": result.input_filename}
    row |= {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in result.swept.items()}
    row |= {"status": result.status.word, "converged": result.status is LaneStatus.OK}
    nlsq = result.content.get("nlsq", {})
    errors, independent = nlsq.get("errors", {}), nlsq.get("errors_independent", {})
    model = MODELS[result.model]
    for name in (*model.headline, *model.names):
        row |= {name: nlsq.get(name), f"{name}_error": errors.get(name)}
    row |= {"model": result.model, "noise_model": nlsq.get("noise_model")}
    row |= {f"{name}_error_independent": independent.get(name) for name in model.headline}
    for name in ("contrast", "offset"):
        # The value of the first angle; the only one if all angles share it.
        row |= {name: nlsq.get(name, [None])[0], f"{name}_error": errors.get(name, [None])[0]}
    row |= {name: nlsq.get(name) for name in _NUMBERS}
    if result.method != "nlsq":
        row |= _cmc_columns(result)
    compared = nlsq.get("comparison", {})
    row |= {"best_model": compared.get("best")}
    row |= {f"delta_bic_{name}": delta for name, delta in compared.get("deltas", {}).items()}
    row["at_bounds"] = " ".join(nlsq["at_bounds"]) if nlsq else None
    row |= {"seed": result.seed, "data_sha256": result.data_sha256, "reason": result.reason}
    return row


def _cmc_columns(result: TaskResult) -> dict[str, Any]:
    """Columns of a campaign that samples: means and widths, and how the sampling went."""
    cmc = result.content.get("cmc", {})
    means, sds, model = cmc.get("means", {}), cmc.get("sds", {}), MODELS[result.model]
    row: dict[str, Any] = {"cmc_sampler": cmc.get("sampler"), "cmc_combination": cmc.get("combination")}
    for name in (*model.headline, *model.names):
        row |= {f"{name}_cmc_mean": means.get(name), f"{name}_cmc_sd": sds.get(name)}
    row |= {f"{name}_cmc_z": cmc.get("z", {}).get(name) for name in model.headline}
    row["max_r_hat"] = max((value for value in cmc.get("r_hat", {}).values() if value is not None), default=None)
    row["min_ess"] = min((value for value in cmc.get("ess", {}).values() if value is not None), default=None)
    row |= {"khat": cmc.get("khat"), "divergence_frac": cmc.get("divergence_frac")}
    if (shards := cmc.get("shards")) is not None:
        row |= {"cmc_shards": len(shards["table"])}
        row |= {f"cmc_shards_{what}": " ".join(map(str, shards[what])) for what in ("lost", "flagged")}
        row |= {"cmc_disagreement_p": (shards["disagreement"] or {}).get("p_value")}
    return row


def packed_nc(results: Sequence[TaskResult]) -> bytes:
    """A chunk's results in one netCDF-4 file; one group per task, because the arrays may differ in shape."""
    buffer = io.BytesIO()
    with h5netcdf.File(buffer, "w") as file:
        file.dimensions = {"task": len(results)}
        text = np.array([json.dumps(_record(result), allow_nan=False) for result in results], dtype=object)
        file.create_variable(_RECORD, ("task",), dtype=h5netcdf.core.h5py.string_dtype(), data=text)
        for result in results:
            group = file.create_group(result.run_id)
            for name, values in result.arrays.items():
                axes = tuple(f"{name}_{axis}" for axis in range(values.ndim))
                for axis, length in zip(axes, values.shape, strict=True):
                    group.dimensions[axis] = length
                group.create_variable(name, axes, data=values)
    return buffer.getvalue()


def unpack(data: bytes) -> list[TaskResult]:
    """The results in a packed file."""
    found = []
    with h5netcdf.File(io.BytesIO(data), "r") as file:
        for text in file[_RECORD][:]:
            record = json.loads(text)
            arrays = {name: np.asarray(file[record["run_id"]][name][...]) for name in record.pop("arrays")}
            status = LaneStatus[record.pop("status").upper()]
            tries = tuple(Try(**one) for one in record.pop("tries", ()))
            found.append(TaskResult(**record, status=status, arrays=arrays, tries=tries))
    return found


def _record(result: TaskResult) -> dict[str, Any]:
    """All fields of a result; of the arrays only the names, in their order."""
    tries = [asdict(one) for one in result.tries]
    return {**vars(result), "status": result.status.word, "arrays": list(result.arrays), "tries": tries}


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An NPZ whose bytes depend only on the arrays; `numpy.savez` would write the time of day."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            array = io.BytesIO()
            np.lib.format.write_array(array, values, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

"""Small files as beamlines write them, each with the same matrices; the tests know what is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lanewise.families.heterodyne import simulate

N, DT, Q, PHI = 24, 0.1, 0.0054, (-60.0, 0.0, 60.0)
WHERE = simulate.Experiment(n_frames=N, dt=DT, q=Q, phi=PHI)
MATRICES = simulate.simulate(simulate.EXAMPLE, WHERE, 7)


def write(path: Path, arrays: dict[str, Any], attributes: dict[str, dict[str, Any]] | None = None) -> str:
    """An HDF5 file of these arrays, and attributes by the key of their array or group."""
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value
        for key, values in (attributes or {}).items():
            file.require_group(key) if key not in file else None
            file[key].attrs.update(values)
    return str(path)


def flat(**more: Any) -> dict[str, Any]:
    """The flat layout without a time axis."""
    return {"c2": MATRICES, "q": Q, "phi": np.array(PHI), **more}


def marked(index: int) -> np.ndarray:
    """A matrix that is not one of `MATRICES`, different for every index."""
    return np.asarray(MATRICES[0] + 0.01 * index)


def triangles(prefix: str, matrices: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Upper triangles in float32, numbered from 1."""
    return {f"{prefix}{k + 1:05d}": np.triu(one).astype(np.float32) for k, one in enumerate(matrices)}


def aps_u(**more: Any) -> dict[str, Any]:
    """APS-U: q [.0054, .0080] × φ [−90, −60, 0, 60], the bins (.0054, −90) and (.0080, −60) are empty."""
    found: dict[str, Any] = {
        "xpcs/qmap/dynamic_v_list_dim0": np.array([Q, 0.008]),
        "xpcs/qmap/dynamic_v_list_dim1": np.array([-90.0, *PHI]),
        "xpcs/qmap/dynamic_index_mapping": np.array([1, 2, 3, 4, 6, 7]),
        "xpcs/qmap/map_names": np.array([b"q", b"phi"]),
        "xpcs/qmap/map_units": np.array(["Å⁻¹".encode(), "°".encode()]),
        "xpcs/twotime/processed_bins": np.arange(1, 7),
        "entry/instrument/detector_1/frame_time": DT,
        **triangles("xpcs/twotime/correlation_map/c2_", [*MATRICES, marked(1), marked(2), marked(3)]),
    }
    return {**found, **more}


def aps(**more: Any) -> dict[str, Any]:
    """APS before the upgrade: q .003, .0054, .008 at three angles each, of which the bins 4, 5, 6 were processed."""
    return {
        "xpcs/dqlist": np.repeat([0.003, Q, 0.008], 3)[None],
        "xpcs/dphilist": np.tile(PHI, 3)[None],
        **triangles("exchange/C2T_all/g2_", [*MATRICES]),
        "xpcs/qphi_bin_to_process": np.array([[4, 5, 6]]),
        **more,
    }


def nexus(path: Path, baseline: int = 1, mode: str = "one_array_q_first", origin: str = "upper_left") -> str:
    """NXxpcs with the attributes of its definition."""
    stored = MATRICES - (1 - baseline)
    stored = stored[:, ::-1] if origin == "lower_left" else stored
    key, masks = "entry/twotime/two_time_corr_func", "entry/instrument/masks"
    arrays = {
        "entry/definition": "NXxpcs",
        key: np.moveaxis(stored, 0, -1) if mode.endswith("last") else stored,
        f"{masks}/dynamic_q_list": np.full(3, Q),
        f"{masks}/dynamic_phi_list": np.array(PHI),
        "entry/instrument/detector/frame_time": DT,
    }
    said = {"baseline_reference": baseline, "storage_mode": mode, "time_origin_location": origin}
    return write(path, arrays, {key: said, f"{masks}/dynamic_phi_list": {"units": "1/Å"}})


def chx(path: Path, labelled: bool = True) -> str:
    """pyCHX: `qval_dict` and `md` are dummy arrays; their attributes hold the values."""
    arrays = {"g12b": np.moveaxis(MATRICES, 0, -1), "taus": np.arange(N) * DT, "qval_dict": np.zeros(1, "i")}
    labels = {str(k): np.array([Q, phi]) if labelled else np.array([Q]) for k, phi in enumerate(PHI)}
    return write(path, {**arrays, "md": np.zeros(1, "i")}, {"qval_dict": labels, "md": {"timeperframe": DT}})


def ages_and_lags(mean: bool) -> np.ndarray:
    """The matrices over (age, lag), age being the mean of both times (rounded down to a frame) or the first."""
    found = np.zeros((3, N, N))
    for lag in range(N):
        for first in range(N - lag):
            found[:, first + lag // 2 if mean else first, lag] = MATRICES[:, first, first + lag]
    return found


def esrf(path: Path, mean: bool = True, lags: np.ndarray | None = None) -> str:
    """ESRF ID02: one direction per angle, q in 1/nm."""
    arrays: dict[str, Any] = {}
    for number, one in enumerate(ages_and_lags(mean)):
        folder = f"entry_0000/correlations/direction_{number}"
        arrays |= {f"{folder}/twotime/ttcf": one[None], f"{folder}/parameters/q": np.array([10 * Q])}
        arrays |= {f"{folder}/twotime/age": np.arange(N) * DT}
        arrays |= {f"{folder}/twotime/lag": np.arange(N) * DT if lags is None else lags}
    return write(path, arrays, {"/": {"MagicString": "XPCSResultFile_v2.0"}})


def esrf_older(path: Path) -> str:
    """ESRF ID02 before 2021: the q of an index are the mean of their limits, and the index is found in a table."""
    folder = "entry_0000/dynamix/correlations/directions/full"
    limits = np.array([[1, 0.01, 0.03], [2, 10 * Q - 0.01, 10 * Q + 0.01], [3, 0.07, 0.09]])
    arrays = {f"{folder}/2times_correlation/ttcf": ages_and_lags(mean=True)[:1], f"{folder}/q_index": np.array([2])}
    arrays |= {f"{folder}/2times_correlation/age": np.arange(N) * DT}
    arrays |= {f"{folder}/2times_correlation/timeshift": np.arange(N) * DT}
    return write(path, {**arrays, "entry_0000/dynamix/correlations/q_index_min_max": limits})


def mid(path: Path, trains: int = 4, last: bool = True) -> str:
    """EuXFEL MID: a matrix per train and q (1/nm); the first angle's matrix is in the second train at q .054."""
    stored = np.stack([[marked(10 * train + at) for at in range(2)] for train in range(trains)])
    stored[1 % trains, 1] = MATRICES[0]
    arrays = {"ttc": np.moveaxis(stored, 1, -1) if last else stored, "q": np.array([0.02, 10 * Q])}
    arrays |= {"t": np.arange(N) * DT}
    return write(path, {f"train_resolved/correlation/{key}": value for key, value in arrays.items()})

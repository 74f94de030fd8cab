"""File layouts, i.e. the keys of the arrays: four HDF5 layouts, and NPZ with the keys of the flat one."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

APS_U_MAP = "xpcs/twotime/correlation_map"
APS_U_Q = "xpcs/qmap/dynamic_v_list_dim0"
APS_U_PHI = "xpcs/qmap/dynamic_v_list_dim1"
APS_U_BINS = "xpcs/twotime/processed_bins"
APS_Q = "xpcs/dqlist"
APS_PHI = "xpcs/dphilist"
APS_MAP = "exchange/C2T_all"
_C2_KEYS = ("twotime_corr", "twotime", "c2", "corr")
_T_KEYS = ("tau", "t", "times", "delay_time")
_Q_KEYS = ("q_val", "q_values", "q", "qval")
_PHI_KEYS = ("phi", "phi_angles", "azimuth")

File = Any  # h5py.File, or a mapping of the arrays of an NPZ: both support file[key] and `key in file`


class Unreadable(Exception):
    """The file does not contain what was requested; the text follows "<file>: ", e.g. "has no c2"."""


@dataclass(frozen=True)
class Catalogue:
    """The contents of a file, without its matrices.

    Attributes:
        layout: name of the layout.
        keys: key of each matrix; a single key if all matrices are in one array.
        n_matrices: number of matrices.
        n_frames: number of rows of each matrix.
        halved: whether the layout stores one triangle only.
        q, phi: q [1/Å] and angle [degree] of each matrix, shape (n_matrices,); None if they are not in the file.
        t: time axis of the file, shape (n_frames,), in seconds or frame numbers; None if there is none.
    """

    layout: str
    keys: tuple[str, ...]
    n_matrices: int
    n_frames: int
    halved: bool
    q: np.ndarray | None
    phi: np.ndarray | None
    t: np.ndarray | None


@contextlib.contextmanager
def opened(raw: io.BytesIO) -> Iterator[File]:
    """The opened HDF5 or NPZ file; its first bytes say which.

    Raises:
        Unreadable: it is neither, or damaged.
    """
    magic = raw.read(8)
    raw.seek(0)
    if magic == b"\x89HDF\r\n\x1a\n":
        try:
            with h5py.File(raw, "r") as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise Unreadable(f"is a damaged HDF5 file: {error}") from None
    elif magic[:4] == b"PK\x03\x04":
        try:
            with np.load(raw, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise Unreadable(f"is a damaged NPZ file: {error}") from None
        yield arrays
    else:
        raise Unreadable("is neither an HDF5 nor an NPZ file")


def catalogue(file: File) -> Catalogue:
    """The contents of the file, in the first layout whose keys are present.

    Raises:
        Unreadable: no layout matches, or its arrays are inconsistent.
    """
    if APS_U_MAP in file and APS_U_Q in file:
        return _aps_u(file)
    if APS_Q in file and APS_MAP in file:
        return _aps(file)
    if isinstance(file, h5py.File) and isinstance(file.get("exchange"), h5py.Group):
        return _stack(file["exchange"], "exchange", "exchange/", _C2_KEYS)
    return _stack(file, "flat", "", ("c2",))


def matrix(file: File, where: Catalogue, index: int, start: int, stop: int) -> np.ndarray:
    """Frames start to stop (0-based, stop exclusive) of one matrix, shape (stop − start,) * 2, float64."""
    if where.halved:
        block = file[where.keys[index]][start:stop, start:stop]
    else:
        stacked = file[where.keys[0]]
        block = stacked[start:stop, start:stop] if stacked.ndim == 2 else stacked[index, start:stop, start:stop]
    return np.asarray(block, dtype=np.float64)


def _aps_u(file: File) -> Catalogue:
    q_list, phi_list = _vector(file, APS_U_Q), _vector(file, _need(file, APS_U_PHI))
    bins = _vector(file, _need(file, APS_U_BINS)).astype(int) - 1
    keys = _members(file, APS_U_MAP)
    if len(keys) != len(bins):
        raise Unreadable(f"has {len(keys)} matrices in {APS_U_MAP}, but {len(bins)} bins in {APS_U_BINS}")
    n_bins = len(q_list) * len(phi_list)
    if bins.min() < 0 or bins.max() >= n_bins or len(set(bins)) < len(bins):
        raise Unreadable(f"has bins in {APS_U_BINS} that repeat or are not within 1 to {n_bins}")
    return Catalogue(
        layout="APS-U",
        keys=keys,
        n_matrices=len(keys),
        n_frames=_square(file, keys),
        halved=True,
        q=q_list[bins // len(phi_list)],
        phi=phi_list[bins % len(phi_list)],
        t=_axis(file, ("xpcs/twotime/t", "xpcs/t", "exchange/t")),
    )


def _aps(file: File) -> Catalogue:
    keys = _members(file, APS_MAP)
    q, phi = _vector(file, APS_Q), _vector(file, _need(file, APS_PHI))
    if not len(keys) == len(q) == len(phi):
        raise Unreadable(
            f"has {len(keys)} matrices in {APS_MAP}, {len(q)} values in {APS_Q} and {len(phi)} in {APS_PHI}"
        )
    t = _axis(file, ("exchange/t", "exchange/tau", "xpcs/t"))
    return Catalogue("APS", keys, len(keys), _square(file, keys), True, q, phi, t)


def _stack(group: Mapping[str, Any], layout: str, prefix: str, names: tuple[str, ...]) -> Catalogue:
    """The contents of a layout with all matrices in one array, of shape (N, N) or (n, N, N)."""
    name = _first(group, names)
    if name is None:
        raise Unreadable(
            f"has none of the known layouts: no {APS_U_MAP}, no {APS_MAP}, no exchange/{{{','.join(_C2_KEYS)}}}, no c2"
        )
    shape = _numbers(group, name).shape
    if len(shape) not in {2, 3} or shape[-1] != shape[-2] or 0 in shape:
        raise Unreadable(f"has {prefix}{name} of shape {shape}; expected (N, N) or (n, N, N)")
    n = 1 if len(shape) == 2 else shape[0]
    q, phi = (_per_matrix(group, prefix, keys, n) for keys in (_Q_KEYS, _PHI_KEYS))
    return Catalogue(layout, (f"{prefix}{name}",), n, int(shape[-1]), False, q, phi, _axis(group, _T_KEYS))


def _per_matrix(group: Mapping[str, Any], prefix: str, keys: tuple[str, ...], n: int) -> np.ndarray | None:
    key = _first(group, keys)
    if key is None:
        return None
    vector = _vector(group, key)
    if len(vector) not in {1, n}:
        raise Unreadable(f"has {len(vector)} values in {prefix}{key} for {n} matrices")
    return np.broadcast_to(vector, (n,)).copy()


def _members(file: File, group: str) -> tuple[str, ...]:
    keys = tuple(f"{group}/{name}" for name in sorted(file[group]))
    if not keys:
        raise Unreadable(f"has no matrices in {group}")
    return keys


def _square(file: File, keys: tuple[str, ...]) -> int:
    shapes = {_numbers(file, key).shape for key in keys}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise Unreadable(f"has matrices of shapes {', '.join(map(str, sorted(shapes)))}; expected one (N, N)")
    return int(shape[0])


def _need(file: File, key: str) -> str:
    if key not in file:
        raise Unreadable(f"has no {key}, which its layout needs")
    return key


def _vector(file: File, key: str) -> np.ndarray:
    values = np.ravel(np.asarray(_numbers(file, key)[()], dtype=np.float64))
    if not values.size or not np.isfinite(values).all():
        raise Unreadable(f"has no finite numbers in {key}")
    return values


def _axis(file: File, keys: tuple[str, ...]) -> np.ndarray | None:
    key = _first(file, keys)
    return None if key is None else np.asarray(_numbers(file, key)[()], dtype=np.float64).squeeze()


def _first(file: File, keys: tuple[str, ...]) -> str | None:
    """The first of the keys that the file has."""
    return next((key for key in keys if key in file), None)


def _numbers(file: File, key: str) -> Any:
    """The dataset at a key, not read yet; it must contain real numbers."""
    found = file[key]
    if isinstance(found, h5py.Group) or found.dtype.kind not in "fiu":
        raise Unreadable(f"has no array of real numbers at {key}")
    return found

"""Read measured two-time correlations: one window of frames, one q, chosen angles; ambiguous data are an error."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne import layouts
from lanewise.families.heterodyne.config import All, Selection
from lanewise.families.heterodyne.layouts import Catalogue, Unreadable
from lanewise.manifest.locations import split
from lanewise.storage.inputs import Input
from lanewise.storage.store import Store

# Files store float32: a chosen value must equal a value of the file to that precision; the nearest is not enough.
_Q_RTOL = 1e-5
_PHI_ATOL = 1e-3
_DT_RTOL = 1e-3
_NO_Q = "holds no q; give its q [1/Å]"


@dataclass(frozen=True)
class TwoTimeData:
    """The data of one fit.

    Attributes:
        c2: symmetric correlations, shape (n_phi, N, N); the diagonal is replaced by the mean of its neighbours.
        q: scattering vector [1/Å].
        dt: time between frames [s].
        phi: angle of each matrix [degree].
        start_frame: first frame of the window, counted from 1.
        source: path or URL of the file, as the user gave it.
        sha256: SHA-256 of the whole file.
        layout: name of the layout that was recognised.
        notes: changes made to the numbers of the file, one sentence each.
    """

    c2: np.ndarray
    q: float
    dt: float
    phi: np.ndarray
    start_frame: int = 1
    source: str = ""
    sha256: str = ""
    layout: str = ""
    notes: tuple[str, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames in the window."""
        return int(self.c2.shape[-1])


def load_data(
    source: str,
    *,
    q: float | None = None,
    phi: Sequence[float] | All = "all",
    dt: float | None = None,
    start_frame: int = 1,
    end_frame: int = -1,
) -> TwoTimeData:
    """Read one data set from an HDF5 or NPZ file.

    Args:
        source: path or fsspec URL. The layout is recognised: APS-U, APS, an `exchange` group, or flat keys.
        q: scattering vector [1/Å]; must be in the file. None takes the only q of the file.
        phi: angles [degree], each of which must be in the file (modulo 360), or all of them. If the file has no
            angles, these are the angles of its matrices.
        dt: time between frames [s]; None takes it from the file's time axis, if that is in seconds.
        start_frame: first frame, counted from 1.
        end_frame: last frame, inclusive; −1 means the last of the file.

    Raises:
        DataError: the file cannot be read, or does not contain the requested q, angles, frames or dt.
        StorageError: storage cannot be reached.
    """
    (found,) = load(source, Selection(q, phi, dt, start_frame, end_frame))
    return found


def load_each_q(
    source: str,
    *,
    phi: Sequence[float] | All = "all",
    dt: float | None = None,
    start_frame: int = 1,
    end_frame: int = -1,
) -> tuple[TwoTimeData, ...]:
    """`load_data` for every q in the file, in ascending order.

    Raises:
        DataError: as `load_data`, or the file has no q.
        StorageError: storage cannot be reached.
    """
    return load(source, Selection("all", phi, dt, start_frame, end_frame))


def load(source: str, chosen: Selection) -> tuple[TwoTimeData, ...]:
    """The chosen data sets of the file at a path or URL: one, or one per q for `q: all`. It raises as `load_data`."""
    folder, name = split(source)
    try:
        raw = Store(folder).read(name)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file") from None
    return parse(raw, Input(source, hashlib.sha256(raw).hexdigest()), chosen)


def parse(raw: bytes, source: Input, chosen: Selection) -> tuple[TwoTimeData, ...]:
    """The chosen data sets of a file whose bytes are given: one, or one per q for `q: all`.

    Raises:
        DataError: the file is damaged, or does not contain the requested q, angles, frames or dt.
    """
    try:
        with layouts.opened(io.BytesIO(raw)) as file:
            catalogue = layouts.catalogue(file)
            return tuple(_one(file, catalogue, q, source, chosen) for q in _each_q(catalogue, chosen.q))
    except Unreadable as error:
        raise DataError(f"{source.path}: {error}") from None


def _one(file: layouts.File, catalogue: Catalogue, q: float | None, source: Input, chosen: Selection) -> TwoTimeData:
    matched_q, candidates = _choose_q(catalogue, q)
    angles, indices = _choose_phi(catalogue, candidates, chosen.phi)
    first, last = _window(catalogue.n_frames, chosen.start_frame, chosen.end_frame)
    dt = _time_step(catalogue, chosen.dt)
    blocks = [layouts.matrix(file, catalogue, index, first - 1, last) for index in indices]
    notes: list[str] = []
    return TwoTimeData(
        c2=np.stack([_complete(block, catalogue, angle, notes) for block, angle in zip(blocks, angles, strict=True)]),
        q=matched_q,
        dt=dt,
        phi=angles,
        start_frame=first,
        source=source.path,
        sha256=source.sha256,
        layout=catalogue.layout,
        notes=tuple(dict.fromkeys(notes)),
    )


def _each_q(catalogue: Catalogue, wanted: float | All | None) -> list[float | None]:
    if wanted != "all":
        return [wanted]
    if catalogue.q is None:
        raise Unreadable(_NO_Q)
    return [float(q) for q in _distinct(catalogue.q)]


def _choose_q(catalogue: Catalogue, wanted: float | None) -> tuple[float, np.ndarray]:
    """The q and the indices of its matrices."""
    every = np.arange(catalogue.n_matrices)
    if catalogue.q is None:
        if wanted is None:
            raise Unreadable(_NO_Q)
        return float(wanted), every
    held = _distinct(catalogue.q)
    if wanted is None:
        if len(held) > 1:
            raise Unreadable(f"holds {len(held)} q values, choose one of {_list(held)} 1/Å, or all")
        wanted = float(held[0])
    near = np.isclose(catalogue.q, wanted, rtol=_Q_RTOL, atol=0)
    if not near.any():
        raise Unreadable(f"holds no q {wanted:g} 1/Å; it holds {_list(held)}")
    return float(catalogue.q[near][0]), every[near]


def _choose_phi(
    catalogue: Catalogue, candidates: np.ndarray, wanted: Sequence[float] | All
) -> tuple[np.ndarray, list[int]]:
    """The chosen angles [degree], and the index of the matrix of each."""
    n = len(candidates)
    if catalogue.phi is None:
        if wanted == "all":
            raise Unreadable(f"holds no angles; give phi [degree], one for each of its {n} matrices")
        if len(wanted) != n:
            raise Unreadable(f"holds {n} matrices without angles, but phi has {len(wanted)} values; give one each")
        return np.asarray(wanted, dtype=np.float64), [int(i) for i in candidates]
    held = catalogue.phi[candidates]
    if len(_distinct(held)) < len(held):
        raise Unreadable(f"holds more than one matrix for an angle at this q (angles {_list(held)})")
    if wanted == "all":
        return held, [int(i) for i in candidates]
    if not len(wanted):
        raise Unreadable("phi is an empty list; give angles [degree], or all")
    chosen = []
    for angle in wanted:
        near = np.flatnonzero(np.abs((held - angle + 180) % 360 - 180) < _PHI_ATOL)
        if not len(near):
            raise Unreadable(f"holds no angle {angle:g}°; it holds {_list(held)}")
        if int(near[0]) in chosen:
            raise Unreadable(f"the angle {angle:g}° is requested twice")
        chosen.append(int(near[0]))
    return held[chosen], [int(candidates[i]) for i in chosen]


def _window(n_frames: int, first: int, last: int) -> tuple[int, int]:
    end = n_frames if last == -1 else last
    if not 1 <= first <= end <= n_frames:
        raise Unreadable(f"holds frames 1 to {n_frames}; start_frame {first}, end_frame {last} are outside")
    if end - first < 4:
        raise Unreadable(f"the window from frame {first} to {end} is too short; a fit needs 5 frames")
    return first, end


def _time_step(catalogue: Catalogue, dt: float | None) -> float:
    """dt [s]; it must agree with the file's time axis, unless that contains frame numbers."""
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise Unreadable(f"expected dt > 0 s, got {dt:g}")
    axis = catalogue.t
    if axis is None:
        if dt is None:
            raise Unreadable("holds no time axis; give dt [s]")
        return dt
    if axis.shape != (catalogue.n_frames,):
        raise Unreadable(f"has a time axis of shape {axis.shape} for {catalogue.n_frames} frames")
    steps = np.diff(axis)
    if not np.isfinite(axis).all() or not (steps > 0).all():
        raise Unreadable("has a time axis that does not increase strictly")
    step = float(np.median(steps))
    if np.abs(steps - step).max() > _DT_RTOL * step:
        raise Unreadable(
            f"has uneven times (steps from {steps.min():g} to {steps.max():g}); the model needs equal steps"
        )
    if np.allclose(axis, np.round(axis), rtol=0, atol=1e-9) and abs(step - 1) < 1e-9:
        # 0, 1, 2, … are frame numbers far more often than seconds.
        if dt is None:
            raise Unreadable("has a time axis that counts frames; give dt [s]")
        return dt
    if dt is None:
        return step
    if abs(step - dt) > _DT_RTOL * dt:
        raise Unreadable(f"has a time axis in steps of {step:g} s, but dt is {dt:g} s")
    return dt


def _complete(block: np.ndarray, catalogue: Catalogue, angle: float, notes: list[str]) -> np.ndarray:
    """The full symmetric matrix with its diagonal replaced: a triangle is mirrored, a full matrix symmetrised.

    A sentence is added to `notes` if the matrix differs from what the layout promises.
    """
    n = len(block)
    upper, lower = np.triu_indices(n, 1), np.tril_indices(n, -1)
    off_diagonal = ~np.eye(n, dtype=bool)
    bad = ~np.isfinite(block) & off_diagonal
    if bad.any():
        i, j = np.argwhere(bad)[0] + 1
        raise Unreadable(
            f"has {int(bad.sum())} values that are not finite at angle {angle:g}°, the first at frames ({i}, {j}) of "
            "the window"
        )
    has_upper, has_lower = (bool(np.any(block[side])) for side in (upper, lower))
    if not (has_upper or has_lower):
        raise Unreadable(f"has nothing but zeros at angle {angle:g}°")
    if has_upper != has_lower:
        if not catalogue.halved:
            notes.append(
                f"half of each matrix is empty, though the {catalogue.layout} layout has both halves; mirrored"
            )
        return without_diagonal(block + block.T)
    if catalogue.halved:
        notes.append(f"the matrices are whole, though the {catalogue.layout} layout has halves; not added up")
    worst = float(np.abs(block - block.T)[off_diagonal].max())
    if worst > 1e-6 * float(np.abs(block[off_diagonal]).max()):
        notes.append(f"the matrix at angle {angle:g}° differs from its transpose by up to {worst:.3g}; averaged")
    return without_diagonal((block + block.T) / 2)


def without_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with its diagonal, which contains shot noise in measured data, replaced by the neighbours' mean."""
    beside = np.diagonal(matrix, 1)
    replaced = matrix.copy()
    np.fill_diagonal(replaced, np.concatenate([beside[:1], (beside[:-1] + beside[1:]) / 2, beside[-1:]]))
    return replaced


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values in ascending order, without those that differ from the previous one by float32 rounding only."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    new = np.concatenate([[True], np.diff(ordered) > _Q_RTOL * np.abs(ordered[1:])])
    return np.asarray(ordered[new])


def _list(values: np.ndarray) -> str:
    shown = [f"{value:.8g}" for value in values[:20]]
    return ", ".join(shown) + (f", … ({len(values)} in all)" if len(values) > 20 else "")

"""Read measured two-time correlations: one window of frames, one q, chosen angles; ambiguous data are an error."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanewise.errors import DataError
from lanewise.families.heterodyne import archive, beamlines, c2, choice, frames, timing
from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.c2 import TimeOrigin
from lanewise.families.heterodyne.catalogue import Catalogue
from lanewise.families.heterodyne.config import All, Selection, checked
from lanewise.storage import inputs
from lanewise.storage.inputs import Input

# A matrix whose two halves differ by more than this share of its spread is no correlation of two frames.
_LARGEST_ASYMMETRY = 0.5
# A correlation of intensities is near 1; beyond this, squares lose all digits of the rest.
_LARGEST = 1e9


@dataclass(frozen=True)
class TwoTimeData:
    """The data of one fit.

    Attributes:
        c2: symmetric correlations, shape (n_phi, N, N); NaN for pairs of frames that do not count, the same at every
            angle. The diagonal is replaced by the mean of its neighbours.
        q: scattering vector [1/Å]; with several of them, that of each matrix, shape (n_phi,).
        dt: time between frames [s], or between bins of frames.
        phi: angle of each matrix [degree].
        start_frame: first frame of the window, counted from 1.
        bin_frames: number of frames of the file that were averaged into one.
        source: path or URL of the file, as the user gave it.
        sha256: SHA-256 of the whole file; with links, of the list of the SHA-256 of all files that were read.
        layout: name of the layout that was recognised.
        n_pixels: number of pixels of each matrix; None if the file does not say.
        notes: changes made to the numbers of the file, and what stands out in them, one sentence each.
    """

    c2: np.ndarray
    q: float | np.ndarray
    dt: float
    phi: np.ndarray
    start_frame: int = 1
    bin_frames: int = 1
    source: str = ""
    sha256: str = ""
    layout: str = ""
    n_pixels: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames in the window, or of bins of frames."""
        return int(self.c2.shape[-1])

    @property
    def end_frame(self) -> int:
        """Last frame of the window, counted from 1."""
        return self.start_frame + self.n_frames * self.bin_frames - 1

    def ages(self, time_origin: TimeOrigin) -> np.ndarray:
        """Age of each frame [s], shape (N,); of a bin, the mean of those of its frames."""
        n, size = self.n_frames, self.bin_frames
        of_frames = c2.time_grid(n * size, self.dt / size, self.start_frame, time_origin)
        return np.asarray(of_frames.reshape(n, size).mean(axis=1))

    @property
    def counted(self) -> np.ndarray:
        """Which pairs of frames count, shape (N, N), symmetric; the diagonal does not."""
        return np.asarray(np.isfinite(self.c2).all(axis=0) & ~np.eye(self.n_frames, dtype=bool))


def load_data(
    source: str,
    *,
    q: float | None = None,
    phi: Sequence[float] | All = "all",
    dt: float | None = None,
    start_frame: int = 1,
    end_frame: int = -1,
    dt_insist: bool = False,
    **more: Any,
) -> TwoTimeData:
    """Read one data set from an HDF5 or NPZ file.

    Args:
        source: path or fsspec URL. The layout is recognised, or described by `keys`.
        q: scattering vector [1/Å]; must be in the file. None takes the only q of the file.
        phi: angles [degree], each of which must be in the file (modulo 360), or all of them. If the file has no
            angles, these are the angles of its matrices.
        dt: time between frames [s]; None takes it from the file. It must agree with what the file says.
        start_frame: first frame, counted from 1.
        end_frame: last frame, inclusive; −1 means the last of the file.
        dt_insist: use dt even if the file contradicts it.
        more: other keys of the section `data` of a config, such as mask_frames.

    Raises:
        DataError: the file cannot be read, or does not contain the requested q, angles, frames or dt.
        ManifestError: a value of `more` is invalid.
        StorageError: storage cannot be reached.
    """
    (found,) = load(source, _selection(Selection(q, phi, dt, start_frame, end_frame, dt_insist), more))
    return found


def load_each_q(
    source: str,
    *,
    phi: Sequence[float] | All = "all",
    dt: float | None = None,
    start_frame: int = 1,
    end_frame: int = -1,
    dt_insist: bool = False,
    **more: Any,
) -> tuple[TwoTimeData, ...]:
    """`load_data` for every q in the file, in ascending order.

    Raises:
        DataError: as `load_data`, or the file has no q.
        ManifestError: a value of `more` is invalid.
        StorageError: storage cannot be reached.
    """
    return load(source, _selection(Selection("all", phi, dt, start_frame, end_frame, dt_insist), more))


def load(source: str, chosen: Selection) -> tuple[TwoTimeData, ...]:
    """The chosen data sets of the file at a path or URL, one per q. It raises as `load_data`."""
    return read(inputs.pin(source, digest), chosen, source)


def labels(source: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """q [1/Å] and angle [degree] of each matrix of a file; None if the file does not have them.

    Raises:
        DataError: the file cannot be read.
        StorageError: storage cannot be reached.
    """
    try:
        with archive.opened(inputs.read(inputs.pin(source, digest), digest), inputs.local(source)) as file:
            catalogue = beamlines.catalogue(file, Selection(train=1))
    except Unreadable as error:
        raise DataError(f"{source}: {error}") from None
    return catalogue.q, catalogue.phi


def read(one: Input, chosen: Selection, shown: str = "") -> tuple[TwoTimeData, ...]:
    """The chosen data sets of a pinned file, one per q.

    Args:
        shown: the file's name in messages; by default its path.

    Raises:
        DataError: the file is gone, changed or damaged, or does not contain the requested q, angles, frames or dt.
        StorageError: storage cannot be reached.
    """
    covered: tuple[str, ...] = ()

    def checked_digest(path: str, raw: bytes) -> str:
        nonlocal covered
        covered = _linked(path, raw)
        return archive.digest(raw, covered)

    raw = inputs.read(one, checked_digest)
    shown = shown or one.path
    try:
        with archive.opened(raw, inputs.local(one.path)) as file:
            catalogue = beamlines.catalogue(file, chosen)
            found = tuple(
                replace(_one(file, catalogue, q, chosen), source=shown, sha256=one.sha256)
                for q in choice.each_q(catalogue, chosen.q)
            )
            for path in set(file.sources) - set(covered):
                raise Unreadable(f"takes data from {path}, which its SHA-256 does not cover; copy them into one file")
            return found
    except Unreadable as error:
        raise DataError(f"{shown}: {error}") from None


def shape(one: Input, chosen: Selection) -> tuple[int, int]:
    """Number of matrices and of frames (or bins of frames) of the chosen data of a pinned file; reads no matrix.

    Raises:
        DataError, StorageError: as `read`.
    """
    raw = inputs.read(one, digest)
    try:
        with archive.opened(raw, inputs.local(one.path)) as file:
            catalogue = beamlines.catalogue(file, chosen)
            each = [_chosen(catalogue, q, chosen) for q in choice.each_q(catalogue, chosen.q)]
    except Unreadable as error:
        raise DataError(f"{one.path}: {error}") from error
    n_frames = max(last - first + 1 for *_, (first, last) in each)
    return sum(len(indices) for _, _, indices, _ in each), n_frames // chosen.bin_frames


def joined(parts: Sequence[TwoTimeData]) -> TwoTimeData:
    """Data sets of one file at several q as one, for a fit with shared parameters; a single one as it is.

    A pair of frames counts if it does at every q.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    c2 = np.concatenate([one.c2 for one in parts])
    pixels = [one.n_pixels for one in parts if one.n_pixels is not None]
    return replace(
        first,
        c2=np.where(np.isfinite(c2).all(axis=0), c2, np.nan),
        q=np.concatenate([np.full(len(one.phi), one.q) for one in parts]),
        phi=np.concatenate([one.phi for one in parts]),
        n_pixels=np.concatenate(pixels) if len(pixels) == len(parts) else None,
        notes=tuple(dict.fromkeys(note for one in parts for note in one.notes)),
    )


def digest(path: str, raw: bytes) -> str:
    """SHA-256 of a data file and of the files that it takes data from; of the file alone if there are none.

    Raises:
        StorageError: a linked file cannot be read.
    """
    return archive.digest(raw, _linked(path, raw))


def _linked(path: str, raw: bytes) -> tuple[str, ...]:
    """Paths of the files that a layout takes data from; all that the file leads to, if it has no known layout.

    What cannot be read is reported when it is fitted: the other files of a campaign are not affected.
    """
    with contextlib.suppress(Unreadable), archive.opened(raw, inputs.local(path)) as file:
        try:
            catalogue = beamlines.catalogue(file, Selection(train=1))
        except Unreadable:
            file.visit()
            return file.sources
        with contextlib.suppress(Unreadable):
            catalogue.n_pixels([0])
        for index in range(catalogue.n_matrices):
            with contextlib.suppress(Unreadable):
                catalogue.times(catalogue.n_frames(index), [])
        return file.sources
    return ()


def _selection(chosen: Selection, more: Mapping[str, Any]) -> Selection:
    """The selection with these other keys, which are checked as those of a config are."""
    others = checked({"data": dict(more)}).data
    return replace(chosen, **{key: getattr(others, key) for key in more})


def _chosen(
    catalogue: Catalogue, q: float | None, chosen: Selection
) -> tuple[float, np.ndarray, list[int], tuple[int, int]]:
    """q, angles and indices of the chosen matrices, and the first and last frame of the window."""
    matched_q, candidates = choice.choose_q(catalogue, q)
    angles, indices = choice.choose_phi(catalogue, candidates, chosen.phi)
    window = choice.window(_same_length(catalogue, indices), chosen.start_frame, chosen.end_frame)
    return matched_q, angles, indices, window


def _one(file: Archive, catalogue: Catalogue, q: float | None, chosen: Selection) -> TwoTimeData:
    matched_q, angles, indices, (first, last) = _chosen(catalogue, q, chosen)
    n_frames = catalogue.n_frames(indices[0])
    notes = list(catalogue.notes)
    dt = timing.time_step(catalogue.times(n_frames, notes), catalogue.frame, n_frames, chosen, notes)
    raw = np.stack(
        [
            _whole(catalogue.block(index, first - 1, last), catalogue, angle, notes)
            for index, angle in zip(indices, angles, strict=True)
        ]
    )
    pairs = frames.counted(raw, chosen.mask_frames, chosen.mask_pairs or (), first, notes)
    _check_values(raw, pairs, angles, first)
    matrices = np.where(pairs, raw + catalogue.baseline, np.nan)
    if sentence := frames.standing_out(matrices, first):
        notes.append(sentence)
    if chosen.bin_frames > 1:
        matrices = frames.binned(matrices, chosen.bin_frames, first, notes)
    return TwoTimeData(
        c2=np.stack([without_diagonal(matrix) for matrix in matrices]),
        q=matched_q,
        dt=dt * chosen.bin_frames,
        phi=angles,
        start_frame=first,
        bin_frames=chosen.bin_frames,
        layout=catalogue.layout,
        n_pixels=catalogue.n_pixels(indices),
        notes=tuple(dict.fromkeys(notes)),
    )


def _same_length(catalogue: Catalogue, indices: Sequence[int]) -> int:
    lengths = {catalogue.n_frames(index) for index in indices}
    if len(lengths) > 1:
        raise Unreadable(
            f"has matrices of {' and '.join(map(str, sorted(lengths)))} frames at this q; expected one length"
        )
    return lengths.pop()


def _whole(block: np.ndarray, catalogue: Catalogue, angle: float, notes: list[str]) -> np.ndarray:
    """The symmetric matrix: a triangle is mirrored, a whole matrix symmetrised.

    A sentence is added to `notes` if the matrix differs from what the layout promises.
    """
    n, block = len(block), np.where(np.isfinite(block), block, np.nan)
    upper, lower = np.triu(block, 1), np.tril(block, -1)
    has_upper, has_lower = (bool(np.any(np.isfinite(side) & (side != 0))) for side in (upper, lower))
    if not (has_upper or has_lower):
        raise Unreadable(f"has nothing but zeros or NaN at angle {angle:g}°")
    if has_upper != has_lower:
        if not catalogue.halved:
            notes.append(
                f"half of each matrix is empty, though the {catalogue.layout} layout has both halves; mirrored"
            )
        half = upper if has_upper else lower
        return np.asarray(half + half.T)
    if catalogue.halved:
        notes.append(f"the matrices are whole, though the {catalogue.layout} layout has halves; not added up")
    # NaN is not below any limit. A value above it is reported unless its frame is masked.
    known = (np.abs(block) < _LARGEST) & (np.abs(block.T) < _LARGEST) & ~np.eye(n, dtype=bool)
    values, difference = block[known], (block - block.T)[known]
    if not known.any():
        raise Unreadable(f"has no pair of frames with a number in both halves of the matrix at angle {angle:g}°")
    if np.sqrt(np.mean(difference**2)) > _LARGEST_ASYMMETRY * np.std(values):
        raise Unreadable(
            f"has a matrix at angle {angle:g}° that is not symmetric, though c2 is the same at frames (i, j) and "
            "(j, i): its axes are not two frames, or the rows are reversed"
        )
    worst = float(np.abs(difference).max())
    if worst > 1e-6 * float(np.abs(values).max()):
        notes.append(f"the matrix at angle {angle:g}° differs from its transpose by up to {worst:.3g}; averaged")
    return np.asarray((block + block.T) / 2)


def _check_values(raw: np.ndarray, pairs: np.ndarray, angles: np.ndarray, first: int) -> None:
    for matrix, angle in zip(raw, angles, strict=True):
        bad = ~np.isfinite(matrix) & pairs
        if bad.any():
            i, j = np.argwhere(bad)[0] + first
            per_frame = bad.sum(axis=0)
            raise Unreadable(
                f"has {int(bad.sum()) // 2} pairs with values that are not finite at angle {angle:g}°, the first at "
                f"frames ({i}, {j}), most at {frames.named(per_frame == per_frame.max(), first)}; mask them: "
                "data.mask_frames or data.mask_pairs"
            )
        if (largest := float(np.abs(matrix[pairs]).max())) > _LARGEST:
            raise Unreadable(f"has values up to {largest:.3g} at angle {angle:g}°; a correlation is near 1")
        if np.ptp(matrix[pairs]) == 0:
            raise Unreadable(f"has the same value {matrix[pairs][0]:g} everywhere at angle {angle:g}°; nothing to fit")


def without_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with its diagonal, which contains shot noise in measured data, replaced by the neighbours' mean."""
    beside = np.diagonal(matrix, 1)
    replaced = matrix.copy()
    np.fill_diagonal(replaced, np.concatenate([beside[:1], (beside[:-1] + beside[1:]) / 2, beside[-1:]]))
    return replaced

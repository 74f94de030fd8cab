"""The contents of a data file in one form for every layout, and what the layouts share to find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.families.heterodyne import units
from lanewise.families.heterodyne.archive import Archive, Unreadable
from lanewise.families.heterodyne.config import Quantity, Units
from lanewise.families.heterodyne.timing import FrameTime, TimeAxis

Length = Callable[[int], int]
Block = Callable[[int, int, int], np.ndarray]
Times = Callable[[int, list[str]], TimeAxis | None]
# Names of keys that may hold the delays of the g2 in place of the times of the frames.
_DELAYS = {"tau", "delay_time"}
SHOWN = 20


@dataclass(frozen=True)
class Catalogue:
    """The contents of a file, without its matrices.

    Attributes:
        layout: name of the layout.
        n_matrices: number of matrices.
        n_frames: gives the number of rows of a matrix; it raises if the matrix is not square.
        block: gives frames start to stop (0-based, stop exclusive) of a matrix, shape (stop − start,) * 2, float64.
        halved: whether the layout stores one triangle only.
        q, phi: q [1/Å] and angle [degree] of each matrix, shape (n_matrices,); None if they are not in the file. NaN
            where the file has no number.
        times: gives the time axis of the file for a number of frames, or None; it adds to the notes.
        frame: time between rows by the settings of the detector; None if the file does not have it.
        n_pixels: gives the number of pixels of each of these matrices; None if the file does not say.
        baseline: what is added to the matrices: 1 if the file stores c2 − 1.
        names: name of each matrix for messages; empty if they have none.
        notes: conversions and decisions so far, one sentence each.
    """

    layout: str
    n_matrices: int
    n_frames: Length
    block: Block
    halved: bool
    q: np.ndarray | None
    phi: np.ndarray | None
    times: Times
    frame: FrameTime | None = None
    n_pixels: Callable[[list[int]], np.ndarray | None] = lambda _: None
    baseline: float = 0.0
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def stacked(file: Archive, key: str, last: bool = False, flipped: bool = False) -> tuple[int, Length, Block]:
    """Number of matrices in one array, and the functions `n_frames` and `block` of a `Catalogue`.

    Args:
        last: whether the last axis counts the matrices.
        flipped: whether the rows are in reverse order.
    """
    shape = file.shape(key)
    square = shape[:2] if last and len(shape) == 3 else shape[-2:]
    if len(shape) not in {2, 3} or len(set(square)) != 1 or 0 in shape:
        raise Unreadable(f"has {key} of shape {shape}; expected {'(N, N, n)' if last else '(N, N) or (n, N, N)'}")
    n = square[0]

    def block(index: int, start: int, stop: int) -> np.ndarray:
        frames = slice(start, stop)
        rows = slice(n - stop, n - start) if flipped else frames
        where = (rows, frames) if len(shape) == 2 else (rows, frames, index) if last else (index, rows, frames)
        found = file.read(key, where)
        return found[::-1] if flipped else found

    return 1 if len(shape) == 2 else shape[-1 if last else 0], lambda _: n, block


def quantity(file: Archive, kind: Quantity, key: str, given: Units, notes: list[str]) -> np.ndarray:
    """All values of q or the angle at a key in our units; NaN where there is no number.

    Raises:
        Unreadable: there is no number at all, or the unit is not known.
    """
    values = file.read(key).ravel()
    if not np.isfinite(values).any():
        raise Unreadable(f"has no finite numbers in {key}")
    unit = given.of(kind) or units.attribute(file, key) or units.OURS[kind]
    return units.convert(values, kind, unit, key, notes)


def vector(file: Archive, key: str) -> np.ndarray:
    """All numbers at a key.

    Raises:
        Unreadable: there are none, or some are not finite.
    """
    values = file.read(need(file, key)).ravel()
    if not values.size or not np.isfinite(values).all():
        raise Unreadable(f"has no finite numbers in {key}")
    return values


def need(file: Archive, key: str) -> str:
    """The key, if the file has it."""
    if not file.has(key):
        raise Unreadable(f"has no {key}, which its layout needs")
    return key


def spread(values: np.ndarray, n: int, key: str) -> np.ndarray:
    """One value per matrix: as many as matrices, or a single one for all."""
    if len(values) not in {1, n}:
        raise Unreadable(f"has {len(values)} values in {key} for {n} matrices")
    return np.broadcast_to(values, (n,)).copy()


def listed(values: np.ndarray) -> str:
    """The distinct values for a message, in ascending order; the first twenty."""
    ordered = np.unique(values[np.isfinite(values)])
    shown = [f"{value:.8g}" for value in ordered[:SHOWN]]
    return (", ".join(shown) or "none") + (f", … ({len(ordered)} in all)" if len(ordered) > SHOWN else "")


def separate(file: Archive, keys: tuple[str, ...]) -> tuple[Length, Block]:
    """The functions `n_frames` and `block` of matrices in an array each."""

    def n_frames(index: int) -> int:
        shape = file.shape(keys[index])
        if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
            raise Unreadable(f"has {keys[index]} of shape {shape}; expected (N, N)")
        return shape[0]

    def block(index: int, start: int, stop: int) -> np.ndarray:
        return file.read(keys[index], (slice(start, stop), slice(start, stop)))

    return n_frames, block


def time_axis(file: Archive, keys: Sequence[str], given: Units) -> Times:
    """The function `times` of a `Catalogue`: the first of the keys with a time axis.

    An array under a key for delays is a time axis only if it has as many values as there are frames.
    """

    def times(n_frames: int, notes: list[str]) -> TimeAxis | None:
        for key in (one for one in keys if file.has(one)):
            values = file.read(key).ravel()
            if key.rsplit("/", 1)[-1] in _DELAYS and len(values) != n_frames:
                notes.append(f"{key} has {len(values)} values for {n_frames} frames: delays, not a time axis; not used")
                continue
            return TimeAxis(values, given.t or units.attribute(file, key), key)
        return None

    return times

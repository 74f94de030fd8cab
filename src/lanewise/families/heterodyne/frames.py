"""Which pairs of frames count, and which frames stand out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from lanewise.families.heterodyne.archive import Unreadable
from lanewise.families.heterodyne.config import frame_range

# `auto` masks at most this share of the frames: a file with more of them is another kind of file.
_LARGEST_SHARE = 0.25
# A frame stands out if its mean correlation is this many times the usual scatter away from that of its neighbours, and
# by this share of the spread of all values: without noise, the scatter is only the curvature of the level.
_STANDS_OUT, _SHARE = 8.0, 0.05
_NEIGHBOURS = 4
_MAD_TO_SIGMA = 1.4826
_NAMED = 10
# Frames, or bins of frames, that a fit needs.
FEWEST = 5


def counted(
    raw: np.ndarray,
    mask_frames: Literal["auto"] | Sequence[int | str],
    mask_pairs: Sequence[str],
    first: int,
    notes: list[str],
) -> np.ndarray:
    """Which pairs of frames count, shape (N, N), symmetric; the diagonal does not.

    Args:
        raw: whole matrices as the file has them, shape (n_phi, N, N).
        mask_frames: frames of the file, counted from 1, ranges such as "40-42", and "auto" for the frames without
            any number but NaN and 0.
        mask_pairs: blocks of pairs such as "40-42 x 60-80".
        first: number of the first frame of the window in the file.

    Raises:
        Unreadable: `auto` finds too many frames, or nothing is left.
    """
    n = raw.shape[-1]
    entries = ("auto",) if mask_frames == "auto" else tuple(mask_frames)
    asked, out = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    asked[_places([one for one in entries if one != "auto"], n, first)] = True
    if "auto" in entries:
        out = _empty(raw) & ~asked
        if out.sum() > _LARGEST_SHARE * n:
            raise Unreadable(
                f"has {out.sum()} of {n} frames with nothing but NaN or zeros: {named(out, first)}; if this is right, "
                "name them in data.mask_frames"
            )
    for masked, why in ((out, "because they have nothing but NaN or zeros"), (asked, "as the config asks")):
        if masked.any():
            notes.append(f"masked, {why}: {named(masked, first)}")
    out |= asked
    pairs = ~(out[:, None] | out | np.eye(n, dtype=bool))
    for block in mask_pairs:
        rows, columns = (_places([side], n, first) for side in block.split(" x "))
        pairs[np.ix_(rows, columns)] = pairs[np.ix_(columns, rows)] = False
        notes.append(f"masked, as the config asks: the pairs of frames {block}, counted from 1")
    if not pairs.any():
        raise Unreadable("has no pair of frames left: every one is masked")
    return pairs


def binned(c2: np.ndarray, size: int, first: int, notes: list[str]) -> np.ndarray:
    """Means over blocks of size × size pairs of frames; a block of which less than half counts does not count.

    Args:
        c2: whole matrices, NaN where a pair does not count, shape (n_phi, N, N).

    Raises:
        Unreadable: fewer than five bins are left.
    """
    n = c2.shape[-1] // size
    if n < FEWEST:
        raise Unreadable(f"has {c2.shape[-1]} frames, in {n} bins of {size}; a fit needs {FEWEST}")
    text = f"averaged: {size} frames each, {n} bins"
    if rest := c2.shape[-1] - n * size:
        last = np.arange(c2.shape[-1]) >= n * size
        text += f"; left over at the end: {named(last, first)}"
        c2 = c2[:, :-rest, :-rest]
    notes.append(text)
    blocks = c2.reshape(len(c2), n, size, n, size)
    known = np.isfinite(blocks)
    count = known.sum(axis=(2, 4))
    # A pair of frames is masked at every angle or at none.
    usable = 2 * count >= size**2
    total = np.where(known, blocks, 0.0).sum(axis=(2, 4))
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=usable))


def standing_out(c2: np.ndarray, first: int) -> str:
    """A sentence about frames whose correlations with all others differ from those of their neighbours; or "".

    The first and the last four frames are not judged: they have neighbours on one side only.

    Args:
        c2: whole matrices, NaN where a pair does not count, shape (n_phi, N, N).
    """
    known = np.isfinite(c2)
    total, count = np.where(known, c2, 0.0).sum(axis=2), known.sum(axis=2)
    level = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    away = np.array([one - _running_median(one) for one in level])
    if not np.isfinite(away).any(axis=1).all():
        return ""
    usual = _MAD_TO_SIGMA * np.nanmedian(np.abs(away), axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.nanmax(np.where(np.isfinite(away), np.abs(away) / usual, 0.0), axis=0, initial=0.0)
    far = np.nan_to_num(np.abs(away)).max(axis=0) > _SHARE * np.std(c2[known])
    out = far & np.isfinite(times) & (times > _STANDS_OUT)
    if not out.any():
        return ""
    listed = ", ".join(_ranges(np.flatnonzero(out) + first))
    return (
        f"standing out, with correlations up to {times[out].max():.0f} times the usual scatter away from those of "
        f"neighbouring frames: {named(out, first)}; if it is a fault, mask it: data.mask_frames: [auto, {listed}]"
    )


def named(out: np.ndarray, first: int) -> str:
    """The frames for a message, by their numbers in the file: `frames 3, 40-42 (counted from 1)`."""
    ranges = _ranges(np.flatnonzero(out) + first)
    shown = ", ".join(ranges[:_NAMED]) + (f", … ({int(out.sum())} in all)" if len(ranges) > _NAMED else "")
    return f"frame{'s' if out.sum() > 1 else ''} {shown} (counted from 1)"


def _places(entries: Iterable[int | str], n: int, first: int) -> np.ndarray:
    """Positions in the window of the frames that are within it."""
    found = [np.arange(low, high + 1) - first for low, high in map(frame_range, entries)]
    places = np.concatenate([np.empty(0, dtype=int), *found])
    return np.unique(places[(places >= 0) & (places < n)])


def _empty(raw: np.ndarray) -> np.ndarray:
    """Frames that at some angle have nothing but NaN and zeros."""
    nothing = ~np.isfinite(raw) | (raw == 0) | np.eye(raw.shape[-1], dtype=bool)
    return np.asarray(nothing.all(axis=2).any(axis=0))


def _running_median(level: np.ndarray) -> np.ndarray:
    """Median of the neighbours on both sides, without the frame itself; NaN where a side has too few."""
    median = np.full(len(level), np.nan)
    if len(level) > 2 * _NEIGHBOURS:
        windows = np.lib.stride_tricks.sliding_window_view(level, 2 * _NEIGHBOURS + 1)
        beside = np.delete(windows, _NEIGHBOURS, axis=1)
        known = np.isfinite(beside).any(axis=1)
        median[_NEIGHBOURS:-_NEIGHBOURS][known] = np.nanmedian(beside[known], axis=1)
    return median


def _ranges(numbers: np.ndarray) -> list[str]:
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return [str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in groups if len(part)]

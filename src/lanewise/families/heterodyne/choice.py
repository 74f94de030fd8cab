"""The q, the angles and the frames that are fitted, out of those that a file has; an ambiguous choice is an error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lanewise.families.heterodyne.archive import Unreadable
from lanewise.families.heterodyne.catalogue import Catalogue, listed
from lanewise.families.heterodyne.config import All
from lanewise.families.heterodyne.frames import FEWEST

# Files store float32: a chosen value must equal a value of the file to that precision; the nearest is not enough.
_Q_RTOL = 1e-5
_PHI_ATOL = 1e-3
_NO_Q = "holds no q; give its q [1/Å]"


def each_q(catalogue: Catalogue, wanted: float | Sequence[float] | All | None) -> Sequence[float | None]:
    """The q of each data set: those of the file in ascending order for `all`, else what is wanted."""
    if wanted != "all":
        return [wanted] if wanted is None or isinstance(wanted, float | int) else wanted
    if catalogue.q is None:
        raise Unreadable(_NO_Q)
    return [float(q) for q in _held_q(catalogue.q)]


def choose_q(catalogue: Catalogue, wanted: float | None) -> tuple[float, np.ndarray]:
    """The q and the indices of its matrices."""
    every = np.arange(catalogue.n_matrices)
    if catalogue.q is None:
        if wanted is None:
            raise Unreadable(_NO_Q)
        return float(wanted), every
    held = _held_q(catalogue.q)
    if wanted is None:
        if len(held) > 1:
            raise Unreadable(f"holds {len(held)} q values, choose one of {listed(held)} 1/Å, or all")
        wanted = float(held[0])
    near = np.isclose(catalogue.q, wanted, rtol=_Q_RTOL, atol=0)
    if not near.any():
        raise Unreadable(f"holds no q {wanted:g} 1/Å; it holds {listed(held)}")
    return float(catalogue.q[near][0]), every[near]


def choose_phi(
    catalogue: Catalogue, candidates: np.ndarray, wanted: Sequence[float] | All
) -> tuple[np.ndarray, list[int]]:
    """The chosen angles [degree], and the index of the matrix of each."""
    n = len(candidates)
    if catalogue.phi is None:
        names = f" ({', '.join(catalogue.names[i] for i in candidates)})" if catalogue.names else ""
        if wanted == "all":
            raise Unreadable(f"holds no angles; give phi [degree], one for each of its {n} matrices{names}")
        if len(wanted) != n:
            raise Unreadable(
                f"holds {n} matrices without angles{names}, but phi has {len(wanted)} values; give one each"
            )
        return np.asarray(wanted, dtype=np.float64), [int(i) for i in candidates]
    held = catalogue.phi[candidates]
    if wanted == "all" and not np.isfinite(held).all():
        raise Unreadable(f"has a matrix without an angle at this q; choose phi from {listed(held)}")
    if not len(wanted):
        raise Unreadable("phi is an empty list; give angles [degree], or all")
    chosen: list[int] = []
    for angle in held if wanted == "all" else wanted:
        near = np.flatnonzero(np.abs((held - angle + 180) % 360 - 180) < _PHI_ATOL)
        if not len(near):
            raise Unreadable(f"holds no angle {angle:g}°; it holds {listed(held)}")
        if len(near) > 1:
            raise Unreadable(f"holds more than one matrix for an angle at this q (angle {angle:g}° of {listed(held)})")
        if int(near[0]) in chosen:
            raise Unreadable(f"the angle {angle:g}° is requested twice")
        chosen.append(int(near[0]))
    return held[chosen], [int(candidates[i]) for i in chosen]


class OutsideFile(Unreadable):
    """The config asks for frames that the file does not have; another one would not help."""


def window(n_frames: int, first: int, last: int) -> tuple[int, int]:
    """First and last frame, counted from 1, inclusive; a last one of −1 is that of the file."""
    end = n_frames if last == -1 else last
    if not 1 <= first <= end <= n_frames:
        raise OutsideFile(f"holds frames 1 to {n_frames}; start_frame {first}, end_frame {last} are outside")
    if end - first + 1 < FEWEST:
        raise Unreadable(f"the window from frame {first} to {end} is too short; a fit needs {FEWEST} frames")
    return first, end


def _held_q(values: np.ndarray) -> np.ndarray:
    """The q of the file in ascending order, without those that differ from the previous one by float32 rounding."""
    ordered = np.sort(values[values > 0])
    if not len(ordered):
        raise Unreadable(f"holds no q > 0, but {listed(values)}")
    new = np.concatenate([[True], np.diff(ordered) > _Q_RTOL * ordered[1:]])
    return np.asarray(ordered[new])

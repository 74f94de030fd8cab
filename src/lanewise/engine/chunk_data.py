"""The data of a chunk's members: made when a lane needs them, checked, padded, prepared."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lanewise.errors import InputUnreachable
from lanewise.machine import interrupts
from lanewise.manifest.plan import Realization
from lanewise.manifest.problem import Observation, Problem
from lanewise.manifest.status import LaneStatus

# Shape of an observation's arrays, see `Observation.shape`.
Shape = tuple[int, ...]
MASK = "mask"
# Padded numbers of rows: four per factor of two, so that at most a fifth of the rows are padding.
_STEPS = 4


class MemberAt(NamedTuple):
    """A member of a realization; `place` is that of the realization in the chunk."""

    place: int
    member: int


class Unit(NamedTuple):
    """What one lane computes: a chain (or start) of a member."""

    place: int
    member: int
    chain: int

    @property
    def part(self) -> MemberAt:
        """The member that it belongs to."""
        return MemberAt(self.place, self.member)


@dataclass(frozen=True)
class Unusable:
    """Why data cannot be made or used, with status OK where there are none; `truth`: the known parameters."""

    status: LaneStatus
    reason: str
    truth: Mapping[str, float]


class ChunkData:
    """The observations of a chunk's realizations, and the arrays of their members.

    Args:
        observe: the observation of a realization.
        problem: prepares the arrays.
        n_kept: number of members whose arrays are kept for their next lane.
        of_shape: the problem that prepares the arrays of observations with a shape of their own; None: `problem`.
    """

    def __init__(
        self,
        realizations: Sequence[Realization],
        observe: Callable[[Realization], Observation],
        problem: Problem,
        n_kept: int,
        of_shape: Callable[[Shape], Problem] | None = None,
    ) -> None:
        self._n_kept = n_kept
        self._observations = [self._observed(observe, realization) for realization in realizations]
        self._prepare_by(of_shape or (lambda _: problem))
        for place, seen in enumerate(self._observations):
            # One member: an error in its data is the realization's, and is found before anything is computed.
            if isinstance(seen, Observation) and len(seen.members) == 1:
                self.arrays(MemberAt(place, 0))

    def prepared_by(self, problem: Problem) -> ChunkData:
        """The same observations, with arrays that another problem prepares."""
        found = copy.copy(self)
        found._prepare_by(lambda _: problem)
        return found

    def observation(self, place: int) -> Observation | Unusable:
        """The realization's observation, or why there is none."""
        return self._observations[place]

    def parts(self, place: int) -> list[MemberAt]:
        """The members of a realization; none if it has no observation."""
        seen = self._observations[place]
        return [MemberAt(place, at) for at in range(len(seen.members))] if isinstance(seen, Observation) else []

    def shape(self, place: int) -> Shape:
        """The shape that the realization's observation has of its own."""
        seen = self._observations[place]
        return seen.shape if isinstance(seen, Observation) else ()

    def rows(self, part: MemberAt) -> int:
        """Rows of a member's ragged arrays after padding; 0 without ragged arrays."""
        seen = self._observations[part.place]
        assert isinstance(seen, Observation)
        return (seen.padded or padded(seen.sizes[part.member])) if seen.ragged else 0

    def arrays(self, part: MemberAt) -> Mapping[str, np.ndarray] | Unusable:
        """A member's prepared arrays, or why they cannot be used; what was unusable once stays so."""
        if part in self._unusable:
            return self._unusable[part]
        if part not in self._arrays:
            made = self._made(part)
            if isinstance(made, Unusable):
                self._unusable[part] = made
                return made
            self._arrays[part] = made
            while len(self._arrays) > self._n_kept:
                self._arrays.popitem(last=False)
        return self._arrays[part]

    def unusable(self, part: MemberAt) -> Unusable | None:
        """Why a member's data could not be used; None if no lane has found a fault."""
        return self._unusable.get(part)

    def largest(self, place: int) -> MemberAt | None:
        """The member with data and the most rows of a realization; None if it has no member with data."""
        parts = sorted(self.parts(place), key=self.rows, reverse=True)
        return next((part for part in parts if not isinstance(self.arrays(part), Unusable)), None)

    def _prepare_by(self, problem_of: Callable[[Shape], Problem]) -> None:
        self._problem_of = problem_of
        self._arrays: OrderedDict[MemberAt, Mapping[str, np.ndarray]] = OrderedDict()
        self._unusable: dict[MemberAt, Unusable] = {}

    def _observed(
        self, observe: Callable[[Realization], Observation], realization: Realization
    ) -> Observation | Unusable:
        interrupts.stop_here()
        try:
            return observe(realization)
        except InputUnreachable:
            raise  # not a property of the data: a later attempt may succeed
        except Exception as error:  # the border where one realization's failure becomes its record
            return _failed(error, realization.planned.truth)

    def _made(self, part: MemberAt) -> Mapping[str, np.ndarray] | Unusable:
        seen = self._observations[part.place]
        assert isinstance(seen, Observation)
        interrupts.stop_here()
        try:
            data = seen.members[part.member]
            if data is None:
                return Unusable(LaneStatus.OK, "", seen.truth)
            bad = {name: int(np.sum(~np.isfinite(array))) for name, array in data.items()}
            if any(bad.values()):
                what = ", ".join(
                    f"{count} of {data[name].size} values of {name}" for name, count in bad.items() if count
                )
                reason = f"Not finite: {what}; nothing was inferred."
                return Unusable(LaneStatus.NON_FINITE, reason, seen.truth)
            if seen.ragged:
                data = masked(data, seen.ragged, seen.sizes[part.member], self.rows(part))
        except InputUnreachable:
            raise  # as above
        except Exception as error:  # the border where one member's failure becomes its record
            return _failed(error, seen.truth)
        return self._problem_of(seen.shape).prepare(data)


def _failed(error: Exception, truth: Mapping[str, float]) -> Unusable:
    reason = f"{LaneStatus.FAILED.sentence} {type(error).__name__}: {error}"
    return Unusable(LaneStatus.FAILED, reason, truth)


def padded(n_rows: int) -> int:
    """Number of rows that a member with `n_rows` is padded to.

    It depends on the member alone: the bits of a sum over rows depend on their number, and must not depend on a
    lane's neighbours.
    """
    step = max(1, (1 << max(n_rows - 1, 1).bit_length() - 1) // _STEPS)
    return -(-n_rows // step) * step


def masked(
    data: Mapping[str, np.ndarray], ragged: Iterable[str], n_rows: int, n_padded: int
) -> Mapping[str, np.ndarray]:
    """A member's data with `n_padded` rows, and their mask.

    Padding repeats the first row: a density that leaves it out by the mask is finite there, and so is its gradient.

    Raises:
        ValueError: an array has not `n_rows` rows, or there is no row.
    """
    if not 0 < n_rows <= n_padded:
        raise ValueError(f"a member has {n_rows} rows, expected 1 to {n_padded}")
    found = dict(data)
    for name in ragged:
        if len(data[name]) != n_rows:
            raise ValueError(f"{name} has {len(data[name])} rows, the member has {n_rows}")
        found[name] = np.concatenate([data[name], np.repeat(data[name][:1], n_padded - n_rows, axis=0)])
    found[MASK] = np.arange(n_padded) < n_rows
    return found


def grouped(units: Sequence[Unit], data: ChunkData) -> list[list[tuple[int, Unit]]]:
    """Units whose arrays have equal shapes, each with its number in `units`; in the order of their first units.

    Args:
        units: of realizations of one shape.
    """
    groups: dict[int, list[tuple[int, Unit]]] = {}
    for number, unit in enumerate(units):
        groups.setdefault(data.rows(unit.part), []).append((number, unit))
    return list(groups.values())

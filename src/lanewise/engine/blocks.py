"""A block of lanes: one call of a stage's programs, in rounds, from data to what the lanes leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lanewise.engine.convergence import Lane
from lanewise.engine.programs import Stage
from lanewise.engine.rounds import Rounds, joined
from lanewise.manifest.status import LaneStatus
from lanewise.storage import checkpoints

# Prefixes of the names in a checkpoint.
_RECORDS, _WHOLE = "records/", "whole/"


class Inputs(NamedTuple):
    """Arguments of a block's programs; the leading axis of every array is the lane.

    Attributes:
        active: False for padding lanes, which repeat the first lane.
    """

    keys: jax.Array
    data: Mapping[str, jax.Array]
    active: jax.Array

    @property
    def width(self) -> int:
        """Lanes of the block, with padding."""
        width: int = self.active.shape[0]
        return width


def stacked(arrays: Sequence[Mapping[str, np.ndarray]], dtype: str) -> Mapping[str, jax.Array]:
    """The lanes' arrays on the device, in the precision of the campaign; masks stay boolean."""
    # On the host: outside a program, JAX would compile each operation on its own.
    found = {name: np.stack([each[name] for each in arrays]) for name in arrays[0]}
    # What a float32 cannot hold becomes infinite, and its lane non-finite.
    with np.errstate(over="ignore"):
        cast = {name: stack if stack.dtype == bool else stack.astype(dtype) for name, stack in found.items()}
    return {name: jax.device_put(stack) for name, stack in cast.items()}


def run(stage: Stage, inputs: Inputs, n_lanes: int, rounds: Rounds) -> list[Lane]:
    """The block's first `n_lanes` lanes; on return, the device memory that the block used is free.

    A block that a checkpoint holds as finished is not computed again.
    """
    left = _restored(rounds) or _computed(stage, inputs, n_lanes, rounds)
    records, whole = dict(left.records), dict(left.whole)
    if stage.program.reduce is None:
        for values in (records, whole):
            if "position" in values:
                values["latents"] = to_host(stage.program.constrain(values["position"]))
    return [_lane(left, records, whole, at) for at in range(n_lanes)]


def to_host(tree: Any) -> Any:
    """Copy arrays from the device to the host: everything that leaves the device passes here."""
    return jax.tree.map(np.asarray, jax.device_get(tree))


class _Left(NamedTuple):
    """What the lanes of a block left, on the host."""

    status: np.ndarray
    records: Mapping[str, np.ndarray]
    whole: Mapping[str, np.ndarray]
    flaw: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> _Left:
        """From `arrays`."""
        records, whole = (
            {name.removeprefix(of): array for name, array in arrays.items() if name.startswith(of)}
            for of in (_RECORDS, _WHOLE)
        )
        return cls(arrays["status"], records, whole, arrays["flaw"])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """As one array per name, for a checkpoint."""
        records = {f"{_RECORDS}{name}": array for name, array in self.records.items()}
        whole = {f"{_WHOLE}{name}": array for name, array in self.whole.items()}
        return {"status": self.status, "flaw": self.flaw, **records, **whole}


def _lane(left: _Left, records: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], at: int) -> Lane:
    return Lane(
        LaneStatus(int(left.status[at])),
        {name: array[at] for name, array in records.items()},
        {name: array[at] for name, array in whole.items()},
        float(left.flaw[at]),
    )


def _restored(rounds: Rounds) -> _Left | None:
    """What a finished block of a checkpoint left; None if it must be computed."""
    if rounds.saved is None or rounds.saved.state:
        return None
    rounds.step(rounds.of_block)
    return _Left.of(rounds.saved.records)


def _computed(stage: Stage, inputs: Inputs, n_lanes: int, rounds: Rounds) -> _Left:
    program = stage.program
    state, parts = _advanced(stage, inputs, rounds)
    status, whole = program.finish(state, inputs.data)
    centres: np.ndarray | None = None
    records: Mapping[str, np.ndarray] = {}
    if program.reduce is None:
        records = joined(parts)
        status, whole = to_host((status, whole))
    else:
        status, (centres, whole) = to_host((status, program.reduce(program.joined(parts), whole, inputs.data)))
    flaw = np.zeros(n_lanes)
    ended = [at for at in range(n_lanes) if status[at] < LaneStatus.NON_FINITE]
    if ended:
        at_centre = {at: _centre(records, whole, at) if centres is None else centres[at] for at in ended}
        flaw[ended] = _flaws(stage, inputs, at_centre)
    found = _Left(status[:n_lanes], _first(records, n_lanes), _first(whole, n_lanes), flaw)
    rounds.end(found.arrays)
    return found


def _advanced(stage: Stage, inputs: Inputs, rounds: Rounds) -> tuple[Any, list[Mapping[str, Any]]]:
    """The lanes' state after their last round, and the records of each round; on the device if they are reduced."""
    program, saved = stage.program, rounds.saved
    reduced = program.reduce is not None
    if saved is None:
        state, first, parts = program.init(*inputs), 0, list[Mapping[str, Any]]()
    else:
        state, first = checkpoints.restored(program.init, inputs, saved.state), saved.rounds
        parts = [dict(saved.records)] if first else []
    for number in range(first, stage.method.rounds):
        rounds.pause(number, state, parts)
        rounds.step(number, "compiling and running" if number == first else "")
        # A reduction needs the records of all rounds, so that one program serves every block.
        if not reduced and not np.any(np.asarray(state.status) == LaneStatus.RUNNING):
            break
        state, records = program.advance(state, inputs.data)
        parts.append(records if reduced else to_host(records))
    return state, parts


def _centre(records: Mapping[str, np.ndarray], whole: Mapping[str, np.ndarray], at: int) -> np.ndarray:
    """Representative position of a lane: its mode, or the mean of its draws, shape (n,)."""
    if "position" in whole:
        mode: np.ndarray = whole["position"][at]
        return mode
    draws = records["position"][at][records["keep"][at]]
    mean: np.ndarray = draws.reshape(-1, draws.shape[-1]).mean(axis=0)
    return mean


def _flaws(stage: Stage, inputs: Inputs, centres: Mapping[int, np.ndarray]) -> np.ndarray:
    """`Problem.flaw` of the lanes with a centre."""
    first = next(iter(centres.values()))
    positions = np.zeros((inputs.width, *first.shape), first.dtype)
    ended = np.zeros(inputs.width, bool)
    for at, centre in centres.items():
        positions[at], ended[at] = centre, True
    return np.asarray(stage.program.flaw(positions, inputs.data, ended))[list(centres)]


def _first(values: Mapping[str, np.ndarray], n_lanes: int) -> dict[str, np.ndarray]:
    """The arrays without padding lanes."""
    return {name: array[:n_lanes] for name, array in values.items()}

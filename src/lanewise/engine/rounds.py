"""Between two rounds of a block of lanes: report progress, and write a checkpoint if one is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lanewise.machine import interrupts
from lanewise.machine.progress import Reporter
from lanewise.manifest.protocols import Keeper, Saved
from lanewise.storage import checkpoints


@dataclass(frozen=True)
class Rounds:
    """Progress and checkpoints of one block of a chunk's lanes.

    Attributes:
        first: number of the block's first unit, counted over all stages of the chunk.
        units: the block's units, shape (lane, 3).
        width: lanes of the block, with padding.
        before, of_block, total: rounds of the chunk before this block, of this block, and in total.
        progress: receives the number of finished rounds of the chunk.
        keeper: writes the checkpoints; None for a run without them.
    """

    first: int
    units: np.ndarray
    width: int
    before: int
    of_block: int
    total: int
    progress: Reporter
    keeper: Keeper | None

    @property
    def saved(self) -> Saved | None:
        """This block's part of the loaded checkpoint; None if there is none, or if it has other units.

        Units differ if data could be read in one of the two runs only.
        """
        found = self.keeper.blocks.get(self.first) if self.keeper else None
        if found is None or found.units is None or not np.array_equal(found.units, self.units):
            return None
        return found

    def step(self, done: int, note: str = "") -> None:
        """Report that `done` rounds of this block are finished."""
        self.progress.step(self.before + done, note)

    def pause(self, done: int, state: Any, parts: Sequence[Mapping[str, Any]]) -> None:
        """Before a round: write a checkpoint if one is due, or if a signal ends the process here.

        Raises:
            SystemExit: after a signal.
        """
        if self.keeper and (interrupts.pending() or self.keeper.due(self.before + done, self.total)):
            self.keeper.blocks[self.first] = self._saved(done, checkpoints.leaves(state), joined(parts))
            self.keeper.save()
        interrupts.stop_here()

    def end(self, left: Mapping[str, np.ndarray]) -> None:
        """Report that the block is finished, and keep what its lanes left in the checkpoints of later blocks."""
        self.step(self.of_block)
        if self.keeper:
            self.keeper.blocks[self.first] = self._saved(self.of_block, (), left)

    def _saved(self, done: int, state: tuple[np.ndarray, ...], records: Mapping[str, np.ndarray]) -> Saved:
        return Saved(done, state, records, units=self.units, width=self.width)


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Concatenate the records of all rounds along the round axis (axis 1), by name, on the host."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in (parts[0] if parts else {})}

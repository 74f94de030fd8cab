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
        first: index of the block's first lane in the chunk.
        before, total: rounds of the chunk before this block, and in total.
        progress: receives the number of finished rounds of the chunk.
        keeper: writes the checkpoints; None for a run without them.
    """

    first: int
    before: int
    total: int
    progress: Reporter
    keeper: Keeper | None

    @property
    def saved(self) -> Saved | None:
        """This block's part of the loaded checkpoint; None if there is none."""
        return self.keeper.blocks.get(self.first) if self.keeper else None

    def step(self, done: int, note: str = "") -> None:
        """Report that `done` rounds of this block are finished."""
        self.progress.step(self.before + done, note)

    def pause(self, done: int, state: Any, parts: Sequence[dict[str, np.ndarray]]) -> None:
        """Before a round: write a checkpoint if one is due, or if a signal ends the process here.

        Raises:
            SystemExit: after a signal.
        """
        if self.keeper and (interrupts.pending() or self.keeper.due(self.before + done, self.total)):
            self.keeper.blocks[self.first] = checkpoints.snapshot(done, state, joined(parts))
            self.keeper.save()
        interrupts.stop_here()

    def end(self, done: int, state: Any, records: Mapping[str, np.ndarray]) -> None:
        """Report that the block is finished, and keep it in the checkpoints of later blocks."""
        self.step(done)
        if self.keeper:
            self.keeper.blocks[self.first] = checkpoints.snapshot(done, state, records)


def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate the records of all rounds along the round axis (axis 1), by name."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in (parts[0] if parts else {})}

"""Between two rounds of a block of lanes: progress is told, and a checkpoint written if it is time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lanewise.machine import interrupts
from lanewise.storage import checkpoints

if TYPE_CHECKING:
    from lanewise.machine.progress import Reporter
    from lanewise.storage.checkpoints import Keeper, Saved


@dataclass(frozen=True)
class Rounds:
    """Where a block stands among its chunk's rounds, and who is told.

    Attributes:
        first: place of the block's first lane among the chunk's.
        before, total: rounds of the chunk, before this block and in all.
    """

    first: int
    before: int
    total: int
    progress: Reporter
    keeper: Keeper | None

    @property
    def saved(self) -> Saved | None:
        """What a checkpoint has of this block."""
        return self.keeper.blocks.get(self.first) if self.keeper else None

    def step(self, done: int, note: str = "") -> None:
        """Report `done` rounds of this block."""
        self.progress.step(self.before + done, note)

    def pause(self, done: int, state: Any, parts: Sequence[dict[str, np.ndarray]]) -> None:
        """Before a round: write a checkpoint if it is time, or if a signal ends the process here.

        Raises:
            SystemExit: after a signal.
        """
        if self.keeper and (interrupts.pending() or self.keeper.due(self.before + done, self.total)):
            self.keeper.blocks[self.first] = checkpoints.snapshot(done, state, joined(parts))
            self.keeper.save()
        interrupts.stop_here()

    def end(self, done: int, state: Any, records: Mapping[str, np.ndarray]) -> None:
        """Report the block's end, and have it in the checkpoints of the blocks after it."""
        self.step(done)
        if self.keeper:
            self.keeper.blocks[self.first] = checkpoints.snapshot(done, state, records)


def joined(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The records of all rounds, per name."""
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in (parts[0] if parts else {})}

"""The state of a chunk while the engine computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lanewise.engine.chunk_data import ChunkData, MemberAt, Unit, Unusable
from lanewise.engine.members import Fit
from lanewise.engine.rounds import Rounds
from lanewise.machine.progress import Reporter
from lanewise.manifest.plan import Chunk
from lanewise.manifest.problem import Problem
from lanewise.manifest.protocols import Keeper


@dataclass
class Done:
    """How far a chunk is.

    Attributes:
        units, rounds: of the finished stages and blocks.
        told: total number of rounds that was last reported.
    """

    units: int = 0
    rounds: int = 0
    told: int = 0


@dataclass(frozen=True)
class Work:
    """A chunk while it is computed.

    Attributes:
        problem: that of the stages that run; `data` has its arrays.
        finer: whether it is a finer one than the campaign's.
        found: the fits of members by the last method that inferred them.
    """

    chunk: Chunk
    problem: Problem
    data: ChunkData
    progress: Reporter
    keeper: Keeper | None
    finer: bool = False
    found: dict[MemberAt, Fit] = field(default_factory=dict)
    done: Done = field(default_factory=Done)

    def usable(self, group: Sequence[tuple[int, Unit]], begin: int, width: int) -> tuple[list[Unit], int]:
        """The next units of a group whose data can be used, at most `width`, and where the search ended."""
        block: list[Unit] = []
        at = begin
        while at < len(group) and len(block) < width:
            _, unit = group[at]
            if not isinstance(self.data.arrays(unit.part), Unusable):
                block.append(unit)
            at += 1
        return block, at

    def begin(self, first: int, block: Sequence[Unit], width: int, n_rounds: int, n_blocks: int) -> Rounds:
        """The rounds of a block; its stage has `n_blocks` left, with this one."""
        total = self.done.rounds + n_rounds * n_blocks
        if total != self.done.told:
            self.progress.begin(f"chunk {self.chunk.index}", total)
            self.done.told = total
        return Rounds(
            first=first,
            units=np.array(block),
            width=width,
            before=self.done.rounds,
            of_block=n_rounds,
            total=total,
            progress=self.progress,
            keeper=self.keeper,
        )

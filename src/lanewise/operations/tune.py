"""`tune`: measure which width has the best throughput on this device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from lanewise.engine import programs
from lanewise.engine.engine import Engine
from lanewise.errors import ChunkImpossible
from lanewise.manifest import planning
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Chunk

# Least number of timed calls per width, and least total time [s].
_REPEATS, _ENOUGH_S = 3, 2.0
# Least gain of throughput that justifies the memory and the padding of a wider block.
_GAIN = 1.05


@dataclass(frozen=True)
class Trial:
    """A width and its throughput.

    Attributes:
        lanes_per_s: lanes that start and finish their first round, per second; None if they do not fit into memory.
    """

    width: int
    lanes_per_s: float | None

    @property
    def shown(self) -> str:
        """The throughput as text."""
        return "out of memory" if self.lanes_per_s is None else f"{self.lanes_per_s:.3g} per second"


@dataclass(frozen=True)
class Tuning:
    """All trials, and the best width."""

    trials: tuple[Trial, ...]
    best: int
    lanes_per_realization: int

    @property
    def text(self) -> str:
        """The keys to set in the manifest, as text."""
        lanes = f"{self.lanes_per_realization} {'lane' if self.lanes_per_realization == 1 else 'lanes'} per realization"
        size = max(1, self.best // self.lanes_per_realization)
        return (
            f"best: batch: {{width: {self.best}}}; {lanes}: set batch.size to {size} or a multiple of it\n"
            "batch.width is part of the identity: set it before the campaign begins"
        )


def tune(manifest: Manifest, widest: int, tell: Callable[[Trial], None]) -> Tuning:
    """Time the first round of the campaign's own lanes at 1, 2, 4, … lanes in flight.

    Args:
        widest: largest width to try.
        tell: called with each trial.

    Raises:
        ChunkImpossible: a single lane does not fit into the device's memory.
        DataError: the first chunk's data cannot be made.
        MachineError: this machine lacks the device that the manifest requires.
    """
    trials: list[Trial] = []
    while not trials or (trials[-1].lanes_per_s is not None and 2 * trials[-1].width <= widest):
        width = 2 * trials[-1].width if trials else 1
        tried = replace(manifest, batch=replace(manifest.batch, width=width, index=None))
        plan = planning.build(tried)
        engine = Engine(tried, plan)
        trials.append(Trial(width, _lanes_per_s(engine, plan.sample, width)))
        tell(trials[-1])
    rates = {trial.width: trial.lanes_per_s for trial in trials if trial.lanes_per_s is not None}
    if not rates:
        raise ChunkImpossible("a single lane does not fit into the device's memory; choose a device with more memory")
    best = min(width for width, rate in rates.items() if rate * _GAIN >= max(rates.values()))
    return Tuning(tuple(trials), best, engine.stages[0].method.units)


def _lanes_per_s(engine: Engine, chunk: Chunk, width: int) -> float | None:
    """Median throughput of several runs; None if the lanes do not fit into memory."""

    def timed() -> float:
        once = engine.rehearsal(chunk)
        once()  # compiles
        spent: list[float] = []
        while len(spent) < _REPEATS or sum(spent) < _ENOUGH_S:
            began = time.perf_counter()
            once()
            spent.append(time.perf_counter() - began)
        return width / statistics.median(spent)

    return programs.within_memory(timed)

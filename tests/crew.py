"""The command line with a stand-in for the engine; run as `python crew.py ARGUMENTS…`.

A chunk takes five rounds of CREW_ROUND_S, by default 0.1 s. A worker that comes to the chunk that CREW_DIES names is
killed there. The stand-in is set when this module is imported, so that the processes of `--workers` have it, too.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, ClassVar

import numpy as np

from lanewise import cli
from lanewise.engine.results import Result
from lanewise.machine import interrupts, provenance
from lanewise.machine.progress import Reporter
from lanewise.manifest.plan import Chunk
from lanewise.manifest.status import LaneStatus
from lanewise.operations import chunks

_ROUNDS = 5
_ROUND_S = float(os.environ.get("CREW_ROUND_S", "0.1"))


class StandIn:
    """Results from the seed, after some rounds between which a signal is obeyed."""

    made: ClassVar[dict[str, Any]] = {}

    def run(self, chunk: Chunk, progress: Reporter, _: Any) -> list[Result]:
        progress.begin(f"chunk {chunk.index}", _ROUNDS)
        if os.environ.get("CREW_DIES") == str(chunk.index):
            os.kill(os.getpid(), signal.SIGKILL)
        for number in range(_ROUNDS):
            progress.step(number)
            time.sleep(_ROUND_S)
            interrupts.stop_here()
        found = []
        for realization in chunk.realizations:
            seed, truth = realization.planned.seed, realization.planned.truth
            draws = {name: np.random.default_rng(seed).normal(size=(1, 20)) for name in ("g1", "g2")}
            found.append(Result(realization.run_id, seed, LaneStatus.OK, "", "map", truth, draws))
        return found


chunks.solver = lambda *_, **__: StandIn()
# Without JAX, whose import takes longer than a chunk.
provenance.machine = lambda: {"host": "here", "platform": "cpu", "device": "cpu", "processor": "any"}

if __name__ == "__main__":
    cli.main()

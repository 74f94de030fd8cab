"""The command line with the cheap Gaussian problem, telling when it has come to a phase, so that a test can send a
signal into it.

Run as `python phases.py PHASE ARGUMENTS…`. Phases: `compiling`, where the density is made so long that XLA takes its
time; `sampling`, between the second and the third round; `writing`, where storage takes a second for the packed data,
`hanging`, where it takes a minute; `waiting`, where the arguments say so; `nothing` changes nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lanewise import cli
from lanewise.machine import progress
from lanewise.machine.progress import Lines
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.protocols import Solver
from lanewise.operations import chunks
from lanewise.storage.record import Record
from lanewise.storage.store import Store

_ROUNDS = 2
_OPERATIONS = 600


def tell() -> None:
    print("HERE", flush=True)


def compiling() -> None:
    import jax.numpy as jnp

    from gaussian import GaussianProblem

    density = GaussianProblem.log_density

    def endless(self: GaussianProblem, position: Any, data: Any) -> Any:
        x = position
        for _ in range(_OPERATIONS):
            x = jnp.sin(x[::-1]) * x
        tell()
        return density(self, position, data) + 1e-30 * x.sum()

    GaussianProblem.log_density = endless  # type: ignore[method-assign]


def sampling() -> None:
    class Telling(Lines):
        def step(self, done: int, note: str = "") -> None:
            if done == _ROUNDS:
                tell()
                # The signal is there before the round begins.
                time.sleep(0.5)

    progress.reporter = Telling


def slowly(seconds: float) -> None:
    put = Store.put

    def slow(self: Store, path: str, data: bytes) -> None:
        if path.endswith(".nc") and "_lanewise" in path:
            tell()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.05)
        put(self, path, data)

    Store.put = slow  # type: ignore[method-assign]


def waiting() -> None:
    class Telling(Lines):
        def step(self, done: int, note: str = "") -> None:
            tell()

    progress.reporter = Telling


PHASES: dict[str, Callable[[], None]] = {
    "compiling": compiling,
    "sampling": sampling,
    "writing": lambda: slowly(1.0),
    "hanging": lambda: slowly(60.0),
    "waiting": waiting,
    "nothing": lambda: None,
}


def solver(record: Record, manifest: Manifest | None = None, *, retry: int = 0, before: object = None) -> Solver:
    import gaussian  # with JAX, which who only waits does not need

    return gaussian.solver(record, manifest, retry=retry)


if __name__ == "__main__":
    phase = sys.argv.pop(1)
    chunks.solver = solver
    PHASES[phase]()
    cli.main()

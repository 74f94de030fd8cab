"""The command line in bad weather, with the cheap Gaussian problem; run as `python faults.py WEATHER ARGUMENTS…`.

WEATHER is JSON: `poisoned` are seeds whose data are NaN; `bent` such whose posterior is a narrow curved ridge, on which
short chains do not converge; `die` is a chunk in the middle of which the process is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gaussian
from gaussian import GaussianProblem
from lanewise import cli
from lanewise.engine.engine import Engine
from lanewise.manifest.plan import Chunk, Realization
from lanewise.manifest.problem import Observation
from lanewise.operations import chunks
from lanewise.storage import claims
from lanewise.storage.record import Record

# With these draws and thresholds (see test_faults.py) four of four such realizations fail, and a rung mends each.
_BEND = 1.5


class Bent(GaussianProblem):
    """Beside its data, g2 is tied to the square of g1 where the data say so."""

    def log_density(self, position: jax.Array, data: Any) -> jax.Array:
        ridge = data["bend"] * (10 * position[1] - (10 * position[0]) ** 2)
        density: jax.Array = super().log_density(position, data) - 0.5 * ridge**2
        return density

    def curvature(self, position: jax.Array, data: Any) -> jax.Array:
        straight = GaussianProblem()
        hessian: jax.Array = jax.hessian(lambda u: GaussianProblem.log_density(straight, u, data))(position)
        return -hessian

    def start(self, data: Any) -> jax.Array:
        return jnp.zeros(2)


def main(weather: dict[str, Any]) -> None:
    def observe(realization: Realization) -> Observation:
        seen, seed = gaussian.observe(realization), realization.planned.seed
        y = seen.data["y"] * (np.nan if seed in weather.get("poisoned", ()) else 1.0)
        return replace(seen, members=({"y": y, "bend": np.array(_BEND if seed in weather.get("bent", ()) else 0.0)},))

    class Mortal(Engine):
        def run(self, chunk: Chunk, *rest: Any) -> Any:
            if chunk.index == weather.get("die"):
                time.sleep(1.0)  # its claim is there by now
                os.kill(os.getpid(), signal.SIGKILL)
            return super().run(chunk, *rest)

    def solver(record: Record, manifest: Any = None, *, retry: int = 0, before: object = None) -> Engine:
        return Mortal(manifest or record.manifest, record.plan, observe=observe, problem=Bent(), retry=retry)

    chunks.solver = solver
    defaults = claims.Claim.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(beat_s=0.2, pause_s=0.0)
    cli.main()


if __name__ == "__main__":
    main(json.loads(sys.argv.pop(1)))

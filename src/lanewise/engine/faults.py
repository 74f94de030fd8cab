"""What is not finite in a lane: the start of the fit, the density there, its gradient, or something on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from lanewise.engine import blocks
from lanewise.manifest.problem import Problem

_NAMES_TOLD = 6


def told(problem: Problem, arrays: Mapping[str, np.ndarray], precision: str) -> str:
    """The sentence that says what was not finite, and what to do.

    Args:
        arrays: the prepared data of one member, which are finite as observed.
    """
    data = {name: array[0] for name, array in blocks.stacked([arrays], precision).items()}
    if bad := [name for name, array in data.items() if not np.all(np.isfinite(np.asarray(array)))]:
        return f"Not finite: the data ({', '.join(bad)}), in {precision}; look at the image and the noise sigma."
    latents, position, value, gradient = (np.asarray(one) for one in _at_start(problem)(data))
    shown = dict(zip(problem.names, latents, strict=True))
    start = ", ".join(f"{name} = {value:.4g}" for name, value in list(shown.items())[:_NAMES_TOLD])
    if not np.all(np.isfinite(position)):
        return f"Not finite: the start of the fit ({start}); look at the priors."
    if not np.isfinite(value):
        return f"Not finite: the log density ({value}) where the fit starts ({start}); look at the priors and the data."
    if not np.all(np.isfinite(gradient)):
        return f"Not finite: the gradient of the log density where the fit starts ({start}); look at the priors."
    return (
        f"Not finite: the log density or its gradient on the way from the start of the fit ({start}), where all is "
        "finite; narrow the priors to where the density exists."
    )


@functools.lru_cache(maxsize=4)
def _at_start(problem: Problem) -> Callable[[Any], Any]:
    """Of the data: the latents at the start, the position, and the log density there with its gradient."""

    def found(data: Any) -> Any:
        position = problem.start(data)
        value, gradient = jax.value_and_grad(problem.log_density)(position, data)
        return problem.constrain(position), position, value, gradient

    return jax.jit(found)

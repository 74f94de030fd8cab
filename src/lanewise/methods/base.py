"""The interface of an inference method: three pure functions on one lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol, TypeVar

import jax

from lanewise.manifest.problem import Data, Problem

State = TypeVar("State")
Record = Mapping[str, jax.Array]


class Kind(Enum):
    """The form of a method's output, which decides how its convergence is judged."""

    MODE = "one point, in `finish`: gradient norm and Hessian"
    CHAINS = "draws of Markov chains: R̂, ESS, divergences, BFMI"
    WEIGHTED = "independent draws of a proposal, to be resampled by their weights: k̂ and the weights' ESS"
    APPROXIMATION = "independent draws of a density close to the posterior: k̂ of the weights between the two"


class Method(Protocol[State]):
    """An inference algorithm on one lane; the engine maps it over lanes and runs `advance` in rounds.

    A state is a NamedTuple with a field `status` (`LaneStatus` as an int32). A lane never raises: it gets a status. The
    engine leaves a lane whose status is not RUNNING unchanged.
    """

    @property
    def units(self) -> int:
        """Number of lanes per realization: one per chain, or 1 if a lane computes all chains."""
        ...

    @property
    def rounds(self) -> int:
        """Largest number of rounds: after these every lane has stopped."""
        ...

    @property
    def kind(self) -> Kind:
        """The form of the output of a lane."""
        ...

    def init(self, problem: Problem, key: jax.Array, data: Data) -> State:
        """The state before the first round."""
        ...

    def advance(self, problem: Problem, state: State, data: Data) -> tuple[State, Record]:
        """One round: a fixed amount of work.

        Returns:
            The new state, and the records of the round: arrays whose first axis is the step. `keep` (bool) says which
            steps are draws of the posterior; `position` is always present; all others become sample statistics. If a
            lane computes several chains, the second axis is the chain. A method without draws returns an empty dict.
        """
        ...

    def finish(self, problem: Problem, state: State, data: Data) -> tuple[jax.Array, Record]:
        """The final status, and records of the lane as a whole: scalars, or vectors over the latents."""
        ...


def noughts(function: Callable[..., Any], *arguments: Any) -> Any:
    """Zeros, also as random keys, with the shapes of what the function would return; it is not computed."""
    shapes = jax.eval_shape(function, *arguments)
    return jax.tree.map(lambda leaf: jax.lax.full(leaf.shape, 0, leaf.dtype), shapes)

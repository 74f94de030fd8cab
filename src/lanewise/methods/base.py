"""What an inference method is: three pure functions on one lane."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol, TypeVar

import jax

from lanewise.manifest.protocols import Data, Problem

State = TypeVar("State")
Record = Mapping[str, jax.Array]


class Kind(Enum):
    """What a method leaves behind, and so how it is judged; `judgement` has a function for each."""

    MODE = "one point, in `finish`: gradient norm and Hessian"
    CHAINS = "draws of Markov chains: R̂, ESS, divergences, BFMI"
    WEIGHTED = "independent draws of a proposal, to be resampled by their weights: k̂ and the weights' ESS"
    APPROXIMATION = "independent draws of a density close to the posterior: k̂ of the weights between the two"


class Method(Protocol[State]):
    """An inference algorithm on one lane; the engine maps it over lanes and runs `advance` in rounds.

    A state is a NamedTuple with a field `status` (`LaneStatus` as an int32). A lane never raises: it gets a status. A
    lane whose status is not RUNNING must come out of `advance` unchanged; the engine sees to that.
    """

    @property
    def units(self) -> int:
        """Lanes that one realization needs: its chains, unless one lane holds them all."""
        ...

    @property
    def rounds(self) -> int:
        """Rounds after which every lane has stopped."""
        ...

    @property
    def kind(self) -> Kind:
        """What the lanes leave behind."""
        ...

    def init(self, problem: Problem, key: jax.Array, data: Data) -> State:
        """The state before the first round."""
        ...

    def advance(self, problem: Problem, state: State, data: Data) -> tuple[State, Record]:
        """One round: a fixed amount of work.

        Returns:
            The new state, and the round's records: arrays whose first axis is the step; `keep` (bool) tells which
            steps are draws of the posterior, `position` is always there, the rest become sample statistics. Where a
            lane holds several chains, their axis is the second.
        """
        ...

    def finish(self, problem: Problem, state: State, data: Data) -> tuple[jax.Array, Record]:
        """The final status, and what describes the lane as a whole: scalars, or vectors over the latents."""
        ...

"""`laplace`: draws of the Gaussian at the mode, with importance weights that show how good it is."""

from __future__ import annotations

import jax

from lanewise.manifest.problem import Data, Problem
from lanewise.methods import independent, proposal
from lanewise.methods.base import Kind, Record
from lanewise.methods.independent import Drawing
from lanewise.methods.settings import LaplaceSettings


class Laplace:
    """The Laplace approximation of the density over the position; convergence is judged by k̂ of its weights."""

    units = 1
    kind = Kind.APPROXIMATION

    def __init__(self, settings: LaplaceSettings) -> None:
        self._settings = settings

    @property
    def rounds(self) -> int:
        """Number of rounds after which every lane has its draws."""
        return proposal.rounds(self._settings.samples)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> Drawing:
        """Fit the Gaussian at the mode; no draws yet."""
        return independent.begin(problem, key, data)

    def advance(self, problem: Problem, state: Drawing, data: Data) -> tuple[Drawing, Record]:
        """One round of draws of the Gaussian, with their log weights."""
        return independent.round_of(proposal.gaussian, problem, state, data, self._settings.samples)

    def finish(self, problem: Problem, state: Drawing, data: Data) -> tuple[jax.Array, Record]:
        """The gradient norm at the mode, see `mode.Mode`."""
        return state.status, {"gradient_norm": state.gradient_norm}

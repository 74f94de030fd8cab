"""`importance`: draws of a Student t around the mode, resampled with smoothed weights."""

from __future__ import annotations

import jax

from lanewise.manifest.problem import Data, Problem
from lanewise.methods import independent, proposal
from lanewise.methods.base import Kind, Record
from lanewise.methods.independent import Drawing
from lanewise.methods.settings import ImportanceSettings


class Importance:
    """Pareto-smoothed importance sampling (Vehtari et al. 2024, arXiv:1507.02646); the proposal is the Laplace fit.

    Convergence is judged by k̂ of the weights, and by their effective sample size 1/Σw².
    """

    units = 1
    kind = Kind.WEIGHTED

    def __init__(self, settings: ImportanceSettings) -> None:
        self._settings = settings

    @property
    def rounds(self) -> int:
        """Number of rounds after which every lane has its draws."""
        return proposal.rounds(self._settings.samples)

    def init(self, problem: Problem, key: jax.Array, data: Data) -> Drawing:
        """Fit the proposal at the mode; no draws yet."""
        return independent.begin(problem, key, data)

    def advance(self, problem: Problem, state: Drawing, data: Data) -> tuple[Drawing, Record]:
        """One round of draws of the proposal, with their log weights."""
        return independent.round_of(proposal.student_t, problem, state, data, self._settings.samples)

    def finish(self, problem: Problem, state: Drawing, data: Data) -> tuple[jax.Array, Record]:
        """The gradient norm, and `comb`: the uniform random offset in [0, 1) of the systematic resampling."""
        comb = jax.random.uniform(jax.random.fold_in(state.key, state.drawn), (), state.gradient_norm.dtype)
        return state.status, {"gradient_norm": state.gradient_norm, "comb": comb}

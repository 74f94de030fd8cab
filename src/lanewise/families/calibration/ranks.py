"""Ranks of the true values among the draws of each realization."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lanewise.engine.results import Result
from lanewise.errors import Damaged
from lanewise.families.calibration.sizing import n_ranks
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.family import observe
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device
from lanewise.manifest.plan import Planned
from lanewise.storage import commits
from lanewise.storage.record import Record

LOG_LIKELIHOOD = "log_likelihood"


@dataclass(frozen=True)
class Ranks:
    """Ranks of the truths.

    Attributes:
        n_ranks: L + 1; each rank is one of 0…L.
        table: columns run_id, seed, and the ranks of each quantity: the latents in the order of the model, then the
            log likelihood.
    """

    n_ranks: int
    table: pd.DataFrame

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the ranked quantities."""
        return tuple(str(name) for name in self.table.columns if name not in ("run_id", "seed"))


def thinned(draws: np.ndarray, n: int) -> np.ndarray:
    """`n` draws, equally spaced along the concatenated chains, shape (n,).

    Args:
        draws: shape (chain, draw).
    """
    flat = draws.reshape(-1)
    return flat[((np.arange(n) + 0.5) * len(flat) / n).astype(np.int64)]


def among_even(draws: np.ndarray, truth: float, n_ranks: int) -> int:
    """The rank of a truth among draws that are spread evenly over the posterior, as those of a population are.

    Few of them are no independent draws: the gaps of g2 between them differ, and ranks would be those of the gaps.
    The share of all draws below the truth is uniform; between two draws it is interpolated.
    """
    shares = (np.arange(draws.size) + 0.5) / draws.size
    return int(np.interp(truth, np.sort(draws, axis=None), shares) * n_ranks)


def of_campaign(record: Record, counted: Sequence[str]) -> tuple[Ranks, dict[int, Damaged]]:
    """The ranks of the realizations that count, in the plan's order, and the errors of damaged chunks, by chunk index.

    L is about `convergence.ess_min`, the smallest effective sample size of a realization that counts.

    Args:
        counted: run ids of the realizations that count.
    """
    chosen = set(counted)
    depth = n_ranks(record.manifest.convergence.ess_min)
    rows: list[dict[str, Any]] = []
    damaged: dict[int, Damaged] = {}
    # The likelihood of a population is a sum over galaxies whose draws are gone.
    whole = shear_config.of(record.manifest).population is not None
    likelihood = _LogLikelihood(record) if chosen and not whole else None
    holding = [chunk.index for chunk in record.plan.chunks if not chosen.isdisjoint(chunk.run_ids)]
    found = record.survey(holding)[0]
    for index in record.plan.order(found):
        planned = {one.run_id: one.planned for one in record.plan.chunks[index].realizations}
        try:
            results = commits.load_results(record.store, found[index])
        except Damaged as error:
            damaged[index] = error
            continue
        for result in results:
            if result.run_id in chosen and isinstance(result, Result):
                if not rows:  # antithetic chains can have more effective draws than draws
                    depth = min(depth, n_ranks(result.shape[0] * result.shape[1]))
                rows.append(_row(result, depth, likelihood, planned[result.run_id]))
    latents = list(shear_config.of(record.manifest).latents)
    quantities = latents if whole else [*latents, LOG_LIKELIHOOD]
    return Ranks(depth, pd.DataFrame(rows, columns=["run_id", "seed", *quantities])), damaged


def _row(result: Result, depth: int, likelihood: _LogLikelihood | None, planned: Planned) -> dict[str, Any]:
    """Number of L draws below the truth, for each latent and for the log likelihood."""
    if likelihood is None:
        even = {name: among_even(draws, result.truth[name], depth) for name, draws in result.posterior.items()}
        return {"run_id": result.run_id, "seed": result.seed, **even}
    chosen = {name: thinned(draws, depth - 1) for name, draws in result.posterior.items()}
    found = {name: int(np.sum(draws < result.truth[name])) for name, draws in chosen.items()}
    row = {"run_id": result.run_id, "seed": result.seed, **found}
    values = likelihood(planned, {name: np.append(draws, result.truth[name]) for name, draws in chosen.items()})
    return {**row, LOG_LIKELIHOOD: int(np.sum(values[:-1] < values[-1]))}


class _LogLikelihood:
    """Log likelihood of given latents, for an image that is simulated again from its seed."""

    def __init__(self, record: Record) -> None:
        import jax

        self._config = shear_config.of(record.manifest)
        # A few thousand likelihoods do not need a GPU, and an aggregation pod has none.
        device.prepare("auto", self._config.precision)
        self._problem: ShearProblem = ShearProblem(self._config)
        self._evaluate = jax.jit(jax.vmap(self._problem.log_likelihood, (0, None)))

    def __call__(self, planned: Planned, latents: Mapping[str, np.ndarray]) -> np.ndarray:
        import jax.numpy as jnp

        data = self._problem.prepare(observe(self._config, planned).data)
        dtype = self._config.precision
        given = {name: jnp.asarray(values, dtype) for name, values in latents.items()}
        return np.asarray(self._evaluate(given, {name: jnp.asarray(a, dtype) for name, a in data.items()}))

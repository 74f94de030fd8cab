"""Do shards disagree by more than they should if the model is right?

Q is the sum over shards of the squared distance of their means from the consensus. Directions in which the prior
speaks add less to it than one per shard, so its distribution comes from simulations of the fitted model: a shard's
score is normal with the covariance H_k, its curvature without the prior, and moves its mean by Λ_k⁻¹ times the score,
where Λ_k = H_k + prior/K; draws add their Monte Carlo error.

Noise that frames share is shared by shards, and the widths of a shard's posterior are not those of its errors. There
the shards' scores at the fit of all data are compared, which are linear in the data and need no draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.families.heterodyne.cmc import consensus
from lanewise.families.heterodyne.cmc.consensus import Moments

_SIMULATIONS = 4096


@dataclass(frozen=True)
class Disagreement:
    """Q, its expectation if the model is right, and the probability of a larger one."""

    q: float
    expected: float
    p_value: float


def disagreement(
    each: Sequence[Moments], likelihoods: np.ndarray, posteriors: np.ndarray, rng: np.random.Generator
) -> Disagreement:
    """The disagreement of shards.

    Args:
        likelihoods, posteriors: curvatures H_k and Λ_k at the mode of all data, shape (shard, d, d).
    """
    q = float(consensus.distances(each, consensus.combined(each)).sum())
    d = len(each[0].mean)
    scores, roots = _roots(likelihoods), np.linalg.cholesky(np.linalg.inv(posteriors))
    means = np.empty((_SIMULATIONS, len(each), d))
    for k, one in enumerate(each):
        drawn = rng.normal(size=(2, _SIMULATIONS, d))
        covariance = roots[k] @ roots[k].T
        means[:, k] = drawn[0] @ scores[k].T @ covariance + drawn[1] @ roots[k].T / np.sqrt(one.size)
    total = np.einsum("skd,kde->se", means, posteriors)
    off = means - (total @ np.linalg.inv(posteriors.sum(axis=0)))[:, None]
    simulated = np.einsum("skd,kde,ske->s", off, posteriors, off)
    return _judged(q, simulated)


def of_scores(observed: np.ndarray, simulated: np.ndarray, rng: np.random.Generator) -> Disagreement:
    """The disagreement of shards by how far each of them would move some quantities from the fit of all data.

    Q is the sum over shards of the squared moves, in units of their covariance in simulations.

    Args:
        observed: moves of the quantities, shape (shard, n).
        simulated: the same in data that were simulated by the fitted model, shape (simulation, shard, n).
    """
    precisions = np.linalg.inv(np.einsum("skn,skm->knm", simulated, simulated) / len(simulated))
    # Simulated noise is that of a few pixels; sums of it are as near to a normal distribution as that of the data.
    mixed = rng.normal(size=(_SIMULATIONS, len(simulated))) / np.sqrt(len(simulated))
    drawn = np.tensordot(mixed, simulated, axes=1)
    q, each = (np.einsum("...kn,knm,...km->...", moves, precisions, moves) for moves in (observed, drawn))
    return _judged(float(q), each)


def _judged(q: float, simulated: np.ndarray) -> Disagreement:
    p_value = (1 + np.count_nonzero(simulated >= q)) / (1 + len(simulated))
    return Disagreement(q, float(simulated.mean()), float(p_value))


def _roots(matrices: np.ndarray) -> np.ndarray:
    """Roots of positive semi-definite matrices, shape (shard, d, d)."""
    values, vectors = np.linalg.eigh(matrices)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :])

"""From a fit to the posterior around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lanewise.families.heterodyne.cmc import adjustment, likelihood, support
from lanewise.families.heterodyne.cmc.posterior import Posterior
from lanewise.families.heterodyne.cmc.prior import priors
from lanewise.families.heterodyne.cmc.split import Shard
from lanewise.families.heterodyne.config import Label
from lanewise.families.heterodyne.nlsq import labels
from lanewise.families.heterodyne.nlsq.finish import Finish
from lanewise.families.heterodyne.nlsq.kernel import FramePairs
from lanewise.families.heterodyne.nlsq.result import FitResult

# The noise has a half-normal prior whose scale is this many times the spread of all values, as in the page's package.
_NOISE_SCALE, _MAD_TO_SIGMA = 1.5, 1.4826


def posterior(finish: Finish, fit: FitResult) -> tuple[Posterior, dict[str, Any]]:
    """The posterior of all data, and its data; its start is the fit."""
    searcher, where = finish.searcher, finish.where
    problem, settings = searcher.problem, searcher.settings
    layout = support.layout(where, problem.scaling, searcher.kind, settings)
    box = support.owned(where.box)
    values = finish.data.c2[finish.weights > 0]
    spread = _NOISE_SCALE * _MAD_TO_SIGMA * float(np.median(np.abs(values - np.median(values))))
    centre = float(problem.data.centre)
    prior = priors(where, problem.scaling, searcher.kind, settings, centre, spread)
    basis = np.asarray(problem.scaling.basis)
    contrast, offset = (np.array([one.value for one in part]) for part in (fit.contrast, fit.offset))
    coefficients = np.linalg.lstsq(basis, np.stack([contrast, offset - centre], axis=1))[0].T
    x = jnp.asarray(fit.coordinates)
    data = {
        "pairs": problem.data,
        "scene": problem.scene,
        "gauge": problem.gauge,
        "box": box,
        "basis": basis,
        "prior": prior,
        "n_data": np.float64(fit.n_data),
        "share": np.float64(1.0),
    }
    data = jax.tree.map(jnp.asarray, data)
    log_sigma = jnp.log(jnp.sqrt(fit.ssr / fit.n_data))
    start = support.position(x, jnp.asarray(coefficients), log_sigma, layout, data["box"], data["gauge"], data["prior"])
    data["start"] = start
    found = Posterior(layout, _label(finish, fit), adjusted=fit.speckle is not None)
    if fit.speckle is not None:
        data |= _adjusted(found, data, fit.speckle.score, _variance(fit))
    return found, data


def shard_data(whole: Mapping[str, Any], shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """The data of each shard from those of the whole posterior."""
    share = jnp.float64(1 / len(shards))
    parts = [
        {"pairs": jax.tree.map(jnp.asarray, one.pairs), "n_data": jnp.float64(one.n_points), "share": share}
        for one in shards
    ]
    return [{**whole, **part} for part in parts]


def joined(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of several shards as one, with the whole prior."""
    pairs = [one["pairs"] for one in each]
    first, second, root_weight, y = (jnp.concatenate(parts) for parts in zip(*(one[:4] for one in pairs), strict=True))
    found = FramePairs(first, second, root_weight, y, pairs[0].centre)
    n_data = sum(one["n_data"] for one in each)
    return {**each[0], "pairs": found, "n_data": n_data, "share": jnp.float64(1.0)}


def shard_moves(
    problem: Posterior, each: Sequence[Mapping[str, Any]], finish: Finish, fit: FitResult
) -> tuple[np.ndarray, np.ndarray]:
    """How far each shard would move the headline values from the fit of all data, in these data and in simulated ones.

    Args:
        each: `shard_data`; the fit has speckle noise.

    Returns:
        Shapes (shard, n) and (simulation, shard, n).
    """
    whole = each[0]
    tangent, _ = _moves(problem, whole)
    curvatures = np.stack([np.asarray(_curvature(data, problem=problem)) for data in each])
    inverse = adjustment.inverse(tangent, curvatures.sum(axis=0))
    simulated = finish.shard_scores(fit, [data["pairs"] for data in each])
    observed = np.stack([np.asarray(_score(data, problem=problem)) for data in each])
    # The fit of all data moves with all scores: what is left of a shard's score is that at this fit. The scores at a
    # fit on a bound do not add up to 0 either.
    simulated, observed = (
        scores - np.einsum("knm,...m->...kn", curvatures, scores.sum(axis=-2) @ inverse)
        for scores in (simulated, observed)
    )
    x = problem.unknowns(whole["start"], whole).x
    slopes = np.asarray(jax.jacfwd(lambda x: problem.layout.model.report(x, whole["gauge"])[1])(x))
    to_headline = len(each) * slopes @ inverse[: len(x)]
    return observed @ to_headline.T, simulated @ to_headline.T


def _adjusted(problem: Posterior, data: Mapping[str, Any], score: np.ndarray, variance: float) -> dict[str, jax.Array]:
    """Centre and matrix of the likelihood's adjustment to noise that frames share, at the start."""
    tangent, centre = _moves(problem, data)
    curvature = np.asarray(_curvature(data, problem=problem))
    matrix = adjustment.adjustment(tangent, curvature, score, variance)
    return {"centre": centre, "adjust": jnp.asarray(matrix)}


def _moves(problem: Posterior, data: Mapping[str, Any]) -> tuple[np.ndarray, jax.Array]:
    """How coordinates and coefficients move with the position at the start, as columns, and their values there."""

    def flat(position: jax.Array) -> jax.Array:
        at = problem.unknowns(position, data)
        return jnp.concatenate([at.x, at.coefficients.reshape(-1)])

    # The last number of a position is the noise.
    return np.asarray(jax.jacfwd(flat)(data["start"]))[:, :-1], flat(data["start"])


@partial(jax.jit, static_argnames="problem")
def _curvature(data: Mapping[str, Any], *, problem: Posterior) -> jax.Array:
    """That of the residuals by coordinates and coefficients, at the start."""
    at = problem.unknowns(data["start"], data)
    args = data["pairs"], data["scene"], data["gauge"]
    contrast = data["basis"] @ at.coefficients[0]
    return likelihood.joint(problem.layout.model, at.x, contrast, data["basis"], *args)


@partial(jax.jit, static_argnames="problem")
def _score(data: Mapping[str, Any], *, problem: Posterior) -> jax.Array:
    """That of the residuals by coordinates and coefficients, at the start."""
    at = problem.unknowns(data["start"], data)

    def half(x: jax.Array, coefficients: jax.Array) -> jax.Array:
        scales = (data["basis"] @ one for one in coefficients)
        return -0.5 * likelihood.ssr(problem.layout.model, x, *scales, data["pairs"], data["scene"], data["gauge"])

    slopes = jax.grad(half, argnums=(0, 1))(at.x, at.coefficients)
    return jnp.concatenate([part.reshape(-1) for part in slopes])


def _variance(fit: FitResult) -> float:
    return fit.ssr / (fit.n_data - fit.n_free)


def _label(finish: Finish, fit: FitResult) -> Label | None:
    """The labelling rule, where the fit obeys it; None for one component, and where χ² chose against the rule."""
    where, settings = finish.where, finish.searcher.settings
    if not where.model.exchangeable:
        return None
    problem = finish.searcher.problem
    at = labels.described(fit.coordinates, problem.scene, problem.gauge, settings.model.fraction_clip)
    exchanged = labels.Labelled(at.j_sample, at.j_ref, 1 - at.share)
    rule = settings.model.label
    return rule if labels.preferred(at, exchanged, rule) else None

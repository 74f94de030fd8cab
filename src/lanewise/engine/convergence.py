"""From the lanes of a realization to its result: compute diagnostics and compare them with the manifest's thresholds.

The meaning of "converged" depends on what a method returns, see `methods.base.Kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lanewise.engine import diagnostics, psis
from lanewise.engine.results import Diagnostics, Result
from lanewise.manifest.manifest import Convergence
from lanewise.manifest.status import LaneStatus
from lanewise.methods.base import Kind

# Largest k̂ of an approximation without importance resampling (Yao, Vehtari, Simpson & Gelman 2018, arXiv:1802.02538).
_KHAT_MAX = 0.7
# Largest error of the mean of an approximation, in widths of the posterior, and of its width, relative. A mean off by
# .2 leaves 67 % in the 68 % interval, a width 10 % too small 63 %.
_SHIFT_MAX, _RATIO_MAX = 0.2, 0.1
# Latents that a reason names for each threshold; convergence.json has the numbers of all.
_TOLD = 6
# Records that are not sampler statistics.
_NOT_STATS = {"keep", "position", "latents"}


@dataclass(frozen=True)
class Lane:
    """A lane after its last round.

    Attributes:
        records: arrays by name, shape (step, …), or (step, chain, …) if the lane holds several chains.
        whole: arrays by name that describe the whole lane.
        flaw: error of the fast model at the lane's centre, in units of the tolerance; see `Problem.flaw`.
    """

    status: LaneStatus
    records: Mapping[str, np.ndarray]
    whole: Mapping[str, np.ndarray]
    flaw: float = 0.0

    def kept(self, name: str) -> np.ndarray:
        """A record at the steps that are kept as draws, shape (chain, draw, …)."""
        values = self.records[name][self.records["keep"]]
        several = self.records["position"].ndim == 3
        return np.moveaxis(values, 1, 0) if several else values[None]


def assess(
    *, kind: Kind, begun: Sequence[Result], lanes: Sequence[Sequence[Lane]], names: Sequence[str], criteria: Convergence
) -> list[Result]:
    """The results of realizations, or of their members, that one method inferred.

    Args:
        begun: results without draws. Their status is the worst of their lanes, and better than NON_FINITE.
        lanes: the lanes of each result.
        names: latents, in the order of the position.
        criteria: thresholds of the manifest.
    """
    if not begun:
        return []
    return _BY_KIND[kind](begun, lanes, names, criteria)


def assess_record(result: Result, record: Mapping[str, np.ndarray], criteria: Convergence) -> Result:
    """The result of a member whose lanes left a record, judged by its `ess`, `khat` and `rhat`, if it has them."""
    short: list[str] = []
    if "ess" in record:
        short += _size_shortcomings(Diagnostics(ess={"": float(np.sum(record["ess"]))}), criteria)
    if "khat" in record:
        short += _weight_shortcomings(float(np.max(record["khat"])), _KHAT_MAX)
    if "rhat" in record and not np.max(record["rhat"]) <= criteria.rhat_max:
        short.append(f"R̂ is {_show(_defined(np.max(record['rhat'])))}, the limit is {criteria.rhat_max:g}")
    return _with_shortcomings(result, short)


def _modes(
    begun: Sequence[Result], lanes: Sequence[Sequence[Lane]], names: Sequence[str], criteria: Convergence
) -> list[Result]:
    """Results from modes: a mode is stored as one draw of one chain."""
    found = []
    for result, (lane,) in zip(begun, lanes, strict=True):
        whole = dict(lane.whole)
        latents, widths = whole.pop("latents").astype(np.float64), whole.pop("laplace_std")
        del whole["position"]
        norm, positive = float(whole["gradient_norm"]), bool(whole["hessian_positive"])
        reason = result.reason
        if result.status is LaneStatus.NOT_CONVERGED:
            reason = f"Not converged: the gradient norm is {norm:.3g}" + (
                "." if positive else ", and the Hessian is not positive."
            )
        found.append(
            replace(
                result,
                reason=reason,
                posterior={name: np.reshape(latents[at], (1, 1)) for at, name in enumerate(names)},
                stats={name: np.reshape(value, (1, 1)) for name, value in whole.items()},
                laplace_std={name: float(widths[at]) for at, name in enumerate(names) if np.isfinite(widths[at])},
                diagnostics=Diagnostics(gradient_norm=norm, hessian_positive=positive),
            )
        )
    return found


def _chains(
    begun: Sequence[Result], lanes: Sequence[Sequence[Lane]], names: Sequence[str], criteria: Convergence
) -> list[Result]:
    """Results from chains: R̂, ESS, divergences and BFMI, computed for all realizations in one call."""
    drawn = [_with_draws(result, own, names) for result, own in zip(begun, lanes, strict=True)]
    summary = diagnostics.summarise(np.stack([[result.posterior[name] for name in names] for result in drawn]))

    def by_latent(values: np.ndarray) -> dict[str, float | None]:
        return dict(zip(names, map(_defined, values), strict=True))

    assessed = []
    for at, result in enumerate(drawn):
        diverging = result.stats["diverging"]
        found = Diagnostics(
            rhat=by_latent(summary.rhat[at]),
            ess=by_latent(summary.ess[at]),
            ess_tail=by_latent(summary.ess_tail[at]),
            ess_kind="bulk",
            mcse_mean=by_latent(summary.mcse_mean[at]),
            mcse_sd=by_latent(summary.mcse_sd[at]),
            divergences=int(diverging.sum()),
            divergence_frac=float(diverging.mean()),
            bfmi=tuple(_defined(b) for b in diagnostics.bfmi(result.stats["energy"])),
            acceptance_rate=float(result.stats["acceptance_rate"].mean()),
        )
        assessed.append(_with_shortcomings(replace(result, diagnostics=found), _chain_shortcomings(found, criteria)))
    return assessed


def _weighted(
    begun: Sequence[Result], lanes: Sequence[Sequence[Lane]], names: Sequence[str], criteria: Convergence
) -> list[Result]:
    """Results from weighted draws, resampled. ESS is that before resampling, which only copies draws."""
    weights, shapes = _weights(lanes)
    limit = psis.threshold(weights.shape[-1])
    assessed = []
    for result, (lane,), w, khat in zip(begun, lanes, weights, shapes, strict=True):
        latents = lane.kept("latents")[0].astype(np.float64)
        ess = float(psis.effective_size(w))
        found = Diagnostics(
            ess=dict.fromkeys(names, ess),
            ess_kind="weights",
            khat=_defined(khat),
            gradient_norm=float(lane.whole["gradient_norm"]),
            **_errors(latents, w, names),
        )
        chosen = psis.resample(w, float(lane.whole["comb"]))
        drawn = _with_draws(result, [lane], names, chosen)
        short = [*_weight_shortcomings(khat, limit), *_size_shortcomings(found, criteria)]
        assessed.append(_with_shortcomings(replace(drawn, diagnostics=found), short))
    return assessed


def _approximations(
    begun: Sequence[Result], lanes: Sequence[Sequence[Lane]], names: Sequence[str], criteria: Convergence
) -> list[Result]:
    """Results from independent draws of an approximation; its weights against the posterior tell how good it is."""
    weights, shapes = _weights(lanes)
    assessed = []
    for result, (lane,), w, khat in zip(begun, lanes, weights, shapes, strict=True):
        latents = lane.kept("latents")[0].astype(np.float64)
        whole: dict[str, Any] = {name: float(value) for name, value in lane.whole.items()}
        found = Diagnostics(
            ess=dict.fromkeys(names, float(len(latents))),
            ess_kind="independent",
            khat=_defined(khat),
            **whole,
            **_errors(latents, np.full(len(latents), 1 / len(latents)), names),
        )
        short = [*_weight_shortcomings(khat, _KHAT_MAX), *_size_shortcomings(found, criteria)]
        if not short and found.elbo is None:
            # A guide is judged by its bound and k̂; only the Laplace approximation has nothing but its weights.
            short = list(_approximation_shortcomings(latents, w, names))
        if result.status is LaneStatus.NOT_CONVERGED:
            short = [f"the ELBO still changes by {whole['elbo_change']:.3g}", *short]
        drawn = replace(_with_draws(result, [lane], names), status=LaneStatus.OK, diagnostics=found)
        assessed.append(_with_shortcomings(drawn, short))
    return assessed


_Assess = Callable[[Sequence[Result], Sequence[Sequence[Lane]], Sequence[str], Convergence], list[Result]]
_BY_KIND: dict[Kind, _Assess] = {
    Kind.MODE: _modes,
    Kind.CHAINS: _chains,
    Kind.WEIGHTED: _weighted,
    Kind.APPROXIMATION: _approximations,
}


def _with_draws(
    result: Result, lanes: Sequence[Lane], names: Sequence[str], chosen: np.ndarray | slice = slice(None)
) -> Result:
    """The result with its lanes' draws as chains; `chosen` selects draws."""
    latents = np.concatenate([lane.kept("latents") for lane in lanes])[:, chosen].astype(np.float64)
    stats = {
        name: np.concatenate([lane.kept(name) for lane in lanes])[:, chosen]
        for name in lanes[0].records
        if name not in _NOT_STATS
    }
    return replace(result, posterior={name: latents[..., at] for at, name in enumerate(names)}, stats=stats)


def _weights(lanes: Sequence[Sequence[Lane]]) -> tuple[np.ndarray, np.ndarray]:
    """Smoothed weights, shape (realization, draw), and k̂, shape (realization,)."""
    return psis.smooth(np.stack([lane.kept("log_weight")[0] for (lane,) in lanes]))


def _errors(latents: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Monte Carlo standard errors of the mean and standard deviation, from independent weighted draws.

    Source:
        Owen 2013, Monte Carlo theory, methods and examples, eq. 9.13; for the width, its influence function.
    """
    off = latents - weights @ latents
    width = np.sqrt(weights @ off**2)
    mean = np.sqrt(weights**2 @ off**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        sd = np.sqrt(weights**2 @ (off**2 - width**2) ** 2) / (2 * width)
    return {
        "mcse_mean": dict(zip(names, map(_defined, mean), strict=True)),
        "mcse_sd": dict(zip(names, map(_defined, sd), strict=True)),
    }


def _with_shortcomings(result: Result, shortcomings: Iterable[str]) -> Result:
    short = list(shortcomings)
    if not short or result.status is not LaneStatus.OK:
        return result
    return replace(result, status=LaneStatus.NOT_CONVERGED, reason=f"Not converged: {'; '.join(short)}.")


def _chain_shortcomings(found: Diagnostics, criteria: Convergence) -> Iterator[str]:
    high = [name for name, value in found.rhat.items() if value is None or value > criteria.rhat_max_of(name)]
    for name in high[:_TOLD]:
        yield f"R̂ of {name} is {_show(found.rhat[name])}, the limit is {criteria.rhat_max_of(name):g}"
    yield from _and_more("R̂", high)
    few = [name for name, value in found.ess.items() if value is None or value < criteria.ess_min_of(name)]
    for name in few[:_TOLD]:
        least = criteria.ess_min_of(name)
        yield f"the effective sample size of {name} is {_show(found.ess[name])}, the minimum is {least:g}"
    yield from _and_more("the effective sample size", few)
    if found.divergence_frac is not None and found.divergence_frac > criteria.divergence_frac_max:
        yield f"{found.divergence_frac:.1%} of the transitions diverge, the limit is {criteria.divergence_frac_max:.1%}"
    for value in found.bfmi or ():
        if value is None or value < criteria.bfmi_min:
            yield f"the BFMI of a chain is {_show(value)}, the minimum is {criteria.bfmi_min:g}"


def _and_more(what: str, names: Sequence[str]) -> Iterator[str]:
    if len(names) > _TOLD:
        yield f"{what} of {len(names) - _TOLD} more latents misses its limit"


def _weight_shortcomings(khat: float, limit: float) -> Iterator[str]:
    if not khat < limit:
        yield f"k̂ of the weights is {_show(_defined(khat))}, it must be below {limit:.2g}"


def _approximation_shortcomings(latents: np.ndarray, weights: np.ndarray, names: Sequence[str]) -> Iterator[str]:
    """Where mean or width of unweighted draws differ from those of weighted draws, beyond three Monte Carlo errors.

    k̂ does not tell this: at k̂ = .43 the mean of a skewed posterior was off by .38 of its width.
    """
    mean = weights @ latents
    width = np.sqrt(weights @ (latents - mean) ** 2)
    error = np.sqrt(weights**2 @ (latents - mean) ** 2) / width
    shift = (latents.mean(axis=0) - mean) / width
    ratio = latents.std(axis=0, ddof=1) / width
    for name, off, by, of_mean in zip(names, shift, ratio, error, strict=True):
        if abs(off) - 3 * of_mean > _SHIFT_MAX:
            yield f"the mean of {name} is off by {abs(off):.2g} of its width, the limit is {_SHIFT_MAX:g}"
        # For a normal distribution, the relative error of a width is that of the mean divided by √2.
        if abs(by - 1) - 3 * of_mean / np.sqrt(2) > _RATIO_MAX:
            yield f"the width of {name} is {by:.2g} of the posterior's, the limit is ± {_RATIO_MAX:.0%}"


def _size_shortcomings(found: Diagnostics, criteria: Convergence) -> Iterator[str]:
    """For independent draws; all latents have the same effective sample size."""
    size, least = next(iter(found.ess.values())), max(map(criteria.ess_min_of, found.ess))
    if size is None or size < least:
        yield f"the effective sample size is {_show(size)}, the minimum is {least:g}"


def _show(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

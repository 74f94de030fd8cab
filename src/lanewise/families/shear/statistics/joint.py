"""Numbers from both components: resampled errors, the 2×2 response, PSF leakage, and the effect of finite draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from lanewise.families.shear.statistics.bias import ComponentBias
from lanewise.families.shear.statistics.estimates import Estimates
from lanewise.families.shear.statistics.selection import COMPONENTS, Component
from lanewise.statistics import resampling
from lanewise.statistics.regression import Array, Measure, design
from lanewise.statistics.resampling import Line, Resampled


@dataclass(frozen=True)
class Again:
    """m or c of one component, with jackknife and bootstrap errors."""

    number: str
    component: Component
    resampled: Resampled


@dataclass(frozen=True)
class Entry:
    """One entry of ĝ_i = Σ_j (δ_ij + m_ij) g_j + c_i.

    Attributes:
        estimate, truth: components i and j.
        m: the element m_ij.
    """

    estimate: Component
    truth: Component
    m: Resampled


@dataclass(frozen=True)
class FiniteDraws:
    """m from the first half of each chain compared with m from all draws: the effect of finite draws.

    Attributes:
        m_half: m from half of the draws.
        shift: m_half − m, with errors from resampling the same groups for both.
        extrapolated: 2 m − m_half, the limit of infinite draws if the bias is proportional to 1/draws.
    """

    component: Component
    m_half: float
    shift: Resampled
    extrapolated: float


@dataclass(frozen=True)
class Other:
    """m of one component by an estimator that is not the one of the verdict, over the same realizations.

    Attributes:
        estimator: a key of `estimates.ESTIMATORS`.
        m: with errors by jackknife and bootstrap.
        shift: m less that of the verdict, with errors from resampling the same groups for both.
    """

    estimator: str
    component: Component
    m: Resampled
    shift: Resampled


@dataclass(frozen=True)
class Leakage:
    """PSF leakage α in c_k = α e_k, assuming that all of c is leakage.

    Attributes:
        e1, e2: ellipticity of the PSF [reduced shear].
        alpha: least-squares estimate.
    """

    e1: float
    e2: float
    alpha: Measure


@dataclass(frozen=True)
class Joint:
    """Numbers that need groups or both components; empty if a campaign cannot provide them."""

    resampled: tuple[Again, ...] = ()
    matrix: tuple[Entry, ...] = ()
    finite_draws: tuple[FiniteDraws, ...] = ()
    others: tuple[Other, ...] = ()
    leakage: Leakage | None = None


def joint(
    data: Mapping[Component, Estimates],
    biases: Mapping[Component, ComponentBias],
    psf_shape: tuple[float, float] = (0.0, 0.0),
    others: Mapping[str, Mapping[Component, Estimates]] = MappingProxyType({}),
) -> Joint:
    """Compute all numbers that need groups or both components.

    Args:
        data: estimates of the components that were inferred, over the same realizations.
        biases: from `bias.component_bias`.
        psf_shape: ellipticity (e1, e2) of the PSF [reduced shear].
        others: estimates of the same realizations by other estimators.
    """
    leakage = _leakage(biases, psf_shape)
    lines = _lines(data)
    for name, one in others.items():
        lines |= {(name, k): line for (kind, k), line in _lines(one).items() if kind == "all"}
    found = resampling.coefficients(list(lines.values()), next(iter(data.values())).seed) if lines else None
    if found is None:
        return Joint(leakage=leakage)
    resampled: list[Again] = []
    matrix: list[Entry] = []
    draws: list[FiniteDraws] = []
    compared: list[Other] = []
    named = dict(zip(lines, found, strict=True))
    for (kind, component), line in named.items():
        has_slope = len(line.whole) > 1
        if kind == "all":
            level = 0.0 if has_slope else float(data[component].truth[0])
            resampled += [Again("m", component, line.resampled(1, 1.0))] if has_slope else []
            resampled += [Again("c", component, line.resampled(0, level))]
        elif kind == "matrix":
            matrix += [
                Entry(component, k, line.resampled(1 + j, float(k == component))) for j, k in enumerate(COMPONENTS)
            ]
        elif kind in others:
            if has_slope and ("all", component) in named:
                shift = line.minus(named["all", component]).resampled(1)
                compared.append(Other(kind, component, line.resampled(1, 1.0), shift))
        elif has_slope:
            full = named["all", component]
            m, m_half = float(full.whole[1] - 1), float(line.whole[1] - 1)
            draws.append(FiniteDraws(component, m_half, line.minus(full).resampled(1), 2 * m - m_half))
    return Joint(tuple(resampled), tuple(matrix), tuple(draws), tuple(compared), leakage)


def _lines(data: Mapping[Component, Estimates]) -> dict[tuple[str, Component], Line]:
    """All possible regressions: per component, per component with half of the draws, and on both truths."""
    lines: dict[tuple[str, Component], Line] = {}
    usable = {k: d for k, d in data.items() if len(d.truth) and np.all(np.isfinite(d.value))}
    for k, one in usable.items():
        lines["all", k] = _line(one, design(one.truth), _unpulled(one), one.raw_width)
        if np.all(np.isfinite(one.half)) and np.all(np.isfinite(one.half_width)):
            lines["half", k] = _line(one, design(one.truth), one.half, one.half_width)
    if len(usable) == len(COMPONENTS):
        truths = np.stack([np.ones_like(usable["g1"].truth), *(usable[k].truth for k in COMPONENTS)], axis=1)
        if np.linalg.matrix_rank(truths / np.maximum(np.abs(truths).max(axis=0), 1e-300)) == truths.shape[1]:
            lines |= {("matrix", k): _line(one, truths, _unpulled(one), one.raw_width) for k, one in usable.items()}
    return lines


def _unpulled(data: Estimates) -> Array:
    """Estimates for `Line`, which divides by λ̂ itself."""
    return data.value if data.shrinkage is None else data.raw


def _line(data: Estimates, columns: Array, raw: Array, width: Array) -> Line:
    if data.shrinkage is None:
        return Line(columns, raw, np.full_like(raw, np.nan), None)
    prior = data.shrinkage.prior
    return Line(columns, raw, (width / prior.sigma) ** 2, prior.mean)


def _leakage(biases: Mapping[Component, ComponentBias], shape: tuple[float, float]) -> Leakage | None:
    """Least squares of c on the PSF ellipticity, without intercept."""
    parts = [(biases[k].c, e) for k, e in zip(COMPONENTS, shape, strict=True) if k in biases]
    size = sum(e**2 for c, e in parts if c is not None)
    if size == 0:
        return None
    known = [(c, e) for c, e in parts if c is not None]

    def error(of: Callable[[Measure], float | None]) -> float | None:
        errors = [(of(c), e) for c, e in known]
        if any(one is None for one, _ in errors):
            return None
        return float(np.sqrt(sum((e * one) ** 2 for one, e in errors if one is not None))) / size

    value = sum(c.value * e for c, e in known) / size
    errors = (error(lambda c: c.error), error(lambda c: c.error_realised), error(lambda c: c.error_predicted))
    return Leakage(*shape, Measure(value, *errors))

"""Numbers from both components: resampled errors, the 2×2 response, PSF leakage, and the effect of finite draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lanewise.families.shear.statistics.bias import ComponentBias, Estimates
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
    leakage: Leakage | None = None


@dataclass(frozen=True)
class _Place:
    """Position of a line's coefficients among those of all lines."""

    kind: str
    component: Component
    columns: slice


def joint(
    data: Mapping[Component, Estimates],
    biases: Mapping[Component, ComponentBias],
    psf_shape: tuple[float, float] = (0.0, 0.0),
) -> Joint:
    """Compute all numbers that need groups or both components.

    Args:
        data: estimates of the components that were inferred, over the same realizations.
        biases: from `bias.component_bias`.
        psf_shape: ellipticity (e1, e2) of the PSF [reduced shear].
    """
    leakage = _leakage(biases, psf_shape)
    lines, places = _lines(data)
    if not lines:
        return Joint(leakage=leakage)
    found = resampling.coefficients(lines, next(iter(data.values())).seed)
    if found is None:
        return Joint(leakage=leakage)
    whole, without, again = found

    def one(at: int, less: float = 0.0) -> Resampled:
        return resampling.resampled(whole[at] - less, without[:, at] - less, again[:, at] - less)

    resampled, matrix, draws = [], [], []
    slopes = {place.component: place.columns for place in places if place.kind == "all"}
    for place in places:
        first = place.columns.start
        has_slope = place.columns.stop - first > 1
        if place.kind == "all":
            level = 0.0 if has_slope else float(data[place.component].truth[0])
            resampled += [Again("m", place.component, one(first + 1, 1.0))] if has_slope else []
            resampled += [Again("c", place.component, one(first, level))]
        elif place.kind == "matrix":
            matrix += [
                Entry(place.component, k, one(first + 1 + j, float(k == place.component)))
                for j, k in enumerate(COMPONENTS)
            ]
        elif has_slope:
            half, full = first + 1, slopes[place.component].start + 1
            shift = resampling.resampled(
                whole[half] - whole[full], without[:, half] - without[:, full], again[:, half] - again[:, full]
            )
            m, m_half = float(whole[full] - 1), float(whole[half] - 1)
            draws.append(FiniteDraws(place.component, m_half, shift, 2 * m - m_half))
    return Joint(tuple(resampled), tuple(matrix), tuple(draws), leakage)


def _lines(data: Mapping[Component, Estimates]) -> tuple[list[Line], list[_Place]]:
    """All possible regressions: per component, per component with half of the draws, and on both truths."""
    lines: list[Line] = []
    places: list[_Place] = []

    def add(kind: str, component: Component, columns: Array, raw: Array, width: Array) -> None:
        shrinkage = data[component].shrinkage
        prior = None if shrinkage is None else shrinkage.prior
        share = np.full_like(raw, np.nan) if prior is None else (width / prior.sigma) ** 2
        start = places[-1].columns.stop if places else 0
        lines.append(Line(columns, raw, share, None if prior is None else prior.mean))
        places.append(_Place(kind, component, slice(start, start + columns.shape[1])))

    usable = {k: d for k, d in data.items() if len(d.truth) and np.all(np.isfinite(d.value))}
    for k, one in usable.items():
        add("all", k, design(one.truth), one.raw, one.raw_width)
        if np.all(np.isfinite(one.half)) and np.all(np.isfinite(one.half_width)):
            add("half", k, design(one.truth), one.half, one.half_width)
    if len(usable) == len(COMPONENTS):
        truths = np.stack([np.ones_like(usable["g1"].truth), *(usable[k].truth for k in COMPONENTS)], axis=1)
        if np.linalg.matrix_rank(truths / np.maximum(np.abs(truths).max(axis=0), 1e-300)) == truths.shape[1]:
            for k, one in usable.items():
                add("matrix", k, truths, one.raw, one.raw_width)
    return lines, places


def _leakage(biases: Mapping[Component, ComponentBias], shape: tuple[float, float]) -> Leakage | None:
    """Least squares of c on the PSF ellipticity, without intercept."""
    parts = [(biases[k].c, e) for k, e in zip(COMPONENTS, shape, strict=True) if k in biases]
    size = sum(e**2 for c, e in parts if c is not None)
    if size == 0:
        return None
    known = [(c, e) for c, e in parts if c is not None]

    def error(values: Sequence[float | None]) -> float | None:
        terms = [None if v is None else (e * v) ** 2 for v, (_, e) in zip(values, known, strict=True)]
        return None if None in terms else float(np.sqrt(sum(t for t in terms if t is not None))) / size

    errors = (
        error([c.error for c, _ in known]),
        error([c.error_realised for c, _ in known]),
        error([c.error_predicted for c, _ in known]),
    )
    return Leakage(*shape, Measure(sum(c.value * e for c, e in known) / size, *errors))

"""The result of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from lanewise.families.heterodyne.nlsq.bands import Bands
from lanewise.families.heterodyne.nlsq.comparison import Comparison
from lanewise.families.heterodyne.nlsq.noise import Noise
from lanewise.families.heterodyne.nlsq.speckle_errors import SpeckleNoise


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; the error is infinite if the data do not determine the value."""

    value: float
    error: float


@dataclass(frozen=True)
class Estimates:
    """Everything that is estimated, with its errors.

    Attributes:
        parameters: the model's parameters, in their order; a fixed one has error 0.
        covariance: covariance of the parameters.
        headline: the quantities that the data determine best, at t_ref: J_ref, J_sample [Å²/s] and v = |drift| [Å/s] of
            two components; J and gamma_dot = |shear rate| [1/s] of one.
        contrast, offset: one estimate per angle.
    """

    parameters: Mapping[str, Estimate]
    covariance: np.ndarray
    headline: Mapping[str, Estimate]
    contrast: tuple[Estimate, ...]
    offset: tuple[Estimate, ...]

    @property
    def vector(self) -> np.ndarray:
        """The parameters in order, the argument `params` of `two_time_correlation`."""
        return np.array([one.value for one in self.parameters.values()])

    @property
    def j_ref(self) -> Estimate:
        """Rate of the reference at t_ref, for two components."""
        return self.headline["J_ref"]

    @property
    def j_sample(self) -> Estimate:
        """Rate of the sample at t_ref, for two components."""
        return self.headline["J_sample"]

    @property
    def v(self) -> Estimate:
        """|drift| at t_ref, for two components."""
        return self.headline["v"]


@dataclass(frozen=True)
class EarlierFit:
    """A minimum that an earlier search found in the same data.

    Attributes:
        source: where it is from, for errors.
        parameters: of the model by name.
        ssr, n_data, agreement, n_polished, rounds: as in `FitResult`.
    """

    source: str
    parameters: Mapping[str, float]
    ssr: float
    n_data: int
    agreement: int
    n_polished: int
    rounds: int

    @classmethod
    def of(cls, fit: FitResult, source: str) -> Self:
        """The minimum of a fit."""
        parameters = {name: one.value for name, one in fit.parameters.items()}
        return cls(source, parameters, fit.ssr, fit.n_data, fit.agreement, fit.n_polished, fit.rounds)


@dataclass(frozen=True)
class FitResult(Estimates):
    """The estimates of a fit, their errors, and whether it converged.

    Attributes:
        t_ref: geometric mean of the ages [s].
        independent: the same estimates with errors for independent noise.
        speckle: noise that frames share, for which the errors hold; None if they are those of `independent`.
        shared_z: evidence for noise that frames share; standard normal without it.
        ssr: weighted sum of squared residuals over pairs of ages i < j, each counted once.
        n_data, n_free: number of residuals, and of unknowns that are free at the minimum.
        noise: standard deviation of the values, estimated from differences of neighbours [c2].
        reduced_chi2: ssr / (n_data − n_free) / noise².
        expected_chi2: expectation of ssr / noise² if the model is right.
        exchange_chi2: by how much χ² rises if the components are exchanged, where n_data is χ² of this fit; infinite if
            the bounds allow no exchanged fit; NaN for a model with one component.
        second_component_chi2: by how much the second component lowers χ², in the same units; NaN as above.
        agreement: starts that ended in the minimum, out of the n_polished that were fitted to all data.
        rounds: number of rounds of starts.
        warnings: every reason to doubt the minimum or the model.
        at_bounds: parameters that ended at a bound; the errors ignore the bounds.
        degenerate: directions that the data hardly determine.
        bands: rates, drift and cuts through the correlation, with the errors of the estimates.
        criterion: BIC of the fit, or under speckle noise the BIC of its composite likelihood (`comparison`).
        comparison: how the models of `model.compare` do on the same data; None if there are none.
        coordinates: the minimum in the coordinates of the fit (`FitModel`).
    """

    t_ref: float
    independent: Estimates
    speckle: SpeckleNoise | None
    shared_z: float
    ssr: float
    n_data: int
    n_free: int
    noise: Noise
    reduced_chi2: float
    expected_chi2: float
    exchange_chi2: float
    second_component_chi2: float
    agreement: int
    n_polished: int
    rounds: int
    warnings: tuple[str, ...]
    at_bounds: tuple[str, ...]
    degenerate: tuple[str, ...]
    bands: Bands
    criterion: float
    coordinates: np.ndarray
    comparison: Comparison | None = None

    @property
    def converged(self) -> bool:
        """Whether there is no reason to doubt the minimum or the model."""
        return not self.warnings

"""Which model the data prefer: an information criterion of fits of several models to the same data.

Under independent noise the criterion is BIC = n ln(ssr/n) + k ln n, with k unknowns. Under speckle noise least squares
is a composite likelihood. Its maximum grows with each superfluous unknown by more than χ² says, and k is replaced by
the effective number of unknowns tr(H⁻¹J), the decrease of ssr that noise alone gives (composite-likelihood BIC: Gao &
Song 2010): ssr/σ² + tr(H⁻¹J)/σ² · ln n, with J from the simulations of `replicates`. Here n is the number of values,
the most careful choice: values that share noise are worth fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lanewise.families.heterodyne.models import ModelName

Criterion = Literal["BIC", "CL-BIC"]


@dataclass(frozen=True)
class Comparison:
    """Fits of several models to the same data.

    Attributes:
        criterion: BIC for independent noise, CL-BIC for speckle noise.
        deltas: model → its criterion minus the smallest; 0 for the model that the data prefer.
    """

    criterion: Criterion
    deltas: Mapping[ModelName, float]

    @property
    def best(self) -> ModelName:
        """The model that the data prefer."""
        return min(self.deltas, key=self.deltas.__getitem__)


def compare(criterion: Criterion, names: Sequence[ModelName], values: Sequence[float]) -> Comparison:
    """The comparison of models with these values of the criterion."""
    return Comparison(criterion, {name: value - min(values) for name, value in zip(names, values, strict=True)})


def bic(ssr: float, n_data: int, n_unknowns: int) -> float:
    """BIC of independent Gaussian noise of unknown variance."""
    return float(n_data * np.log(ssr / n_data) + n_unknowns * np.log(n_data))


def composite_bic(ssr: float, absorbed: float, n_data: int, variance: float) -> float:
    """BIC of a composite likelihood.

    Args:
        absorbed: tr(H⁻¹J), by how much noise alone lowers ssr.
        variance: that of one value.
    """
    return float((ssr + absorbed * np.log(n_data)) / variance)

"""Reasons to doubt the minimum or the model, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lanewise.families.heterodyne.config import FitSettings, Scaling
from lanewise.families.heterodyne.nlsq.search import FINISH_EFFORT
from lanewise.families.heterodyne.nlsq.solver import Search
from lanewise.statistics.numbers import number

# Required decrease of χ² against a constant: _PER_UNKNOWN per unknown plus _PER_FIT, so three standard deviations for
# each unknown and five for a single one. On pure noise the decrease was at most 22 in 16 trials; 137 are required.
_PER_UNKNOWN, _PER_FIT = 9.0, 16.0
# A descent that reached the limit of passes also counts as done if the predicted further decrease of χ² is below this.
_DONE_CHI2 = 0.01
# Under speckle noise few effective degrees of freedom make χ² scatter: it must also be this improbable.
_P_VALUE = 1e-3
# Frames that a sentence names.
_NAMED = 10


def needed(unknowns: int) -> float:
    """Decrease of χ² that shows that unknowns describe more than independent noise."""
    return _PER_UNKNOWN * unknowns + _PER_FIT


def no_signal(gained: float, unknowns: int, inflation: float) -> Iterator[str]:
    """A warning if χ² is not clearly lower than that of a constant.

    Args:
        gained: by how much it is lower.
        inflation: by how much more than independent noise the noise lowers χ² per unknown.
    """
    least = inflation * needed(unknowns)
    if not gained > least:
        yield (
            f"χ² is lower than that of a constant by {number(gained, '.3g')}, where {unknowns} unknowns need "
            f"{number(least, '.4g')}: "
            "these data show no correlation that could be fitted"
        )


def of_search(best: Search, agreement: int, n_polished: int, n_data: int, limits: FitSettings) -> Iterator[str]:
    """Too few starts agree, or the best one has not ended."""
    if agreement < limits.agreement:
        yield (
            f"{agreement} of {n_polished} polished starts ended here, {limits.agreement} are needed; "
            "raise fit.starts or fit.rounds"
        )
    if not best.done and best.promised > _DONE_CHI2 * best.at.ssr / n_data:
        yield (
            f"the best start was still descending after {FINISH_EFFORT * limits.max_iterations} steps; "
            "raise fit.max_iterations"
        )


def of_chi2(reduced_chi2: float, p_value: float | None, odd: Sequence[int], limits: FitSettings) -> Iterator[str]:
    """χ² is too high for the noise.

    Args:
        reduced_chi2: χ² over its expectation.
        p_value: under speckle noise, the probability of a χ² as high; None for independent noise.
        odd: numbers of the frames that differ from all others.
    """
    if reduced_chi2 <= limits.reduced_chi2_max or (p_value is not None and p_value > _P_VALUE):
        return
    what = f"reduced χ² is {number(reduced_chi2, '.3g')}, above {number(limits.reduced_chi2_max, 'g')}"
    if p_value is not None:
        what = (
            f"χ² is {number(reduced_chi2, '.3g')} times its expectation under speckle noise, above "
            f"{number(limits.reduced_chi2_max, 'g')} "
            f"(p = {number(p_value, '.1g')})"
        )
    named = f"; frames that differ from all others: {', '.join(map(str, odd[:_NAMED]))}" if odd else ""
    yield f"{what}: the model does not describe the data to their noise{named}"


def of_scaling(contrast: Sequence[float], offset: Sequence[float], scaling: Scaling) -> Iterator[str]:
    """Contrast or offset of an angle is outside its bounds; the fit enforces them in every mode but fourier."""
    if scaling.mode != "fourier":
        return
    for name, values, (low, high) in (
        ("contrast", contrast, scaling.contrast.bounds),
        ("offset", offset, scaling.offset.bounds),
    ):
        worst = max(values, key=lambda value: max(low - value, value - high))
        if not low <= worst <= high:
            yield f"the {name} of an angle is {number(worst, '.3g')}, outside {number(low, 'g')} to {number(high, 'g')}"

"""How many errors a verdict needs if a campaign may be extended until it decides.

At every look at growing data, a true bias on its bound has a new chance to pass: with three errors at each of fifteen
looks, 4.7 % of such campaigns pass. The first look is made at three errors. Every later one is a look at a confidence
sequence, which holds for all sample sizes together, whatever the rule by which they were chosen. Both together let at
most .3 % pass.

Source:
    Robbins 1970, Statistical methods related to the law of the iterated logarithm (normal mixture boundary).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

FIRST = 3.0
# One-sided probability that a bias on its bound ever passes.
EVER = 0.003
# The sequence is narrowest where the data are this many times those of the first look.
_TUNED = 10.0


@dataclass(frozen=True)
class Reach:
    """Errors between a number and its bound that decide.

    Attributes:
        now: at this look.
        later: at the next one.
        n_looks: looks that the manifest has had, with this one: one more than its extensions.
    """

    now: float = FIRST
    later: float = FIRST
    n_looks: int = 1


def reach(first: int, extensions: tuple[int, ...], *, errors: float = FIRST, ever: float = EVER) -> Reach:
    """The errors that decide after these extensions of a campaign of `first` realizations per point.

    It depends on the manifest alone, so that a verdict does not depend on how often it was asked for.

    Args:
        errors: at the first look.
        ever: one-sided probability that a number on its bound ever passes; above that of the first look.
    """
    growth = (first + sum(extensions)) / first
    rest = ever - float(stats.norm.sf(errors))
    return Reach(_later(growth, rest) if extensions else errors, _later(2 * growth, rest), 1 + len(extensions))


def _later(growth: float, ever: float) -> float:
    ratio = _TUNED * growth
    return math.sqrt((1 + 1 / ratio) * (math.log1p(ratio) + 2 * math.log(1 / (2 * ever))))

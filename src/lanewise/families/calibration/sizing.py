"""How many ranks a realization has, and how many realizations show that a coverage is right."""

from __future__ import annotations

from scipy import stats

from lanewise.manifest.manifest import Acceptance, Realizations
from lanewise.statistics import coverage, sequential
from lanewise.statistics.coverage import Margin

# Probability of the central interval whose coverage is judged.
JUDGED = 0.68
COVERAGE_MARGIN = 0.1
# Probability with which a calibrated campaign of the planned size passes.
POWER = 0.9
# Smallest and largest L + 1. Finer ranks than 1/256 do not make the tests more sensitive.
_FEWEST_RANKS, _MOST_RANKS = 16, 256


def n_ranks(ess: float) -> int:
    """L + 1 for draws with effective sample size `ess`: a multiple of 16, from 16 to 256."""
    return min(_MOST_RANKS, max(_FEWEST_RANKS, int(ess + 1) // _FEWEST_RANKS * _FEWEST_RANKS))


def central(n_ranks: int, level: float) -> tuple[int, float]:
    """Ranks outside a central interval at each end, and the probability of the interval nearest to `level`."""
    outer = round(n_ranks * (1 - level) / 2)
    return outer, 1 - 2 * outer / n_ranks


def margin_of(acceptance: Acceptance, n_ranks: int, asked: Realizations | None = None) -> Margin:
    """What the coverage of each latent has to be shown to be.

    Args:
        asked: the manifest's realizations, whose extensions are further looks; None: the first look.
    """
    first, extensions = (1, ()) if asked is None else (asked.count, asked.extensions)
    reach = sequential.reach(first, extensions, errors=coverage.FIRST, ever=coverage.EVER)
    margin = COVERAGE_MARGIN if acceptance.coverage_margin is None else acceptance.coverage_margin
    return Margin(central(n_ranks, JUDGED)[1], margin, float(1 - 2 * stats.norm.sf(reach.now)))


def n_needed(margin: Margin, n_latents: int) -> int:
    """Realizations with which calibrated posteriors of so many latents pass with a probability of `POWER`."""
    return margin.n_needed(POWER ** (1 / n_latents))

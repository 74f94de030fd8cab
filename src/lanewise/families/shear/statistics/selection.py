"""Select the realizations that count: converged, finite, and in a complete group of arms with one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from lanewise.families.shear.shears import TURNED

Component = Literal["g1", "g2"]
COMPONENTS: tuple[Component, Component] = ("g1", "g2")


@dataclass(frozen=True)
class ShearTruth:
    """True reduced shear and seed of a realization, computed or only planned."""

    run_id: str
    g1: float
    g2: float
    seed: int


class _Arm(NamedTuple):
    """Key of an arm in its group: ±g, and whether the galaxy is rotated by 90°."""

    seed: int
    g1: float
    g2: float
    turned: bool

    @property
    def opposite(self) -> _Arm:
        """The arm with shear −g; the arm itself at zero shear."""
        # 0.0 − g, because −g would give −0.0, which is not a planned shear.
        return self._replace(g1=0.0 - self.g1, g2=0.0 - self.g2)

    @property
    def other_turn(self) -> _Arm:
        """The arm with the other rotation of the galaxy."""
        return self._replace(turned=not self.turned)

    @property
    def partners(self) -> tuple[_Arm, _Arm, _Arm]:
        """All other possible arms of the group."""
        return self.opposite, self.other_turn, self.other_turn.opposite


@dataclass(frozen=True)
class Signs:
    """Failures of arms of ±g pairs, by the sign of g.

    Attributes:
        n_pairs: pairs with both arms computed.
        n_only_plus, n_only_minus: pairs in which only the +g arm, or only the −g arm, does not count.
        p: two-sided p-value of McNemar's exact test that failures do not depend on the sign.
    """

    n_pairs: int
    n_only_plus: int
    n_only_minus: int
    p: float


@dataclass(frozen=True)
class GroupCount:
    """Independent groups (realizations of one seed) whose arms have the same shears: computed, and excluded.

    A group is excluded if one of its arms was computed and does not count. Groups with missing arms are left out.
    """

    n_computed: int
    n_excluded: int


def groups(summary: pd.DataFrame, missing: Sequence[ShearTruth] = ()) -> tuple[GroupCount, ...]:
    """Groups by the shears of their arms, and how many were excluded."""
    fine: dict[int, bool] = {}
    shears: dict[int, set[tuple[float, float]]] = {}
    for arm, counts_itself in zip(_arms(summary), passed(summary), strict=True):
        fine[arm.seed] = fine.get(arm.seed, True) and bool(counts_itself)
        shears.setdefault(arm.seed, set()).add((arm.g1, arm.g2))
    for arm in _absent(summary, missing):
        fine.pop(arm.seed, None)
    computed: Counter[frozenset[tuple[float, float]]] = Counter()
    excluded: Counter[frozenset[tuple[float, float]]] = Counter()
    for seed, entered in fine.items():
        computed[frozenset(shears[seed])] += 1
        excluded[frozenset(shears[seed])] += not entered
    return tuple(GroupCount(computed[key], excluded[key]) for key in sorted(computed, key=sorted))


def n_lost(summary: pd.DataFrame, counted: pd.Series[bool], missing: Sequence[ShearTruth]) -> int:
    """Number of groups that were excluded or are missing."""
    entered = set(summary["seed"][counted])
    return len(({*summary["seed"], *(truth.seed for truth in missing)}) - entered)


def ordered(summary: pd.DataFrame) -> pd.DataFrame:
    """The table sorted by shear, seed and run id, so that no number depends on the order of chunks."""
    return summary.sort_values(["g1_true", "g2_true", "seed", "run_id"], kind="stable", ignore_index=True)


def counts(summary: pd.DataFrame, missing: Sequence[ShearTruth] = ()) -> pd.Series[bool]:
    """Which rows count: converged, finite estimates of all inferred components, and a complete group.

    The arms of a ±g pair or a ring have the same seed, and their common noise cancels only within the group. Therefore
    an arm does not count if one of its partners does not count or is missing.

    Args:
        missing: realizations of the plan that are not in the table.
    """
    fine = passed(summary)
    lost = {arm for arm, counts_itself in zip(_arms(summary), fine, strict=True) if not counts_itself}
    return fine & ~_partner_in(summary, lost | _absent(summary, missing))


def unpaired(summary: pd.DataFrame, missing: Sequence[ShearTruth] = ()) -> pd.Series[bool]:
    """Which rows are converged and finite, but have a partner that is missing from the table."""
    return passed(summary) & _partner_in(summary, _absent(summary, missing))


def passed(summary: pd.DataFrame) -> pd.Series[bool]:
    """Which rows are converged and finite, regardless of the other arms of their group."""
    fine = summary["passed_convergence"].map(lambda v: str(v).lower() == "true").astype(bool)
    for component in COMPONENTS:
        finite = np.isfinite(pd.to_numeric(summary[f"{component}_mean"]))
        if (finite & fine).any():
            fine &= finite
    return fine & bool(inferred(summary))


def signs(summary: pd.DataFrame) -> Signs | None:
    """Test whether arms with one sign of g fail more often than those with the other; None without pairs."""
    fine = dict(zip(_arms(summary), passed(summary), strict=True))
    plus = [arm for arm in fine if (arm.g1, arm.g2) > (0, 0) and arm.opposite in fine]
    if not plus:
        return None
    only_plus = sum(not fine[arm] and bool(fine[arm.opposite]) for arm in plus)
    only_minus = sum(bool(fine[arm]) and not fine[arm.opposite] for arm in plus)
    uneven = only_plus + only_minus
    p = float(stats.binomtest(only_plus, uneven).pvalue) if uneven else 1.0
    return Signs(len(plus), only_plus, only_minus, p)


def galaxy_signs(summary: pd.DataFrame) -> Signs | None:
    """Galaxies of populations that failed or have doubtful weights, under +g and under −g; None without pairs.

    A galaxy that fails under both signs counts on both sides: that can only make p larger.
    """
    if "galaxies_failed" not in summary:
        return None
    failed = dict(zip(_arms(summary), pd.to_numeric(summary["galaxies_failed"]).fillna(0), strict=True))
    plus = [arm for arm in failed if (arm.g1, arm.g2) > (0, 0) and arm.opposite in failed]
    if not plus:
        return None
    n_plus, n_minus = (int(sum(failed[arm] for arm in arms)) for arms in (plus, [arm.opposite for arm in plus]))
    p = float(stats.binomtest(n_plus, n_plus + n_minus).pvalue) if n_plus + n_minus else 1.0
    return Signs(len(plus), n_plus, n_minus, p)


def _arms(summary: pd.DataFrame) -> list[_Arm]:
    columns = (summary[name] for name in ("seed", "g1_true", "g2_true", "run_id"))
    return [_Arm(seed, g1, g2, _turned(name)) for seed, g1, g2, name in zip(*columns, strict=True)]


def _turned(run_id: object) -> bool:
    return str(run_id).endswith(TURNED)


def _partner_in(summary: pd.DataFrame, arms: set[_Arm]) -> NDArray[np.bool_]:
    return np.array([not arms.isdisjoint(arm.partners) for arm in _arms(summary)], bool)


def _absent(summary: pd.DataFrame, missing: Sequence[ShearTruth]) -> set[_Arm]:
    """Arms that are planned, or inferred to be planned, but are not in the table."""
    there = set(_arms(summary))
    planned = {_Arm(t.seed, t.g1, t.g2, _turned(t.run_id)) for t in missing}
    # For a table without a plan: if one pair or ring is complete, assume that all arms have partners.
    if any(arm.opposite != arm and arm.opposite in there for arm in there):
        planned |= {arm.opposite for arm in there}
    if any(arm.other_turn in there for arm in there):
        planned |= {arm.other_turn for arm in there | planned}
    return planned - there


def inferred(summary: pd.DataFrame) -> tuple[Component, ...]:
    """Components with at least one finite estimate; a component that the config fixes has none."""
    return tuple(k for k in COMPONENTS if np.isfinite(pd.to_numeric(summary[f"{k}_mean"])).any())

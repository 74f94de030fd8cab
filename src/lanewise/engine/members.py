"""From the fits of a realization's members to its result, by the rule of its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lanewise.engine.convergence import Lane, assess_record
from lanewise.engine.results import Result, without_values
from lanewise.manifest.manifest import Convergence
from lanewise.manifest.problem import Members, Membership
from lanewise.manifest.status import LaneStatus


@dataclass(frozen=True)
class Fit:
    """What one member's lanes left.

    Attributes:
        result: status, reason and method; draws and diagnostics, unless the lanes left a record in their place.
        usable: whether the member's data could be made and used.
        record: array per name, shape (chain, …).
        flaw: the largest of its lanes; see `Problem.flaw`.
    """

    result: Result
    usable: bool = True
    record: Mapping[str, np.ndarray] = field(default_factory=dict)
    flaw: float = 0.0

    @classmethod
    def of(cls, result: Result) -> Fit:
        """The fit of a member that leaves its draws."""
        return cls(result, record=result.posterior)

    @property
    def khat(self) -> float | None:
        """k̂ of the weights: of the diagnostics, or `khat` of the record; None if it has none."""
        if "khat" in self.record:
            return float(np.max(self.record["khat"]))
        return self.result.diagnostics.khat


def reduced(fit: Fit, lanes: Sequence[Lane], criteria: Convergence) -> Fit:
    """The fit with the records that its lanes left, judged by the manifest's thresholds."""
    record = {name: np.stack([lane.whole[name] for lane in lanes]) for name in lanes[0].whole}
    return replace(fit, result=assess_record(fit.result, record, criteria), record=record)


def is_kept(before: Result | None, member: int) -> bool:
    """Whether a retry keeps a member of an earlier result: it is OK."""
    return before is not None and before.members is not None and before.members.status[member] == LaneStatus.OK


def combined(
    membership: Membership[Any, Result],
    config: Any,
    blank: Result,
    fits: Mapping[int, Fit],
    before: Result | None,
    n_members: int,
) -> Result:
    """The result of a realization.

    Args:
        blank: the result without posterior, with status OK.
        fits: number of a member → its fit; members that a retry keeps have none.
        before: the earlier result, for a retry.
    """
    found = None
    try:
        found = _members(fits, before.members if before else None, n_members)
        result = membership.combine(config, blank, found)
    except Exception as error:  # the border where one realization's failure becomes its record
        result = replace(
            blank, status=LaneStatus.FAILED, reason=f"Members could not be combined. {type(error).__name__}: {error}"
        )
    return result if result.members is not None else replace(result, members=found)


def _members(fits: Mapping[int, Fit], before: Members | None, n_members: int) -> Members:
    status = np.full(n_members, LaneStatus.OK, np.int8)
    reasons = dict(before.reasons) if before else {}
    record: dict[str, np.ndarray] = {}
    if before is not None:
        record = {name: array.copy() for name, array in before.record.items()}
    for member, fit in fits.items():
        status[member] = fit.result.status
        reasons.pop(member, None)
        if fit.result.status is not LaneStatus.OK:
            reasons[member] = fit.result.reason
        for name, array in fit.record.items():
            if name not in record:
                record[name] = without_values((n_members, *array.shape), array.dtype)
            into = record[name]
            if into.shape[1:] != array.shape:
                raise ValueError(
                    f"member {member} left {name} of shape {array.shape}, others {into.shape[1:]}; with several "
                    "methods, or a retry, `Membership.reduce` must give equal shapes"
                )
            into[member] = array
    return Members(status, record, dict(sorted(reasons.items())))

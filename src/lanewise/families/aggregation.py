"""From the results of a campaign to its numbers, verdict, plots and report."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd

    from lanewise.api import Campaign
    from lanewise.families.shear.statistics.summary import DamagedChunk

STAGES = {
    "shear": "lanewise.families.shear.aggregate",
    "calibration": "lanewise.families.calibration.aggregate",
    "heterodyne": "lanewise.families.heterodyne.aggregate",
}


class Aggregated(Protocol):
    """What a campaign came to."""

    @property
    def missing(self) -> Sequence[Any]:
        """What the plan has and storage has not, each with its `run_id`."""
        ...

    @property
    def damaged(self) -> Sequence[DamagedChunk]:
        """Committed chunks that cannot be read; what they held is missing."""
        ...


class Stages(Protocol):
    """The downstream stages of a family."""

    def collect(self, campaign: Campaign) -> pd.DataFrame:
        """The summary: one row per committed realization."""
        ...

    def aggregate(self, campaign: Campaign) -> Aggregated:
        """Write summary, statistics and report of what is committed; always ends in a report."""
        ...

    def text(self, results: Any, manifest: str) -> str:
        """What it came to, for a reader, who calls the manifest so."""
        ...

    def strict_code(self, results: Any) -> int:
        """Exit code of `aggregate --strict`."""
        ...


def of_kind(kind: str) -> Stages:
    """The downstream stages of a family of problems."""
    return cast("Stages", importlib.import_module(STAGES[kind]))

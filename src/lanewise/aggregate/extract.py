"""summary.csv: one row per committed realization, in the plan's order."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pandas as pd

from lanewise import commits, outputs
from lanewise.errors import Complaint, ManifestError

if TYPE_CHECKING:
    from lanewise.campaign import Campaign

SUMMARY = "summary.csv"
# Columns of whole numbers or truth values that may be undefined: pandas would turn them into floats.
_WHOLE = {"divergences": "Int64", "seed": "Int64", "passed_convergence": "boolean"}
_TEXT = ("run_id", "status", "method_used", "ess_kind", "reason")


def collect(campaign: Campaign) -> pd.DataFrame:
    """The summary of all committed chunks, independent of the order they were committed in."""
    found = campaign.commits()
    return table([row for index in sorted(found) for row in commits.load_rows(campaign.store, found[index])])


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with the contract's columns, also where there are none."""
    frame = pd.DataFrame(rows, columns=list(outputs.SUMMARY_COLUMNS))
    numbers = [name for name in frame.columns if name not in _TEXT and name not in _WHOLE]
    return frame.astype({**_WHOLE, **dict.fromkeys(numbers, float)})


def to_csv(frame: pd.DataFrame) -> bytes:
    """The table as CSV; every float reads back to the same bits."""
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def from_csv(data: bytes, source: str) -> pd.DataFrame:
    """A table that `to_csv` wrote, or one with at least its columns.

    Raises:
        ManifestError: the table lacks columns.
    """
    frame = pd.read_csv(io.BytesIO(data))
    lacking = [
        name for name in ("run_id", "g1_true", "g2_true", "g1_mean", "g1_std", "seed") if name not in frame.columns
    ]
    if lacking:
        raise ManifestError(
            [Complaint(source, 1, "", f"expected the columns of summary.csv, got none named {', '.join(lacking)}")]
        )
    return frame.reindex(columns=[*outputs.SUMMARY_COLUMNS])

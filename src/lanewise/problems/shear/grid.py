"""The true shears of a campaign: a grid, or points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lanewise.document import Document, Path
from lanewise.errors import Complaint

# The plan of a campaign is held in memory, some hundred bytes a realization.
MOST_REALIZATIONS = 10_000_000


@dataclass(frozen=True)
class Shears:
    """True shears.

    Attributes:
        points: (g1, g2) per grid point, in the order of the manifest [reduced shear].
        paired: every point is run as +g and −g with one seed.
    """

    points: tuple[tuple[float, float], ...]
    paired: bool = False


def check(doc: Document) -> list[Complaint]:
    """What the schema cannot say of `shear` and the number of realizations."""
    found = []
    shear = doc.value["shear"]
    if ("grid" in shear) == ("points" in shear):
        found.append(doc.complaint(("shear",), "expected either 'grid' or 'points'; keep one of them"))
        return found
    if "points" in shear and "g2" in shear:
        found.append(doc.complaint(("shear", "g2"), "points carry their own g2; remove this key"))
    key = "grid" if "grid" in shear else "points"
    parsed = parse(shear)
    total = len(parsed.points) * int(doc.value.get("realizations", {}).get("count", 1)) * (2 if parsed.paired else 1)
    if total > MOST_REALIZATIONS:
        found.append(
            doc.complaint(
                ("realizations", "count"), f"{total} realizations; a campaign has at most {MOST_REALIZATIONS}"
            )
        )
    seen: dict[tuple[float, float], int] = {}
    for index, (g1, g2) in enumerate(parsed.points):
        path: Path = ("shear", key, index)
        if g1 * g1 + g2 * g2 >= 1:
            found.append(doc.complaint(path, f"expected |g| < 1, got ({g1}, {g2})"))
        if (g1, g2) in seen:
            first = f"{key}[{seen[g1, g2]}]"
            message = f"the shear stands a second time (first at {first}); raise realizations.count instead"
            found.append(doc.complaint(path, message))
        if parsed.paired and (g1, g2) == (0, 0):
            found.append(doc.complaint(path, "a pair needs a nonzero shear: +g and −g are the same here"))
        seen.setdefault((g1, g2), index)
    return found


def parse(value: Mapping[str, Any]) -> Shears:
    """The checked key `shear` as frozen types."""
    # Adding 0.0 turns −0.0 into 0.0, so that a run id never reads g1_-0.0000.
    g2 = float(value.get("g2", 0.0)) + 0.0
    points = value.get("points") or [(g1, g2) for g1 in value["grid"]]
    return Shears(tuple((float(a) + 0.0, float(b) + 0.0) for a, b in points), value.get("paired", False))

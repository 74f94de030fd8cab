"""The true shears of a campaign: a grid, or points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lanewise.errors import Complaint
from lanewise.manifest.document import Document, Path

# An aggregation holds the summary of all realizations in memory.
MOST_REALIZATIONS = 10_000_000
# GalSim keeps 32 bits of a seed and drops the rest in silence; signed ones are what every part of it takes.
LARGEST_SEED = 2**31 - 1
# How the run id of a galaxy that is turned by 90° ends.
TURNED = "_r90"


@dataclass(frozen=True)
class Shears:
    """True shears.

    Attributes:
        points: (g1, g2) per grid point, in the order of the manifest [reduced shear].
        paired: every point is run as +g and −g with one seed.
        ring: every galaxy is run as it is and turned by 90°, e → −e, with one seed.
    """

    points: tuple[tuple[float, float], ...]
    paired: bool = False
    ring: bool = False

    def arms(self, g1: float, g2: float) -> tuple[tuple[float, float], ...]:
        """The shears that a point is run at."""
        # Subtracting from 0.0 rather than negating keeps a zero component +0.0.
        return ((g1, g2), (0.0 - g1, 0.0 - g2)) if self.paired else ((g1, g2),)

    @property
    def content(self) -> Mapping[str, Any]:
        """All of it, JSON-ready."""
        return {"points": [list(point) for point in self.points], "paired": self.paired, "ring": self.ring}

    @property
    def n_arms(self) -> int:
        """Realizations of one seed."""
        return (2 if self.paired else 1) * (2 if self.ring else 1)


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
    found += check_seeds(doc, len(parsed.points), parsed.n_arms)
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


def check_seeds(doc: Document, n_points: int, n_arms: int) -> list[Complaint]:
    """Whether a campaign of so many shear points, with so many realizations of one seed at each, is too large."""
    found = []
    asked = doc.value.get("realizations", {})
    added = [int(n) for n in asked.get("extensions", ())]
    # What the last extension brings is its own fault: it is what a user can take back.
    blamed: Path = ("realizations", "extensions", len(added) - 1) if added else ("realizations", "count")
    n_seeds = n_points * (int(asked.get("count", 1)) + sum(added))
    total = n_seeds * n_arms
    if total > MOST_REALIZATIONS:
        found.append(doc.complaint(blamed, f"{total} realizations; a campaign has at most {MOST_REALIZATIONS}"))
    last = int(asked.get("base_seed", 42)) + n_seeds - 1
    if last > LARGEST_SEED:
        message = f"the last seed would be {last}, expected at most {LARGEST_SEED}; lower this, or base_seed"
        found.append(doc.complaint(blamed, f"{message} of a campaign that has not begun"))
    return found


def parse(value: Mapping[str, Any]) -> Shears:
    """The checked key `shear` as frozen types."""
    # Adding 0.0 turns −0.0 into 0.0, so that a run id never reads g1_-0.0000.
    g2 = float(value.get("g2", 0.0)) + 0.0
    points = value.get("points") or [(g1, g2) for g1 in value["grid"]]
    pairs = tuple((float(a) + 0.0, float(b) + 0.0) for a, b in points)
    return Shears(pairs, value.get("paired", False), value.get("ring", False))

"""Problem families: a folder each, and a line in `FAMILIES`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    # Only here: the command line imports a subpackage, and base brings YAML along.
    from lanewise.manifest.protocols import Family, LaneFamily

FAMILIES = {
    "shear": "lanewise.families.shear.family",
    "calibration": "lanewise.families.calibration.family",
    "heterodyne": "lanewise.families.heterodyne.family",
}


def family(kind: str) -> Family:
    """The family's door; importing it does not import JAX."""
    return cast("Family", importlib.import_module(FAMILIES[kind]))


def config_schema(kind: str) -> str:
    """Name of the schema of the family's config."""
    return "heterodyne-config" if kind == "heterodyne" else "shear-config"


def lane_family(kind: str) -> LaneFamily:
    """The door of a family whose `solver` is None."""
    return cast("LaneFamily", family(kind))

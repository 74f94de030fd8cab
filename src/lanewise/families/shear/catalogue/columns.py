"""The columns of a catalogue: their names, types and units, and those that all catalogues share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lanewise.families.shear.population.nodes import Nodes
from lanewise.manifest.status import LaneStatus

Row = dict[str, Any]


class Column(NamedTuple):
    """A column: its name, its type in Arrow's words, its unit, and what it means.

    Attributes:
        place: of a value at a node, the node: `g1` and `g2` [reduced shear]; empty for other columns.
    """

    name: str
    type: str
    unit: str
    meaning: str
    place: Mapping[str, float] = {}


def flags(status: LaneStatus) -> int:
    """0 for ok; one bit for each other status."""
    return 0 if status is LaneStatus.OK else 1 << (status - LaneStatus.UNINFORMATIVE)


def flag_column() -> Column:
    """The column of `flags`."""
    bits = ", ".join(f"{flags(status)} ({status.word})" for status in LaneStatus if status > LaneStatus.OK)
    return Column("flags", "int32", "", f"0 for ok, else the sum of {bits}")


def node_columns(nodes: Nodes) -> Iterator[Column]:
    """ln L of the shear at each node: `ln_l_<node of g1>_<node of g2>`, ascending from 0."""
    for at, (g1, g2) in zip(np.ndindex(nodes.shape), nodes.points, strict=True):
        place = {"g1": float(g1), "g2": float(g2)}
        meaning = f"log likelihood of a shear g1 = {g1:.6g}, g2 = {g2:.6g} up to a constant of the object"
        yield Column(node_name(*at), "double", "1", meaning, place)


def node_values(values: np.ndarray) -> Row:
    """What an object has in the columns of the nodes, from values of the shape (node of g1, node of g2)."""
    return {node_name(*at): float(value) if math.isfinite(value) else None for at, value in np.ndenumerate(values)}


def node_name(at_g1: int, at_g2: int) -> str:
    """Name of a node's column."""
    return f"ln_l_{at_g1}_{at_g2}"

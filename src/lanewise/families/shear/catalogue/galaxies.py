"""The rows of a population's galaxies: what each has left, above all its log likelihood of the shear."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from lanewise.engine.results import Result
from lanewise.families.shear.catalogue.columns import Column, Row, flag_column, flags, node_columns, node_values
from lanewise.families.shear.observed import ids_of
from lanewise.families.shear.population.membership import was_cut
from lanewise.families.shear.population.nodes import Nodes
from lanewise.manifest.plan import Planned
from lanewise.manifest.status import LaneStatus


def columns(nodes: Nodes) -> tuple[Column, ...]:
    """The columns for these nodes."""
    return (
        Column("id", "string", "", "object of the table of exposures; without one, run id and number of the galaxy"),
        Column("run_id", "string", "", "name of the realization, whose galaxies share a shear"),
        Column("galaxy", "int32", "", "number of the galaxy in its realization, from 0"),
        Column("selected", "bool", "", "whether the galaxy passes population.selection; true without one"),
        flag_column(),
        Column("khat", "double", "1", "Pareto shape of the importance weights"),
        Column("draws_effective", "double", "1", "effective number of draws at the node where it is smallest"),
        *node_columns(nodes),
    )


def rows(result: Result, planned: Planned, log_missed: np.ndarray | None) -> Iterator[Row]:
    """The rows of a realization's galaxies; values that one does not have are None.

    Args:
        planned: knows the galaxies' names in a table of exposures.
        log_missed: ln L of a galaxy that is cut, at the nodes; None if the likelihood has none.
    """
    members = result.members
    if members is None:
        return
    # Without any record, those that are OK were cut.
    cut = was_cut(members) if members.record else members.status == LaneStatus.OK
    names = ids_of(planned)
    for at, status in enumerate(members.status):
        found: Row = {
            "id": names[at] if names else f"{result.run_id}/{at}",
            "run_id": result.run_id,
            "galaxy": at,
            "selected": not cut[at],
        }
        found["flags"] = flags(LaneStatus(int(status)))
        if cut[at]:
            found |= {} if log_missed is None else node_values(log_missed)
        elif members.record:
            record = {name: members.record[name][at, 0] for name in ("ln_l", "khat", "size")}
            found |= {"khat": _known(record["khat"]), "draws_effective": _known(record["size"])}
            found |= node_values(record["ln_l"])
        yield found


def _known(value: np.floating) -> float | None:
    return float(value) if math.isfinite(value) else None

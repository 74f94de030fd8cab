"""catalogue.parquet, written chunk by chunk."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from lanewise.engine.results import Result
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.catalogue import objects
from lanewise.families.shear.catalogue.columns import Column, Row
from lanewise.manifest.plan import Planned
from lanewise.storage import commits
from lanewise.storage.record import Record

if TYPE_CHECKING:
    from lanewise.families.shear.catalogue.likelihood import Intrinsic

CATALOGUE = "catalogue.parquet"
# Rows of a row group, which is what is in memory at a time; chunks whose commits are read at a time.
_GROUP, _CHUNKS = 10_000, 64


def write(record: Record, path: str, intrinsic: Intrinsic | None = None) -> int:
    """Write the catalogue of what is committed to a file of this machine.

    The metadata of each column have its `unit` and `meaning`, those of a node also `g1` and `g2`.

    Args:
        intrinsic: add ln L of a shear, for objects whose ellipticity has this distribution before it.

    Returns:
        The number of rows.

    Raises:
        Damaged: a commit, or what it names, is missing or changed.
        UsageError: the campaign does not tell ln L of a shear.
    """
    import pyarrow as pa
    from pyarrow import parquet

    known, found = _table(record, intrinsic)
    fields = [pa.field(one.name, pa.type_for_alias(one.type), metadata=_metadata(one)) for one in known]
    schema = pa.schema(fields, metadata={"units": json.dumps({one.name: one.unit for one in known})})
    n = 0
    with parquet.ParquetWriter(path, schema) as file:
        while group := list(itertools.islice(found, _GROUP)):
            file.write_table(pa.Table.from_pylist(group, schema=schema))
            n += len(group)
    return n


def _table(record: Record, intrinsic: Intrinsic | None) -> tuple[tuple[Column, ...], Iterator[Row]]:
    """The columns and the rows, in the plan's order; a chunk's results are in memory at a time."""
    config, results = shear_config.of(record.manifest), _results(record)
    of_shapes: objects.OfShapes | None = None
    nodes = None if intrinsic is None else intrinsic.nodes
    if intrinsic is not None:
        # Only nodes need JAX.
        from lanewise.families.shear.catalogue import likelihood

        likelihood.check(config, intrinsic)
        of_shapes = partial(likelihood.at_nodes, config, intrinsic)
    if config.population is not None:
        from lanewise.families.shear.catalogue import galaxies
        from lanewise.families.shear.population import selection
        from lanewise.families.shear.population.nodes import Nodes

        nodes, cut = Nodes.of(config), config.population.selection
        missed = selection.log_missed(config, nodes) if cut is not None and cut.in_likelihood else None
        of_each = (galaxies.rows(result, planned, missed) for result, planned in results)
        return galaxies.columns(nodes), itertools.chain.from_iterable(of_each)
    rows = (objects.row(result, planned, config.latents, of_shapes) for result, planned in results)
    return objects.columns(config.latents, nodes), rows


def _results(record: Record) -> Iterator[tuple[Result, Planned]]:
    """Every committed result, with what was planned."""
    plan = record.plan
    order = plan.order(plan.indices)
    for at in range(0, len(order), _CHUNKS):
        indices = order[at : at + _CHUNKS]
        found = record.commits(indices)
        for index in indices:
            if index not in found:
                continue
            planned = {one.run_id: one.planned for one in plan.chunks[index].realizations}
            for result in commits.load_results(record.store, found[index]):
                assert isinstance(result, Result)
                yield result, planned[result.run_id]


def _metadata(column: Column) -> dict[str, str]:
    place = {name: repr(value) for name, value in column.place.items()}
    return {"unit": column.unit, "meaning": column.meaning, **place}

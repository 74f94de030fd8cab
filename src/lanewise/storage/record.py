"""The record of a campaign: its manifest, its plan, and its results in storage. It only reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lanewise.errors import Damaged
from lanewise.manifest import loading, planning
from lanewise.manifest.document import Document
from lanewise.manifest.manifest import Manifest, with_output
from lanewise.manifest.plan import Plan, Realization
from lanewise.manifest.protocols import DamagedChunk
from lanewise.storage import commits
from lanewise.storage.commits import Commit
from lanewise.storage.store import HOME, Store

MANIFEST = f"{HOME}/manifest.yaml"


@dataclass(frozen=True)
class Record:
    """A manifest, its plan, and the storage with its results."""

    manifest: Manifest
    plan: Plan

    @cached_property
    def store(self) -> Store:
        """The storage below the output URL."""
        return Store(self.manifest.output.url)

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """Names of the directories of all realizations."""
        return frozenset(realization.run_id for realization in self.plan.realizations)

    def commits(self, indices: Collection[int] | None = None) -> dict[int, Commit]:
        """The valid commits by chunk index, checked against the plan.

        Args:
            indices: of the chunks; default: all of the plan.

        Raises:
            Damaged: a commit cannot be read.
            ResultsDiffer: a commit has another identity.
        """
        found, damaged = self.survey(indices)
        for index, error in damaged.items():
            raise Damaged(f"{error}; {commits.remedy(index)}")
        return found

    def survey(self, indices: Collection[int] | None = None) -> tuple[dict[int, Commit], dict[int, Damaged]]:
        """The commits like `commits`, and the errors of those that cannot be read, by chunk index."""
        chunks = self.plan.chunks
        found, damaged = commits.survey(self.store, self.plan.indices if indices is None else indices)
        for index, commit in found.items():
            commits.check(self.store, self.plan, chunks[index], commit)
        return found, damaged

    def sound(self) -> tuple[dict[int, Commit], dict[int, Damaged]]:
        """The commits like `survey`, without those whose files are missing or cut; these are among the errors."""
        found, damaged = self.survey()
        faults = commits.faults(self.store, found)
        return {index: one for index, one in found.items() if index not in faults}, damaged | faults

    def rows(self) -> tuple[list[dict[str, Any]], dict[int, Damaged]]:
        """The summary's rows in the plan's order, and the errors of chunks that cannot be read, by chunk index."""
        found, damaged = self.sound()

        def of_chunk(index: int) -> list[dict[str, Any]] | Damaged:
            try:
                return commits.load_rows(self.store, found[index])
            except Damaged as error:
                return error

        indices = self.plan.order(found)
        parts = dict(zip(indices, self.store.map(of_chunk, indices), strict=True))
        damaged |= {index: part for index, part in parts.items() if isinstance(part, Damaged)}
        read = [row for part in parts.values() if not isinstance(part, Damaged) for row in part]
        return read, dict(sorted(damaged.items()))

    def intact_rows(self) -> list[dict[str, Any]]:
        """`rows` of a record without damage.

        Raises:
            Damaged: a commit, or what it names, is missing or changed.
        """
        rows, damaged = self.rows()
        for error in damaged.values():
            raise error
        return rows

    def missing(self, there: Collection[str]) -> list[tuple[int, Realization]]:
        """Realizations of the plan that are not among these run ids, with the index of their chunk.

        Args:
            there: run ids of the plan, each once.
        """
        if len(there) == len(self.plan.realizations):
            return []
        plan = self.plan
        return [
            (index, r)
            for index in plan.order(plan.indices)
            for r in plan.chunks[index].realizations
            if r.run_id not in there
        ]

    def damaged_chunks(self, damaged: Mapping[int, Damaged]) -> tuple[DamagedChunk, ...]:
        """Damaged chunks for results: without the output URL, which must not enter them."""
        url = f"{self.store.url}/"
        return tuple(DamagedChunk(index, str(error).removeprefix(url)) for index, error in damaged.items())


def open_record(source: str | Document, overrides: Sequence[str] = ()) -> Record:
    """The record of a manifest, or of the output URL of a campaign that has run.

    Args:
        source: path or URL of either, or the manifest itself.
        overrides: `path=value` pairs as `--set` takes them.

    Raises:
        ManifestError: the manifest or its config is invalid; holds every complaint.
    """
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")) and (store := Store(source)).exists(MANIFEST):
        loaded = with_output(loading.load(store.where(MANIFEST), overrides), source)
    else:
        loaded = loading.load(source, overrides)
    return Record(loaded, planning.build(loaded))

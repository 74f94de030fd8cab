"""`rechunk`: another number of realizations per chunk, for the realizations that are not committed.

The committed chunks keep their indices and sizes; the manifest lists them in ranges (`batch.kept`). The others get new
indices after all old ones, so that a process that still computes by the old manifest disturbs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from lanewise.errors import UsageError
from lanewise.manifest import editing, planning, spans, yaml_text
from lanewise.manifest.locations import split
from lanewise.manifest.manifest import Kept, Manifest
from lanewise.manifest.plan import Plan
from lanewise.manifest.ranges import Range
from lanewise.operations import extend
from lanewise.storage import claims, commits
from lanewise.storage.record import MANIFEST, Record
from lanewise.storage.store import Store

_KEY = "batch"
# Entries of `batch.kept` that a manifest may have: a ConfigMap holds 1 MiB.
_MOST_RANGES = 10_000


def write(record: Record, size: int) -> Plan:
    """Change the chunk size in the manifest at its source; returns the new plan.

    Raises:
        UsageError: the campaign has this size, a process works on it, or its commits are too scattered.
        ManifestError: the text cannot be edited safely, or batch.index names a chunk; nothing is written.
        ResultsDiffer: the committed results are not of this manifest.
        Damaged: a commit, or a file that it names, is missing or cut.
        StorageError: the manifest cannot be written.
    """
    manifest, plan, store = record.manifest, record.plan, record.store
    if size == plan.size:
        raise UsageError(f"--size {size}: the campaign has chunks of this size; choose another one")
    done, damaged = record.sound()
    for index, error in damaged.items():
        raise type(error)(f"{error}; {commits.remedy(index)}, then rechunk")
    _check_idle(record)
    kept = manifest.batch.kept
    if commits.begun(store):
        kept = Kept(len(plan.chunks), tuple(_committed(plan, done)))
    if len(kept.ranges) > _MOST_RANGES:
        raise UsageError(
            f"{manifest.source}: the committed chunks are in {len(kept.ranges)} ranges, expected at most "
            f"{_MOST_RANGES}; run some of the chunks between them first"
        )
    new = planning.build(replace(manifest, batch=replace(manifest.batch, size=size, kept=kept)))
    folder, name = split(manifest.source)
    source = Store(folder)
    text = editing.with_key(source.read(name).decode(), manifest.source, _KEY, "size", size)
    if kept != manifest.batch.kept:
        text = editing.with_key(text, manifest.source, _KEY, "kept", kept.content)
    source.put(name, text.encode())
    # From now on, a process that begins with the old manifest is refused.
    if store.exists(MANIFEST):
        batch = {**manifest.content.get(_KEY, {}), "size": size, "kept": kept.content}
        store.put(MANIFEST, yaml_text.dump({**manifest.content, _KEY: batch}).encode())
    return new


def is_rechunked(text: str, manifest: Manifest) -> bool:
    """Whether the text is this manifest, with or without other extensions, after a later change of the chunk size."""
    theirs = extend.content_of(text)
    below = ((theirs.get(_KEY) or {}).get("kept") or {}).get("below", 0)
    return below > manifest.batch.kept.below and _without_chunks(theirs) == _without_chunks(manifest.content)


def _without_chunks(content: Mapping[str, Any]) -> dict[str, Any]:
    batch = {key: part for key, part in (content.get(_KEY) or {}).items() if key not in {"size", "kept"}}
    return {**extend.without_extensions(content), _KEY: batch}


def _committed(plan: Plan, done: Collection[int]) -> Iterator[Range]:
    """The committed chunks as ranges, ascending."""
    for one in plan.ranges:
        for span in spans.spans(index for index in one.chunks if index in done):
            first = one.places(span[0]).start
            yield Range(span[0], first, one.places(span[-1]).stop - first, one.size)


def _check_idle(record: Record) -> None:
    at_work = [claim for claim in claims.survey(record.store) if claim.alive]
    if at_work:
        where = ", ".join(sorted({claim.node for claim in at_work}))
        raise UsageError(
            f"{record.store.url}: {len(at_work)} process{'es' if len(at_work) > 1 else ''} on {where} work on this "
            "campaign; stop them, or wait until they have ended (`lanewise status`)"
        )

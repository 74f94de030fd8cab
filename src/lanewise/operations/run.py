"""`run`: compute one chunk, or all that are not committed, in this process or in several."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lanewise.errors import ManifestError, ResultsDiffer, UsageError
from lanewise.machine.progress import Reporter
from lanewise.manifest import registry, yaml_text
from lanewise.manifest.plan import Chunk, Computed, Plan
from lanewise.operations import chunks, extend, rechunk, workers
from lanewise.operations.chunks import Outcome
from lanewise.storage import commits, committing
from lanewise.storage.checkpoints import Policy
from lanewise.storage.record import MANIFEST, Record

_MANY_DIRECTORIES = 20_000


def run(
    record: Record,
    batch_index: int | range | None,
    policy: Policy,
    *,
    overwrite: bool,
    n_workers: int,
    progress: Reporter,
) -> Outcome:
    """Compute one chunk, some, or all chunks that are not committed; see `api.Campaign.run`.

    Returns:
        The outcome; its `missing` chunks are read off the commits, whatever the processes have reported.
    """
    if overwrite and record.store.keeps:
        raise UsageError("--overwrite and --no-delete exclude each other: what is overwritten must be removed")
    planned = record.plan.chunks
    asked = _asked(batch_index, record.plan)
    # Refuse damaged or foreign commits before any chunk is computed.
    committed = chunks.committed(record, asked, overwrite=overwrite)
    left = [index for index in asked if index not in committed]
    replaced = commits.survey(record.store, asked)[0] if overwrite else {}
    n_workers = min(n_workers, len(left))
    found = remarks(record)
    solver = chunks.solver(record) if n_workers == 1 else None
    _keep_manifest(record)
    for remark in found:
        progress.say("remark", remark)
    if left and not record.store.conditional:
        text = f"{record.store.url}: has no conditional writes; of two commits of one chunk, the lower attempt is valid"
        progress.say("remark", text)
    outcome = Outcome()
    if solver is not None:
        # Chunks keep their realizations once these are computed: make each only when it is its turn.
        to_do = Computed(len(left), lambda at: planned[left[at]])
        outcome = chunks.compute(record, solver, to_do, policy, overwrite=overwrite, progress=progress)
    elif left:
        outcome = workers.run(record, left, n_workers, policy, overwrite=overwrite, progress=progress)
    outcome += chunks.reuse(record, committed, progress)
    outcome = replace(outcome, missing=_missing(record, asked, {i: old.attempt for i, old in replaced.items()}))
    if overwrite and batch_index is None and not outcome.missing:
        _withdraw_unplanned(record)
    return outcome


def remarks(record: Record) -> tuple[str, ...]:
    """Warnings about a valid manifest, e.g. of keys without effect.

    Raises:
        ManifestError: a trial of the density finds that it cannot be inferred.
    """
    manifest, family = record.manifest, registry.family(record.manifest.kind)
    if complaints := family.trial(manifest):
        raise ManifestError([manifest.document.complaint(path, message) for path, message in complaints])
    found = tuple(family.remarks(manifest))
    n = len(record.plan.realizations)
    if record.manifest.output.layout == "directories" and n > _MANY_DIRECTORIES:
        remedy = "output.layout: packed writes one file per chunk, and `lanewise export` unpacks it"
        found = (*found, f"output.layout: {n} directories of three files each; {remedy}")
    return found


def _asked(chosen: int | range | None, plan: Plan) -> Sequence[int]:
    if chosen is None:
        return plan.indices
    n_chunks = len(plan.chunks)
    asked = range(chosen, chosen + 1) if isinstance(chosen, int) else chosen
    if asked and not 0 <= min(asked) <= max(asked) < n_chunks:
        raise UsageError(f"batch_index: expected 0 to {n_chunks - 1}, got {chosen}")
    return [index for index in asked if index in plan.indices]


def _missing(record: Record, asked: Collection[int], replaced: Mapping[int, str]) -> tuple[int, ...]:
    """Chunks without a commit of now, by storage; `replaced`: the attempts that were to be replaced, by chunk."""
    found, _ = commits.survey(record.store, asked)
    return tuple(i for i in asked if i not in found or found[i].attempt == replaced.get(i))


def _withdraw_unplanned(record: Record) -> None:
    """Remove committed chunks that are not in the plan; call it when all chunks of the plan are committed."""
    planned = record.plan.indices
    for index in sorted(index for index in commits.indices(record.store) if index not in planned):
        committing.withdraw(record.store, Chunk(index, ()), keep=lambda: record.run_ids)


def _keep_manifest(record: Record) -> None:
    """Write the manifest beside the results, unless it, or an extension of it, is there already.

    Raises:
        ResultsDiffer: the one that is there has other chunks since `lanewise rechunk`.
    """
    store, text = record.store, yaml_text.dump(dict(record.manifest.content)).encode()
    with contextlib.suppress(FileNotFoundError):
        there = store.read(MANIFEST)
        if there == text:
            return
        if rechunk.is_rechunked(there.decode(), record.manifest):
            raise ResultsDiffer(
                f"{store.where(MANIFEST)}: has other chunks than {record.manifest.source} since `lanewise rechunk`; "
                "use the manifest that was changed then, and render Jobs again"
            )
        if not extend.is_extended(there.decode(), record.manifest):
            store.put(MANIFEST, text)
        return
    if not store.conditional:
        store.put(MANIFEST, text)
    elif not store.create(MANIFEST, text):
        # Another container has written it meanwhile, perhaps with an extension: compare again.
        _keep_manifest(record)

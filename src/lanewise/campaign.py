"""A campaign: a manifest, its plan and its results in storage. The Python door, and what the commands are made of."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lanewise import checkpoints, commits, directories, document, extension, interrupts, problems, provenance
from lanewise import manifest as manifests
from lanewise import plan as plans
from lanewise.checkpoints import Keeper, Policy
from lanewise.commits import Commit
from lanewise.document import Document
from lanewise.errors import Damaged, StorageError, UsageError
from lanewise.lanes import LaneStatus
from lanewise.manifest import Manifest
from lanewise.plan import Chunk, Plan
from lanewise.progress import Reporter, Silent
from lanewise.store import HOME, Store

if TYPE_CHECKING:
    import pandas as pd

    from lanewise.problems.base import Solver

MANIFEST = f"{HOME}/manifest.yaml"
_MANY_DIRECTORIES = 20_000


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        computed, reused: number of chunks.
        counts: status → number of realizations, over those chunks.
        errors: chunks that could not be committed.
    """

    computed: int = 0
    reused: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    errors: tuple[Exception, ...] = ()

    @property
    def all_ok(self) -> bool:
        """Whether every realization came out ok."""
        return not self.errors and set(self.counts) <= {LaneStatus.OK.word}


@dataclass(frozen=True)
class Campaign:
    """One manifest carried out.

    Attributes:
        checkpoints: when a chunk has them.
    """

    manifest: Manifest
    plan: Plan
    checkpoints: Policy = field(default=Policy(), repr=False)

    @cached_property
    def store(self) -> Store:
        """Where its results are."""
        return Store(self.manifest.output.url)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of a campaign that is valid."""
        found = self.manifest.config.remarks
        n = len(self.plan.realizations)
        if self.manifest.output.layout == "directories" and n > _MANY_DIRECTORIES:
            remedy = (
                "output.layout: packed writes one file per chunk, and `lanewise export` unpacks what you want to see"
            )
            found = (*found, f"output.layout: {n} directories of three files each; {remedy}")
        return tuple(found)

    def run(
        self, batch_index: int | None = None, *, overwrite: bool = False, progress: Reporter | None = None
    ) -> Outcome:
        """Compute one chunk, or all that are not committed yet.

        Raises:
            UsageError: there is no such chunk.
            ResultsDiffer: the output holds results of another identity, and `overwrite` is false.
            StorageError: the results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        progress = progress or Silent()
        if batch_index is not None and not 0 <= batch_index < len(self.plan.chunks):
            raise UsageError(f"batch_index: expected 0 to {len(self.plan.chunks) - 1}, got {batch_index}")
        chunks = self.plan.chunks if batch_index is None else (self.plan.chunks[batch_index],)
        # All are checked before the first is computed: a refusal must come before the work.
        committed = {} if overwrite else self.commits(chunks)
        commits.check_sizes(self.store, chunks, committed)
        engine = self._engine() if len(committed) < len(chunks) else None
        self._keep_manifest()
        for remark in self.remarks:
            progress.say("remark", remark)
        if engine is not None and not self.store.conditional:
            text = f"{self.store.url}: has no conditional writes; of two attempts at one chunk, the lower will count"
            progress.say("remark", text)
        counts: Counter[str] = Counter()
        n_reused = 0
        failures: list[Exception] = []
        for chunk in sorted(chunks, key=lambda chunk: chunk.index not in committed):
            interrupts.stop_here()
            try:
                # Asked again of those that were open: another process may have been at work, too.
                commit = committed.get(chunk.index) or (None if overwrite else self.commits([chunk]).get(chunk.index))
                if commit is not None:
                    self._publish(chunk, commit)
                    n_reused += 1
                    progress.say("reused", f"chunk {chunk.index}: already committed", chunk=chunk.index)
                else:
                    assert engine is not None
                    with interrupts.deferred():
                        commit = self._compute(engine, chunk, progress, overwrite)
                counts.update(commit.counts)
            except StorageError:
                raise  # no other chunk could be committed either, and its work would be lost
            except Exception as error:  # the border where a chunk's failure becomes a record and the others go on
                failures.append(error)
                progress.say("failed", f"chunk {chunk.index}: {type(error).__name__}: {error}", chunk=chunk.index)
                with contextlib.suppress(StorageError):
                    commits.record_failure(self.store, chunk, f"{type(error).__name__}: {error}")
        if overwrite and batch_index is None and not failures:
            self._withdraw_unplanned()
        return Outcome(len(chunks) - n_reused - len(failures), n_reused, counts, tuple(failures))

    def commits(self, chunks: Sequence[Chunk] | None = None) -> dict[int, Commit]:
        """The commits that are there, by chunk index, of all chunks or some; each is checked against the plan.

        Raises:
            Damaged: one of them cannot be read.
            ResultsDiffer: one of them is of another identity.
        """
        found, damaged = self.survey(chunks)
        for index, error in damaged.items():
            raise Damaged(f"{error}; {commits.remedy(index)}")
        return found

    def survey(self, chunks: Sequence[Chunk] | None = None) -> tuple[dict[int, Commit], dict[int, Damaged]]:
        """As `commits`, and why some commits cannot be read."""
        chunks = self.plan.chunks if chunks is None else chunks
        found, damaged = commits.survey(self.store, chunks)
        for chunk in chunks:
            if chunk.index in found:
                commits.check(self.store, self.plan, chunk, found[chunk.index])
        return found, damaged

    def aggregate(self) -> Any:
        """Summary, statistics and report of what is committed.

        Returns:
            What it came to: `BiasResults` of shears, the `Survey` of fits.
        """
        from lanewise.aggregate import of_kind

        return of_kind(self.manifest.kind).aggregate(self)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per committed realization, the columns of summary.csv."""
        from lanewise.aggregate import of_kind

        return of_kind(self.manifest.kind).collect(self)

    def posterior(self, run_id: str) -> Any:
        """One realization's posterior as ArviZ has it: InferenceData before ArviZ 1, a DataTree since.

        Raises:
            UsageError: no committed chunk holds draws of that realization.
        """
        import arviz

        from lanewise import outputs
        from lanewise.results import Result

        for chunk in self.plan.chunks:
            if run_id not in {r.run_id for r in chunk.realizations}:
                continue
            commit = commits.read(self.store, chunk)
            if commit is None:
                raise UsageError(f"{run_id}: chunk {chunk.index} is not committed yet; run it first")
            found = next(r for r in commits.load_results(self.store, commit) if r.run_id == run_id)
            if not isinstance(found, Result) or not found.posterior:
                raise UsageError(f"{run_id}: has no posterior; {found.reason}")
            with tempfile.NamedTemporaryFile(suffix=".nc") as file:
                file.write(outputs.posterior_nc(found))
                file.flush()
                opened = arviz.from_netcdf(file.name)
                return opened.load() if hasattr(opened, "load") else opened
        raise UsageError(f"{run_id}: is not in the plan; `lanewise plan` shows the run ids")

    def _withdraw_unplanned(self) -> None:
        """Remove the chunks that this plan does not have; all that it has are there by now."""
        planned = {chunk.index for chunk in self.plan.chunks}
        for index in sorted(commits.indices(self.store) - planned):
            commits.withdraw(self.store, Chunk(index, ()), keep=self._run_ids)

    @cached_property
    def _run_ids(self) -> frozenset[str]:
        return frozenset(realization.run_id for realization in self.plan.realizations)

    def _keep_manifest(self) -> None:
        """Leave the manifest beside the results, unless it stands there already or has been extended since."""
        text = document.dump(dict(self.manifest.content)).encode()
        with contextlib.suppress(FileNotFoundError):
            kept = self.store.read(MANIFEST)
            if kept != text and not extension.is_extended(kept.decode(), self.manifest):
                self.store.put(MANIFEST, text)
            return
        if not self.store.conditional:
            self.store.put(MANIFEST, text)
        elif not self.store.create(MANIFEST, text):
            # Another container was faster, perhaps with an extension of this manifest.
            self._keep_manifest()

    def _engine(self) -> Solver:
        if (own := problems.family(self.manifest.kind).solver(self.manifest)) is not None:
            return own
        from lanewise.engine import Engine

        return Engine(self.manifest, self.plan)

    def _compute(self, engine: Solver, chunk: Chunk, progress: Reporter, overwrite: bool) -> Commit:
        began = time.time()
        old = commits.previous(self.store, chunk) if overwrite else None
        keeper = Keeper(self.store, chunk, checkpoints.surroundings(), self.checkpoints)
        if overwrite:
            self.store.remove(f"{commits.CHECKPOINTS}/{chunk.name}")
        if resumed := keeper.load():
            progress.say("resumed", f"chunk {chunk.index}: goes on after {resumed} rounds", chunk=chunk.index)
        results = engine.run(chunk, progress, keeper)
        made = {
            "versions": provenance.versions(),
            "source": provenance.source(),
            "machine": provenance.machine(),
            "flags": provenance.flags(),
            "inputs": provenance.inputs(self.manifest),
            **engine.made,
            "rounds_resumed": resumed,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
            "seconds": round(time.time() - began, 3),
        }
        attempt = commits.new_attempt()
        published = self.manifest.output.layout == "directories"
        view = list(directories.files_of(self.plan.settings, results)) if published else None
        commit = commits.write(
            self.store, self.plan, chunk, results, made, attempt=attempt, view=view, replace=overwrite
        )
        commit = self._publish_own(chunk, commit, view if commit.attempt == attempt else None)
        keeper.clear()
        if overwrite:
            commits.discard(self.store, chunk, old, keep=self._run_ids)
        progress.say(
            "committed",
            f"chunk {chunk.index}: {_counted(commit.counts)} in {made['seconds']:.1f} s",
            chunk=chunk.index,
            seconds=made["seconds"],
            counts=dict(commit.counts),
        )
        return commit

    def _publish_own(self, chunk: Chunk, commit: Commit, view: Iterable[tuple[str, bytes]] | None) -> Commit:
        """Publish what counts after we committed; returns it.

        Args:
            view: our files if ours is the commit that counts; None if another attempt was first.
        """
        while True:
            self._publish(chunk, commit, view)
            # Without conditional writes an attempt with a lower id may have come since.
            now = commits.read(self.store, chunk)
            if now is None or now.attempt == commit.attempt:
                return commit
            commit, view = now, directories.files_of(now.settings, commits.load_results(self.store, now))

    def _publish(self, chunk: Chunk, commit: Commit, view: Iterable[tuple[str, bytes]] | None = None) -> None:
        if self.manifest.output.layout == "directories":
            directories.publish(self.store, chunk, commit, view)


def load(source: str | Document, overrides: Sequence[str] = ()) -> Campaign:
    """The campaign of a manifest, or of the output URL of one that has run.

    Raises:
        ManifestError: with every complaint.
    """
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")):
        store = Store(source)
        if store.exists(MANIFEST):
            loaded = manifests.with_output(manifests.load(store.where(MANIFEST), overrides), source)
            return Campaign(loaded, plans.build(loaded))
    loaded = manifests.load(source, overrides)
    return Campaign(loaded, plans.build(loaded))


def _counted(counts: Any) -> str:
    total = sum(counts.values())
    parts = ", ".join(f"{number} {word.replace('_', ' ')}" for word, number in sorted(counts.items()))
    return f"{total} realization{'s' if total != 1 else ''} ({parts})"

"""A campaign: a manifest, its plan and its results in storage. The Python door, and what the commands are made of."""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lanewise.engine.lanes import LaneStatus
from lanewise.errors import Damaged, StorageError, UsageError
from lanewise.machine import interrupts
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest import document, registry
from lanewise.manifest import loading as manifests
from lanewise.manifest import plan as plans
from lanewise.manifest.document import Document
from lanewise.manifest.loading import Manifest
from lanewise.manifest.plan import Chunk, Plan
from lanewise.operations import attempts, extend
from lanewise.storage import claims, commits, failures
from lanewise.storage.checkpoints import Policy
from lanewise.storage.commits import Commit
from lanewise.storage.store import HOME, Store

if TYPE_CHECKING:
    import pandas as pd

    from lanewise.manifest.protocols import Solver
    from lanewise.operations.retry import Retried
    from lanewise.storage.claims import Claim

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

    def __add__(self, other: Outcome) -> Outcome:
        """What both did."""
        return Outcome(
            self.computed + other.computed,
            self.reused + other.reused,
            self.counts + other.counts,
            self.errors + other.errors,
        )

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
        self,
        batch_index: int | None = None,
        *,
        overwrite: bool = False,
        workers: int = 1,
        progress: Reporter | None = None,
    ) -> Outcome:
        """Compute one chunk, or all that are not committed yet.

        Args:
            batch_index: of the one chunk.
            overwrite: also what is committed.
            workers: processes at a time, where there is more than one chunk to compute.

        Raises:
            UsageError: there is no such chunk, or the machine has no room for so many workers.
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
        open_chunks = [chunk for chunk in chunks if chunk.index not in committed]
        workers = min(workers, len(open_chunks))
        solver = self.solver() if workers == 1 else None
        self._keep_manifest()
        for remark in self.remarks:
            progress.say("remark", remark)
        if open_chunks and not self.store.conditional:
            text = f"{self.store.url}: has no conditional writes; of two attempts at one chunk, the lower will count"
            progress.say("remark", text)
        if workers > 1:
            from lanewise.operations import workers as crew

            indices = [chunk.index for chunk in open_chunks]
            outcome = crew.run(self, indices, workers, overwrite=overwrite, progress=progress)
        else:
            outcome = self._compute_all(solver, open_chunks, progress, overwrite)
        outcome += self._reuse(committed, progress)
        if overwrite and batch_index is None and not outcome.errors:
            self._withdraw_unplanned()
        return outcome

    def _compute_all(
        self, solver: Solver | None, chunks: Sequence[Chunk], progress: Reporter, overwrite: bool
    ) -> Outcome:
        """Chunks that were not committed when they were looked at."""
        outcome = Outcome()
        with claims.held(self.store, progress) as claim:
            for chunk in chunks:
                interrupts.stop_here()
                try:
                    # Asked again: another process may have been at work, too.
                    commit = None if overwrite else self.commits([chunk]).get(chunk.index)
                    if commit is not None:
                        outcome += self._reuse({chunk.index: commit}, progress)
                        continue
                    assert solver is not None
                    commit = self._compute(solver, chunk, claim, overwrite)
                    outcome += Outcome(computed=1, counts=Counter(commit.counts))
                except StorageError:
                    raise  # no other chunk could be committed either, and its work would be lost
                except Exception as error:  # the border where a chunk's failure becomes a record and the others go on
                    outcome += Outcome(errors=(error,))
                    progress.say("failed", f"chunk {chunk.index}: {type(error).__name__}: {error}", chunk=chunk.index)
                    with contextlib.suppress(StorageError):
                        failures.record(self.store, chunk, claims.node(), error)
        return outcome

    def _reuse(self, committed: Mapping[int, Commit], progress: Reporter) -> Outcome:
        """Chunks that are committed; their directories are written again where they are lost."""
        outcome = Outcome()
        for index, commit in sorted(committed.items()):
            interrupts.stop_here()
            attempts.publish(self, self.plan.chunks[index], commit)
            progress.say("reused", f"chunk {index}: already committed", chunk=index)
            outcome += Outcome(reused=1, counts=Counter(commit.counts))
        return outcome

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

    def retry(self, *, failed: bool = True, nonconverged: bool = True, progress: Reporter | None = None) -> Retried:
        """Try realizations that failed or did not converge again, and compute chunks that failed or were lost.

        Raises:
            ResultsDiffer: what is committed is not of this manifest.
            StorageError: results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        from lanewise.operations import retry

        statuses = (retry.FAILED if failed else frozenset()) | (retry.NOT_CONVERGED if nonconverged else frozenset())
        return retry.retry(self, statuses, progress or Silent())

    def aggregate(self) -> Any:
        """Summary, statistics and report of what is committed.

        Returns:
            What it came to: `BiasResults` of shears, the `Survey` of fits.
        """
        from lanewise.families.aggregation import of_kind

        return of_kind(self.manifest.kind).aggregate(self)

    @property
    def summary(self) -> pd.DataFrame:
        """One row per committed realization, the columns of summary.csv."""
        from lanewise.families.aggregation import of_kind

        return of_kind(self.manifest.kind).collect(self)

    def posterior(self, run_id: str) -> Any:
        """One realization's posterior as ArviZ has it: InferenceData before ArviZ 1, a DataTree since.

        Raises:
            UsageError: no committed chunk holds draws of that realization.
        """
        import arviz

        from lanewise.engine import files
        from lanewise.engine.results import Result

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
                file.write(files.posterior_nc(found))
                file.flush()
                opened = arviz.from_netcdf(file.name)
                return opened.load() if hasattr(opened, "load") else opened
        raise UsageError(f"{run_id}: is not in the plan; `lanewise plan` shows the run ids")

    def _withdraw_unplanned(self) -> None:
        """Remove the chunks that this plan does not have; all that it has are there by now."""
        planned = {chunk.index for chunk in self.plan.chunks}
        for index in sorted(commits.indices(self.store) - planned):
            commits.withdraw(self.store, Chunk(index, ()), keep=self.run_ids)

    @cached_property
    def run_ids(self) -> frozenset[str]:
        """Names of all its realizations' directories."""
        return frozenset(realization.run_id for realization in self.plan.realizations)

    def _keep_manifest(self) -> None:
        """Leave the manifest beside the results, unless it stands there already or has been extended since."""
        text = document.dump(dict(self.manifest.content)).encode()
        with contextlib.suppress(FileNotFoundError):
            kept = self.store.read(MANIFEST)
            if kept != text and not extend.is_extended(kept.decode(), self.manifest):
                self.store.put(MANIFEST, text)
            return
        if not self.store.conditional:
            self.store.put(MANIFEST, text)
        elif not self.store.create(MANIFEST, text):
            # Another container was faster, perhaps with an extension of this manifest.
            self._keep_manifest()

    def solver(self, manifest: Manifest | None = None, retry: int = 0) -> Solver:
        """What computes its chunks.

        Args:
            manifest: with another config, for a retry.
            retry: its number.

        Raises:
            MachineError: this machine lacks the device that the manifest requires.
        """
        manifest = manifest or self.manifest
        if (own := registry.family(manifest.kind).solver(manifest)) is not None:
            return own
        from lanewise.engine.engine import Engine

        return Engine(manifest, self.plan, retry=retry)

    def _compute(self, solver: Solver, chunk: Chunk, claim: Claim, overwrite: bool) -> Commit:
        with interrupts.deferred():
            computed = attempts.compute(self, solver, chunk, claim, anew=overwrite)
            commit = attempts.settle(self, chunk, computed, replace=overwrite)
        seconds = computed.made["seconds"]
        claim.say(
            "committed",
            f"chunk {chunk.index}: {_counted(commit.counts)} in {seconds:.1f} s",
            chunk=chunk.index,
            seconds=seconds,
            counts=dict(commit.counts),
        )
        return commit


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

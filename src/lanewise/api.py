"""The Python interface: a campaign as an object."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanewise.engine.results import Result
from lanewise.errors import UsageError
from lanewise.machine.progress import Reporter, Silent
from lanewise.manifest import registry
from lanewise.manifest.document import Document
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan
from lanewise.operations import retry, run
from lanewise.operations.chunks import Outcome
from lanewise.operations.retry import Retried
from lanewise.storage import commits
from lanewise.storage.checkpoints import Policy
from lanewise.storage.record import Record, open_record
from lanewise.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Campaign:
    """A manifest, its plan and its results.

    Attributes:
        record: manifest, plan and storage.
        checkpoints: when to write checkpoints.
    """

    record: Record
    checkpoints: Policy = field(default=Policy(), repr=False)

    @property
    def manifest(self) -> Manifest:
        """The manifest with its config."""
        return self.record.manifest

    @property
    def plan(self) -> Plan:
        """The chunks and their realizations."""
        return self.record.plan

    @property
    def store(self) -> Store:
        """The storage below the output URL."""
        return self.record.store

    @property
    def remarks(self) -> tuple[str, ...]:
        """Warnings about a valid manifest, e.g. of keys without effect.

        Raises:
            ManifestError: a trial of the density finds that it cannot be inferred.
        """
        return run.remarks(self.record)

    def run(
        self,
        batch_index: int | range | None = None,
        *,
        overwrite: bool = False,
        workers: int = 1,
        progress: Reporter | None = None,
    ) -> Outcome:
        """Compute one chunk, some, or all chunks that are not committed.

        Args:
            batch_index: index of the one chunk, or a range of indices; None: all.
            overwrite: also compute committed chunks again.
            workers: number of processes, if there is more than one chunk to compute.

        Raises:
            UsageError: the chunk does not exist, or the machine has fewer cores or GPUs than workers.
            ResultsDiffer: the output holds results of another identity, and `overwrite` is false.
            StorageError: the results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        reporter = progress or Silent()
        return run.run(
            self.record, batch_index, self.checkpoints, overwrite=overwrite, n_workers=workers, progress=reporter
        )

    def retry(self, *, failed: bool = True, nonconverged: bool = True, progress: Reporter | None = None) -> Retried:
        """Retry realizations that failed or did not converge, and compute chunks that failed or were lost.

        Raises:
            ResultsDiffer: the committed results are not of this manifest.
            StorageError: results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        statuses = (retry.FAILED if failed else frozenset()) | (retry.NOT_CONVERGED if nonconverged else frozenset())
        return retry.retry(self.record, statuses, self.checkpoints, progress or Silent())

    def aggregate(self) -> Any:
        """Write summary, statistics and report of the committed realizations.

        Returns:
            The results of the manifest's kind: `BiasResults` of `shear`, `CalibrationResults` of `calibration`, or the
            `Survey` of `heterodyne`.
        """
        return registry.family(self.manifest.kind).conclude(self.record).results

    @property
    def summary(self) -> pd.DataFrame:
        """One row per committed realization, with the columns of summary.csv."""
        return registry.family(self.manifest.kind).collect(self.record)

    def posterior(self, run_id: str) -> Any:
        """One realization's posterior for ArviZ: an InferenceData before ArviZ 1.0, a DataTree since.

        Raises:
            UsageError: no committed chunk holds draws of that realization.
        """
        import arviz

        chunk = next((chunk for chunk in self.plan.chunks if run_id in chunk.run_ids), None)
        if chunk is None:
            raise UsageError(f"{run_id}: is not in the plan; `lanewise plan` shows the run ids")
        commit = commits.read(self.store, chunk)
        if commit is None:
            raise UsageError(f"{run_id}: chunk {chunk.index} is not committed yet; run it first")
        found = next(r for r in commits.load_results(self.store, commit) if r.run_id == run_id)
        if not isinstance(found, Result) or not found.posterior:
            raise UsageError(f"{run_id}: has no posterior; {found.reason}")
        with tempfile.NamedTemporaryFile(suffix=".nc") as file:
            file.write(registry.family(self.manifest.kind).outputs().files(found)["posterior.nc"])
            file.flush()
            opened = arviz.from_netcdf(file.name)
            return opened.load() if hasattr(opened, "load") else opened


def load(source: str | Document, overrides: Sequence[str] = ()) -> Campaign:
    """The campaign of a manifest, or of the output URL of one that has run.

    Args:
        source: path or URL of either, or the manifest itself.
        overrides: `path=value` pairs as `--set` takes them.

    Raises:
        ManifestError: the manifest or its config is invalid; holds every complaint.
    """
    return Campaign(open_record(source, overrides))

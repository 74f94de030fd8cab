"""The Python interface: a campaign as an object."""

from __future__ import annotations

import html
import inspect
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lanewise.engine.results import Result
from lanewise.errors import Incomplete, NotConverged, UsageError
from lanewise.machine.progress import Reporter, watched
from lanewise.manifest import registry
from lanewise.manifest.document import Document
from lanewise.manifest.manifest import Manifest
from lanewise.manifest.plan import Plan
from lanewise.manifest.status import listed
from lanewise.operations import retry, run
from lanewise.operations.chunks import Outcome
from lanewise.operations.retry import Retried
from lanewise.operations.starter import as_name
from lanewise.report.canvas import PLOTS, Picture
from lanewise.storage import commits
from lanewise.storage.checkpoints import Policy
from lanewise.storage.record import Record, open_record
from lanewise.storage.store import HOME, Store

if TYPE_CHECKING:
    import pandas as pd


# NumPyro imports tqdm, which asks every notebook without ipywidgets for them; no bar here needs them.
warnings.filterwarnings("ignore", message="IProgress not found")

# A DataFrame's table, failures that an error names, and rows of a summary in a notebook.
_TABLE, _TOLD, _ROWS = f"{HOME}/table.parquet", 5, 5
# Where plots and verdicts are, and which plot is shown first.
_PLOTS, _VERDICTS = f"stats/{PLOTS}", ("stats/bias_results.json", "stats/calibration_results.json")
_FIRST = ("bias_g1", "bias_g2", "ecdf", "maps", "sites")


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
        raise_on_failure: bool = True,
        progress: Reporter | None = None,
    ) -> Outcome:
        """Compute one chunk, some, or all chunks that are not committed.

        A bar is shown on a terminal and in a notebook. Realizations that failed or did not converge are outcomes, which
        `summary` and `Outcome.counts` tell; a chunk that could not be committed is a failure.

        Args:
            batch_index: index of the one chunk, or a range of indices; None: all.
            overwrite: also compute committed chunks again.
            workers: number of processes, if there is more than one chunk to compute.
            raise_on_failure: raise the error of the first chunk that could not be committed, after the others are done;
                otherwise the errors are in the outcome.
            progress: receives progress and events, in place of the bar.

        Raises:
            Incomplete: chunks that were asked for are not committed, and no error is known.
            UsageError: the chunk does not exist, or the machine has fewer cores or GPUs than workers.
            ResultsDiffer: the output holds results of another identity, and `overwrite` is false.
            StorageError: the results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        with nullcontext(progress) if progress else watched() as reporter:
            outcome = run.run(
                self.record, batch_index, self.checkpoints, overwrite=overwrite, n_workers=workers, progress=reporter
            )
        if raise_on_failure and outcome.errors:
            first = outcome.errors[0]
            first.add_note(f"{len(outcome.errors)} chunks failed; raise_on_failure=False returns the outcome")
            raise first
        if raise_on_failure and outcome.missing:
            raise Incomplete(f"{len(outcome.missing)} chunks are not committed, the first is {outcome.missing[0]}")
        return outcome

    def retry(self, *, failed: bool = True, nonconverged: bool = True, progress: Reporter | None = None) -> Retried:
        """Retry realizations that failed or did not converge, and compute chunks that failed or were lost.

        Raises:
            ResultsDiffer: the committed results are not of this manifest.
            StorageError: results cannot be read or written.
            MachineError: this machine lacks the device that the manifest requires.
        """
        statuses = (retry.FAILED if failed else frozenset()) | (retry.NOT_CONVERGED if nonconverged else frozenset())
        with nullcontext(progress) if progress else watched() as reporter:
            return retry.retry(self.record, statuses, self.checkpoints, reporter)

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

    def plot(self, name: str = "") -> Picture:
        """A plot of the report as it was last written; the report is written if there is none.

        Args:
            name: a name from `stats/plots/`, or its beginning; default: the plot that shows most.

        Returns:
            SVG and PDF; a notebook shows it.

        Raises:
            UsageError: there is no such plot.
        """
        if not (names := self._plots()):
            self.aggregate()
            names = self._plots()
        wanted = (name,) if name else _FIRST
        found = next((one for first in wanted for one in names if one.startswith(first)), None)
        if found is None:
            raise UsageError(f"plot {name}: there is none; there are {', '.join(names) or 'no plots yet'}")
        svg, pdf = (self.store.read(f"{_PLOTS}/{found}.{suffix}") for suffix in ("svg", "pdf"))
        return Picture(svg, pdf)

    def _plots(self) -> list[str]:
        return sorted(name.removesuffix(".svg") for name in self.store.names(_PLOTS) if name.endswith(".svg"))

    def __repr__(self) -> str:
        """Name, kind, counts and place."""
        n, url = len(self.plan.realizations), self.manifest.output.url
        return f"<Campaign {self.manifest.name}: {self.manifest.kind}, {n} realizations ({self._told()}), in {url}>"

    def _told(self) -> str:
        counts: Counter[str] = Counter()
        for commit in self.record.commits().values():
            counts.update(commit.counts)
        return listed(counts) or "nothing committed yet"

    def _repr_html_(self) -> str:
        """Verdict, counts, the first rows of the summary, and a plot, for a notebook."""
        n, url = len(self.plan.realizations), html.escape(self.manifest.output.url)
        parts = [f"<p><b>{self.manifest.name}</b>: {n} realizations ({self._told()}), in <code>{url}</code></p>"]
        for path in _VERDICTS:
            if self.store.exists(path):
                verdict = json.loads(self.store.read(path))["verdict"]
                lines = [f"<b>{verdict['verdict']}</b>: {html.escape(verdict['headline'])}"]
                parts.append(f"<p>{'<br>'.join([*lines, *map(html.escape, verdict['reasons'])])}</p>")
        if len(summary := self.summary):
            parts.append(summary.head(_ROWS).to_html(max_cols=12))
        if self._plots():
            parts.append(self.plot()._repr_svg_())
        return "\n".join(parts)

    def posterior(self, run_id: str) -> Any:
        """One realization's posterior for ArviZ: an InferenceData before ArviZ 1.0, a DataTree since.

        Raises:
            UsageError: no committed chunk holds draws of that realization.
        """
        chunk = next((chunk for chunk in self.plan.chunks if run_id in chunk.run_ids), None)
        if chunk is None:
            raise UsageError(f"{run_id}: is not in the plan; `lanewise plan` shows the run ids")
        commit = commits.read(self.store, chunk)
        if commit is None:
            raise UsageError(f"{run_id}: chunk {chunk.index} is not committed yet; run it first")
        found = next(r for r in commits.load_results(self.store, commit) if r.run_id == run_id)
        if not isinstance(found, Result) or not found.posterior:
            raise UsageError(f"{run_id}: has no posterior; {found.reason}")
        with tempfile.NamedTemporaryFile(suffix=".nc") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ArviZ warns of its own next version
            import arviz

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


def fit(
    model: str | Callable[..., Any],
    table: str | pd.DataFrame,
    *,
    id: str | None = None,
    columns: Sequence[str] | Mapping[str, str] = (),
    scalars: Sequence[str] | Mapping[str, str] = (),
    method: str = "auto",
    url: str | None = None,
    batch_size: int = 256,
    workers: int = 1,
    allow_failures: bool = False,
    progress: Reporter | None = None,
) -> Campaign:
    """Infer a NumPyro model for every data set of a table; what is computed already in `url` is not computed again.

    Args:
        model: `file.py:function`, or a function of a file that can be found.
        table: path or URL of a table, or a DataFrame, which is kept with the results.
        id: column that tells data sets apart; None: each row is a data set.
        columns: columns with one value per row; see docs/model.md.
        scalars: columns with one value per data set.
        method: as `inference.method` of a manifest.
        batch_size: data sets per chunk.
        workers: number of processes.
        progress: receives progress and events.
        url: where the results go; default: results/ and the name of the function.
        allow_failures: return the campaign also if data sets failed or did not converge.

    Raises:
        NotConverged: data sets are not ok; the campaign is kept all the same.
        ManifestError: model or table cannot be inferred.
        UsageError: the function is in no file, as in a notebook.
    """
    named = model if isinstance(model, str) else _in_file(model)
    name = as_name(named.rpartition(":")[2]) or "model"
    url = url or f"results/{name}"
    if not isinstance(table, str):
        store = Store(url)
        store.put(_TABLE, table.to_parquet(index=False))
        table = store.where(_TABLE)
    inputs = {"table": table, "id": id, "columns": columns, "scalars": scalars}
    manifest = {
        "apiVersion": "lanewise/v1",
        "kind": "model",
        "name": name,
        "model": named,
        "inputs": {key: _plain(part) for key, part in inputs.items() if part},
        "inference": {"method": method},
        "batch": {"size": batch_size},
        "output": {"url": url},
    }
    campaign = load(Document("lanewise.fit", manifest))
    campaign.run(workers=workers, progress=progress)
    campaign.aggregate()
    bad = campaign.summary.query("status != 'ok'")
    if len(bad) and not allow_failures:
        told = "; ".join(f"{row['id']}: {row['reason']}" for _, row in bad.head(_TOLD).iterrows())
        raise NotConverged(
            f"{len(bad)} of {len(campaign.plan.realizations)} data sets are not ok: {told}; "
            f"allow_failures=True returns the others, lanewise.load('{url}') opens them"
        )
    return campaign


def _in_file(model: Callable[..., Any]) -> str:
    """`file:function` of a function.

    Raises:
        UsageError: it is in no file.
    """
    file = inspect.getsourcefile(model)
    if file is None or not os.path.isfile(file):
        raise UsageError(f"{model.__name__}: is in no file; save it, e.g. by %%writefile mymodel.py, and import it")
    return f"{os.path.abspath(file)}:{model.__name__}"


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return dict(value) if isinstance(value, Mapping) else list(value)

"""A campaign as a Slurm script that submits arrays of exactly the open chunks, and the aggregation after them.

A task computes the chunks i, i + n, … of n tasks (`lanewise run --index-from … --of n`), so that one rule serves a task
per chunk, several chunks per task, and an array that is split because the site limits its indices.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from typer import Option

from lanewise.errors import UsageError
from lanewise.machine import host, interrupts
from lanewise.manifest import spans
from lanewise.manifest.locations import pinned
from lanewise.manifest.manifest import Manifest

_INDEX, _OFFSET = "LANEWISE_INDEX", "LANEWISE_OFFSET"
_TIME = re.compile(r"(\d+-)?\d{1,2}(:\d\d){0,2}|\d+")
_OPTION = re.compile(r"[a-z][a-z-]*(=\S+)?")
# Between the end of our grace period and the end of the time [s].
_MARGIN_S = 20


@dataclass(frozen=True, kw_only=True)
class SlurmSite:
    """Settings of a Slurm cluster; no result depends on them. They are the options of `lanewise render slurm`.

    Raises:
        UsageError: Slurm would refuse a value.
    """

    time: Annotated[str, Option("--time", metavar="[D-]HH:MM:SS", help="Time limit of one task.")] = "04:00:00"
    parallelism: Annotated[int, Option(min=1, help="Tasks at a time, over all arrays.")] = 50
    chunks_per_task: Annotated[int, Option(min=1, help="Chunks that one task computes, one after the other.")] = 1
    max_array_size: Annotated[
        int, Option(min=2, help="MaxArraySize of `scontrol show config`; a larger campaign becomes several arrays.")
    ] = 1001
    workers: Annotated[int, Option(min=1, help="Processes of a task; see `lanewise run --workers`.")] = 1
    partition: Annotated[str | None, Option(metavar="NAME", help="Partition of all tasks.")] = None
    account: Annotated[str | None, Option(metavar="NAME", help="Account that is charged.")] = None
    option: Annotated[
        list[str] | None,
        Option(metavar="KEY[=VALUE]", help="Any other option of sbatch, e.g. qos=long or exclusive; repeatable."),
    ] = None
    gres: Annotated[str | None, Option(help="GPUs as the site names them, e.g. gpu:a100:1.  [default: gpu:N]")] = None
    module: Annotated[list[str] | None, Option(metavar="NAME", help="Environment module to load; repeatable.")] = None
    setup: Annotated[
        list[str] | None,
        Option(metavar="LINE", help="Line of shell before the run, e.g. 'source ~/venv/bin/activate'; repeatable."),
    ] = None
    command: Annotated[str, Option(help="How to call lanewise, as words of a shell.")] = "lanewise"
    apptainer: Annotated[str | None, Option(metavar="IMAGE", help="Run in this image with apptainer.")] = None
    pyxis: Annotated[str | None, Option(metavar="IMAGE", help="Run in this image with srun and pyxis.")] = None
    bind: Annotated[
        list[str] | None, Option(metavar="PATH[:PATH]", help="Directory that the container sees; repeatable.")
    ] = None
    grace_s: Annotated[
        int, Option("--grace", min=30, help="Seconds before the time limit at which a task is told to stop.")
    ] = 120
    aggregate_time: Annotated[str, Option(metavar="[D-]HH:MM:SS", help="Time limit of the aggregation.")] = "01:00:00"
    aggregate_memory: Annotated[str, Option(help="Memory of the aggregation.")] = "4Gi"
    min_complete: Annotated[
        float | None, Option(min=0, max=1, help="Share of chunks without which the aggregation counts as failed.")
    ] = None
    logs: Annotated[str, Option(metavar="DIR", help="Directory of the logs, below the working directory.")] = "logs"

    def __post_init__(self) -> None:
        for name, value in (("--time", self.time), ("--aggregate-time", self.aggregate_time)):
            if not _TIME.fullmatch(value):
                raise UsageError(f"{name}: expected a time such as 04:00:00 or 1-12:00:00, got '{value}'")
        for given in self.option or ():
            if not _OPTION.fullmatch(given):
                raise UsageError(f"--option: expected key=value as sbatch takes it, without dashes, got '{given}'")
        for line in self.setup or ():
            if "\n" in line:
                raise UsageError(f"--setup: expected one line of shell, got '{line}'; repeat the option")
        for name, text in (("--partition", self.partition), ("--account", self.account), ("--gres", self.gres)):
            if text is not None and not re.fullmatch(r"\S+", text):
                raise UsageError(f"{name}: expected one word, got '{text}'")
        if self.apptainer and self.pyxis:
            raise UsageError("--apptainer and --pyxis exclude each other")
        if self.bind and not (self.apptainer or self.pyxis):
            raise UsageError("--bind: expected a container; add --apptainer IMAGE or --pyxis IMAGE")
        if not re.fullmatch(r"[\w./-]+", self.logs):
            raise UsageError(f"--logs: expected a path of letters, digits, '.', '-', '_', got '{self.logs}'")
        if not host.is_quantity(self.aggregate_memory):
            raise UsageError(f"--aggregate-memory: expected a quantity such as 4Gi, got '{self.aggregate_memory}'")


@dataclass(frozen=True)
class Array:
    """An array of tasks: task `offset` + k of the campaign has index k here; `tasks` are the spans of k."""

    offset: int
    tasks: tuple[range, ...]


def arrays(open_: Collection[int], n_chunks: int, site: SlurmSite) -> tuple[int, tuple[Array, ...]]:
    """The number of tasks of the whole campaign, and the arrays with those that have open chunks."""
    n_tasks = -(-n_chunks // site.chunks_per_task)
    wanted = sorted({index % n_tasks for index in open_})
    found = []
    for offset in range(0, n_tasks, site.max_array_size):
        inside = [task - offset for task in wanted if offset <= task < offset + site.max_array_size]
        if inside:
            found.append(Array(offset, tuple(spans.spans(inside))))
    return n_tasks, tuple(found)


def script(
    manifest: Manifest, n_chunks: int, open_: Collection[int], site: SlurmSite, words: Sequence[str], directory: str
) -> str:
    """The script that submits a campaign; equal arguments give equal text.

    Args:
        open_: indices of the chunks that are not committed.
        words: the manifest and its overrides, as on the command line.
        directory: absolute path of the directory in which every job runs.

    Raises:
        UsageError: results or inputs are in memory.
    """
    if lost := [url for url in (manifest.output.url, *pinned(manifest.content)) if url.startswith("memory:")]:
        raise UsageError(f"{manifest.source}: {lost[0]} is in memory and ends with its task; choose a path or a bucket")
    n_tasks, found = arrays(open_, n_chunks, site)
    lines = [
        "#!/bin/bash",
        f"# Campaign {manifest.name}: {len(open_)} of {n_chunks} chunks are open, in {n_tasks} tasks of "
        f"{site.chunks_per_task} at most.",
        "# Made by `lanewise render slurm`. Run this file to submit: arrays of what is open, then the aggregation.",
        "# After a time limit or a failure, render it again: what is committed is not computed again.",
        "set -euo pipefail",
        f"cd {shlex.quote(directory)}",
        f"mkdir -p {site.logs}",
        "",
        "chunks() {",
        "  cat <<'JOB'",
        *_chunk_job(manifest, n_tasks, site, words, directory),
        "JOB",
        "}",
        "",
        "aggregation() {",
        "  cat <<'JOB'",
        *_aggregation_job(manifest, site, words, directory),
        "JOB",
        "}",
        "",
        "after=()",
    ]
    for one in found:
        # One array after the other, so that no more tasks than asked for run at a time.
        tasks = f"{','.join(map(spans.written, one.tasks))}%{site.parallelism}"
        lines += [
            f"job=$(chunks | sbatch --parsable --export=ALL,{_OFFSET}={one.offset} --array={tasks} "
            '${after[@]+"${after[@]}"})',
            "job=${job%%;*}",
            'after=("--dependency=afterany:$job")',
            'echo "chunks: job $job"',
        ]
    lines += [
        'job=$(aggregation | sbatch --parsable ${after[@]+"${after[@]}"})',
        'echo "aggregation: job ${job%%;*}"',
    ]
    return "\n".join(lines) + "\n"


def _chunk_job(manifest: Manifest, n_tasks: int, site: SlurmSite, words: Sequence[str], directory: str) -> list[str]:
    needs = manifest.resources
    gpus = 0 if needs.device == "cpu" else needs.gpus
    gres = site.gres or (f"gpu:{gpus}" if gpus else None)
    options = [
        f"job-name={manifest.name}",
        f"output={site.logs}/{manifest.name}-%A_%a.log",
        f"time={site.time}",
        f"cpus-per-task={needs.cpus}",
        f"mem={_mebibytes(needs.memory)}",
        *([f"gres={gres}"] if gres else []),
        # A task that is requeued continues its log, and what is committed.
        "requeue",
        "open-mode=append",
        f"signal=B:TERM@{site.grace_s}",
    ]
    arguments = ["run", *words, "--index-from", _INDEX, "--of", str(n_tasks)]
    if site.workers > 1:
        arguments += ["--workers", str(site.workers)]
    index = f"export {_INDEX}=$((SLURM_ARRAY_TASK_ID + {_OFFSET}))"
    return [*_head(options, site, directory), index, _call(site, arguments, directory, gpu=gres is not None)]


def _aggregation_job(manifest: Manifest, site: SlurmSite, words: Sequence[str], directory: str) -> list[str]:
    options = [
        f"job-name={manifest.name}-aggregate",
        f"output={site.logs}/{manifest.name}-aggregate-%j.log",
        f"time={site.aggregate_time}",
        "cpus-per-task=1",
        f"mem={_mebibytes(site.aggregate_memory)}",
        "requeue",
        "open-mode=append",
    ]
    arguments = ["aggregate", *words]
    if site.min_complete is not None:
        arguments += ["--min-complete", f"{site.min_complete:g}"]
    return [*_head(options, site, directory), _call(site, arguments, directory, gpu=False)]


def _head(options: Sequence[str], site: SlurmSite, directory: str) -> list[str]:
    of_site = (("partition", site.partition), ("account", site.account))
    every = [
        *options,
        "nodes=1",
        "ntasks=1",
        f"chdir={shlex.quote(directory)}",
        *(f"{name}={value}" for name, value in of_site if value is not None),
        *(site.option or ()),
    ]
    return [
        # Modules are defined for login shells.
        "#!/bin/bash -l" if site.module else "#!/bin/bash",
        *(f"#SBATCH --{one}" for one in every),
        *(f"module load {shlex.quote(name)}" for name in site.module or ()),
        *(site.setup or ()),
        "set -euo pipefail",
        f"export {interrupts.GRACE_VARIABLE}={site.grace_s - _MARGIN_S}",
    ]


def _call(site: SlurmSite, arguments: Sequence[str], directory: str, *, gpu: bool) -> str:
    """The last line: lanewise takes the place of the shell, which alone gets the signal before the time limit.

    apptainer and srun pass the signal on.
    """
    words = [*shlex.split(site.command), *arguments]
    seen = [directory, *(site.bind or ())]
    if site.apptainer:
        binds = [part for path in seen for part in ("--bind", path)]
        words = ["apptainer", "exec", *(["--nv"] if gpu else []), *binds, "--pwd", directory, site.apptainer, *words]
    if site.pyxis:
        mounts = ",".join(path if ":" in path else f"{path}:{path}" for path in seen)
        container = (f"--container-image={site.pyxis}", f"--container-mounts={mounts}")
        words = ["srun", *container, f"--container-workdir={directory}", *words]
    return f"exec {shlex.join(words)}"


def _mebibytes(quantity: str) -> str:
    return f"{-(-host.quantity_bytes(quantity) // 2**20)}M"

"""The script for Slurm: what is open, in which arrays, with which requests; read by bash and by a stand-in sbatch."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Lanewise, Write, load
from lanewise.errors import UsageError
from lanewise.manifest import loading
from lanewise.manifest.manifest import Manifest
from lanewise.render.slurm import SlurmSite, arrays, script

SITE = SlurmSite()
WORDS = ("my campaign.yaml", "--set", "output.url=s3://bucket/x y")


def manifest(*overrides: str) -> Manifest:
    return loading.load("manifests/level0.yaml", overrides)


def rendered(site: SlurmSite = SITE, open_: Any = range(4), n_chunks: int = 4, overrides: tuple[str, ...] = ()) -> str:
    return script(manifest(*overrides), n_chunks, open_, site, WORDS, "/shared/my dir")


def jobs(text: str) -> tuple[str, str]:
    """The two job scripts inside."""
    chunks, aggregation = re.findall(r"<<'JOB'\n(.*?)\nJOB\n", text, re.DOTALL)
    return chunks, aggregation


def options(job: str) -> dict[str, str]:
    pairs = (line.removeprefix("#SBATCH --").partition("=") for line in job.splitlines() if line.startswith("#SBATCH"))
    return {name: value for name, _, value in pairs}


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.integers(1, 9),
    st.integers(2, 50),
)
def test_arrays_hold_exactly_the_tasks_with_open_chunks(
    campaign: tuple[int, set[int]], chunks_per_task: int, max_array_size: int
) -> None:
    n_chunks, open_ = campaign
    site = replace(SITE, chunks_per_task=chunks_per_task, max_array_size=max_array_size)
    n_tasks, found = arrays(open_, n_chunks, site)
    indices = [task for one in found for span in one.tasks for task in span]
    assert all(0 <= index < max_array_size for index in indices)
    tasks = [one.offset + task for one in found for span in one.tasks for task in span]
    assert len(tasks) == len(set(tasks))
    chunks = [chunk for task in tasks for chunk in range(task, n_chunks, n_tasks)]
    assert open_ <= set(chunks)
    assert all(len(range(task, n_chunks, n_tasks)) <= chunks_per_task for task in tasks)
    if chunks_per_task == 1:
        assert set(chunks) == open_


@pytest.mark.parametrize(
    "site",
    [
        SITE,
        replace(SITE, module=["gcc/12", "odd name"], setup=["source 'a b'/activate"], option=["qos=long", "exclusive"]),
        replace(SITE, apptainer="image file.sif", bind=["/data"], partition="gpu", account="lensing"),
        replace(SITE, pyxis="registry.example#lanewise:0.1", bind=["/data:/in"]),
    ],
    ids=["plain", "modules", "apptainer", "pyxis"],
)
def test_bash_reads_the_script_and_both_jobs(site: SlurmSite, tmp_path: Path) -> None:
    text = rendered(site)
    for part in (text, *jobs(text)):
        file = tmp_path / "part.sh"
        file.write_text(part)
        done = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    for job in jobs(text):
        # Comments of sbatch end at the first command; the shell is replaced, so that the signal reaches lanewise.
        lines = job.splitlines()
        last_option = max(at for at, line in enumerate(lines) if line.startswith("#SBATCH"))
        assert all(line.startswith("#") for line in lines[: last_option + 1])
        assert lines[-1].startswith("exec ")
        assert shlex.split(lines[-1]).count("output.url=s3://bucket/x y") == 1


def test_tasks_ask_for_the_manifests_resources_and_survive_their_node() -> None:
    sized = ("resources.cpus=8", "resources.memory=3Gi", "resources.gpus=2")
    chunks, aggregation = map(options, jobs(rendered(overrides=sized)))
    assert {name: chunks[name] for name in ("cpus-per-task", "mem", "gres", "time", "signal", "open-mode")} == {
        "cpus-per-task": "8",
        "mem": "3072M",
        "gres": "gpu:2",
        "time": "04:00:00",
        "signal": "B:TERM@120",
        "open-mode": "append",
    }
    assert {"requeue", "job-name"} <= chunks.keys()
    assert ("gres" in aggregation, aggregation["mem"]) == (False, "4096M")
    assert "gres" not in options(jobs(rendered(overrides=("resources.device=cpu",)))[0])
    named = jobs(rendered(replace(SITE, gres="gpu:a100:1", grace_s=300)))[0]
    assert (options(named)["gres"], options(named)["signal"]) == ("gpu:a100:1", "B:TERM@300")
    assert "export LANEWISE_GRACE=280" in named


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (replace(SITE, workers=4), ["lanewise", "run", *WORDS]),
        (replace(SITE, command="python -m x"), ["python", "-m", "x", "run", *WORDS]),
        (
            replace(SITE, apptainer="i.sif", bind=["/d"]),
            [
                "apptainer",
                "exec",
                "--nv",
                "--bind",
                "/shared/my dir",
                "--bind",
                "/d",
                "--pwd",
                "/shared/my dir",
                "i.sif",
            ],
        ),
        (
            replace(SITE, pyxis="r#i", bind=["/d:/e"]),
            ["srun", "--container-image=r#i", "--container-mounts=/shared/my dir:/shared/my dir,/d:/e"],
        ),
    ],
)
def test_last_line_calls_lanewise_with_the_tasks_index(site: SlurmSite, words: list[str]) -> None:
    job, _ = jobs(rendered(site))
    call = shlex.split(job.splitlines()[-1])
    assert call[: len(words) + 1] == ["exec", *words]
    assert call[call.index("--index-from") :][:4] == ["--index-from", "LANEWISE_INDEX", "--of", "4"]
    assert (call[-2:] == ["--workers", "4"]) == (site.workers == 4)
    assert "export LANEWISE_INDEX=$((SLURM_ARRAY_TASK_ID + LANEWISE_OFFSET))" in job


def test_submission_chains_the_arrays_and_the_aggregation(tmp_path: Path) -> None:
    """A stand-in for sbatch notes what it is asked for, and answers with a job id and a cluster."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/bash\ncat > /dev/null\necho "$*" >> "$LOG"\necho "$(wc -l < "$LOG");cluster"\n')
    sbatch.chmod(0o755)
    site = replace(SITE, max_array_size=4, parallelism=2)
    file = tmp_path / "submit.sh"
    file.write_text(script(manifest(), 9, [0, 1, 3, 8], site, WORDS, str(tmp_path)))
    environment = {**os.environ, "PATH": f"{sbatch.parent}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}
    done = subprocess.run(["bash", str(file)], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "chunks: job 1\nchunks: job 2\naggregation: job 3\n"
    assert (tmp_path / "log").read_text().splitlines() == [
        "--parsable --export=ALL,LANEWISE_OFFSET=0 --array=0-1,3%2",
        "--parsable --export=ALL,LANEWISE_OFFSET=8 --array=0%2 --dependency=afterany:1",
        "--parsable --dependency=afterany:2",
    ]
    assert (tmp_path / "logs").is_dir()


def test_committed_chunks_are_left_out(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    path = write(batch__size=1)
    load(path).run(range(1, 4, 2))
    assert " --array=0,2%50 " in lanewise("render", "slurm", path)[1]
    load(path).run()
    code, out, _ = lanewise("render", "slurm", path, "-o", str(tmp_path / "submit.sh"))
    text = (tmp_path / "submit.sh").read_text()
    assert (code, out, "--array" in text, "aggregation | sbatch" in text) == (0, "", False, True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time": "four hours"}, "--time: expected a time"),
        ({"option": ["--qos=long"]}, "--option: expected key=value"),
        ({"partition": "two words"}, "--partition: expected one word"),
        ({"apptainer": "a", "pyxis": "b"}, "exclude each other"),
        ({"bind": ["/data"]}, "--bind: expected a container"),
        ({"logs": "a b"}, "--logs: expected a path"),
        ({"setup": ["a\nb"]}, "--setup: expected one line"),
        ({"aggregate_memory": "4 GB"}, "--aggregate-memory: expected a quantity"),
    ],
)
def test_site_refuses_what_slurm_would(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SITE, **wrong)


def test_results_in_memory_are_refused() -> None:
    with pytest.raises(UsageError, match="memory://x is in memory and ends with its task"):
        rendered(overrides=("output.url=memory://x",))

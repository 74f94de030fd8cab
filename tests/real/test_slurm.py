"""The rendered script on a real Slurm: a task that dies, one that is requeued, one that is cancelled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Write, load, tree
from real.cluster import PROGRAMS, Cluster

pytestmark = pytest.mark.real
CREW = str(Path(__file__).parents[1] / "crew.py")
END_S = 120.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if lacking := [name for name in PROGRAMS if shutil.which(name, path=path) is None]:
        pytest.skip(f"no {lacking[0]}: apt-get install slurmctld slurmd slurm-client munge")
    # Not below pytest's own directory, which other users may not enter; munge insists on that.
    with tempfile.TemporaryDirectory(prefix="lanewise-slurm-") as home:
        os.chmod(home, 0o755)
        made = Cluster(Path(home))
        try:
            made.start(max_array_size=4)
            yield made
        finally:
            made.stop()


def test_three_mishaps_and_a_second_submission_give_the_bytes_of_one_run(
    cluster: Cluster, write: Write, tmp_path: Path
) -> None:
    small = {"cpus": 1, "memory": "256M", "device": "cpu"}
    changes = {"batch__size": 1, "realizations__count": 3, "resources": small}
    path = write(**changes)
    # Six chunks; the site allows arrays of four.
    first = _submitted(cluster, path, tmp_path, CREW_DIES="1", CREW_ROUND_S="1")
    assert [(job["offset"], job["array"]) for job in first.arrays] == [("0", "0-3%2"), ("4", "0-1%2")]
    left, right = (job["id"] for job in first.arrays)
    cluster.await_state(f"{left}_0", "RUNNING", END_S)
    cluster.told("scontrol", "requeue", f"{left}_0")
    cluster.told("scancel", f"{left}_3")
    cluster.await_end(END_S)
    committed = set(load(path).record.commits())
    assert committed == {0, 2, 4, 5}
    assert cluster.state(f"{left}_1") == "FAILED"
    assert cluster.state(f"{left}_0") == cluster.state(f"{right}_1") == "COMPLETED"
    # The aggregation ran after all of them, and says what is missing.
    assert cluster.state(first.aggregation) == "COMPLETED"
    assert len(json.loads((tmp_path / "results/stats/bias_results.json").read_text())["missing"]) == 2
    again = _submitted(cluster, path, tmp_path)
    assert [(job["offset"], job["array"]) for job in again.arrays] == [("0", "1,3%2")]
    cluster.await_end(END_S)
    assert cluster.state(again.aggregation) == "COMPLETED"
    whole = write("whole.yaml", url=str(tmp_path / "whole"), **changes)
    for command in ("run", "aggregate"):
        subprocess.run([sys.executable, CREW, command, whole], check=True, capture_output=True)
    ours, theirs = tree(tmp_path / "results"), tree(tmp_path / "whole")
    # The report shows the manifest with its output.url; figures of the first aggregation stay.
    del theirs["report.html"]
    assert {name: ours.get(name) for name in theirs} == theirs


def test_task_that_is_near_its_time_limit_leaves_a_checkpointed_chunk_to_the_next(
    cluster: Cluster, write: Write, tmp_path: Path
) -> None:
    path = write(batch__size=2, resources={"cpus": 1, "memory": "256M", "device": "cpu"}, realizations__count=1)
    (job,) = _submitted(cluster, path, tmp_path, "--time", "00:01:00", "--grace", "30", CREW_ROUND_S="30").arrays
    cluster.await_end(2 * END_S)
    log = (tmp_path / "my place" / "logs" / f"test-{job['id']}_0.log").read_text()
    assert "terminated; committed results are kept; run again to continue" in log
    assert cluster.state(f"{job['id']}_0") == "FAILED"
    assert load(path).record.commits() == {}


class _Submitted:
    """The job ids that the script printed, and what it asked for."""

    def __init__(self, script: str, printed: str) -> None:
        lines = [line for line in script.splitlines() if "--array=" in line]
        ids = [line.rpartition(" ")[2] for line in printed.splitlines()]
        self.arrays = [
            {
                "id": number,
                "offset": line.partition("LANEWISE_OFFSET=")[2].split()[0],
                "array": line.partition("--array=")[2].split()[0],
            }
            for number, line in zip(ids[:-1], lines, strict=True)
        ]
        self.aggregation = ids[-1]


def _submitted(cluster: Cluster, path: str, folder: Path, *options: str, **variables: str) -> _Submitted:
    place = folder / "my place"
    place.mkdir(exist_ok=True)
    script = place / "submit.sh"
    command = f"{sys.executable} {CREW}"
    site = ("--max-array-size", "4", "--parallelism", "2", "--aggregate-memory", "512M", "--command", command)
    render = [sys.executable, CREW, "render", "slurm", path, *site, *options, "-o", str(script)]
    subprocess.run(render, check=True, capture_output=True, cwd=place)
    environment = {**cluster.environment, **variables}
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return _Submitted(script.read_text(), done.stdout)

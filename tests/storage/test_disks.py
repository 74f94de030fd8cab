"""A disk that is full and one that is read-only: real ones, small file systems in memory, where we may mount them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Write, load
from lanewise import cli
from lanewise.errors import StorageError
from lanewise.operations import plan_summary, upkeep
from lanewise.storage import commits
from lanewise.storage.store import Store

NOBODY = 65534
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a file system here: {error}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns its exit code and what it wrote to standard error."""

    def main(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["lanewise", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return main


@pytest.mark.parametrize("layout", ["directories", "packed"])
@pytest.mark.parametrize("method", ["map", pytest.param("nuts", marks=pytest.mark.slow)])
def test_the_plan_tells_the_room_that_the_results_take(write: Write, tmp_path: Path, layout: str, method: str) -> None:
    nuts = {"warmup": 20, "samples": 300, "chains": 2}
    inference = {"method": method, **({"nuts_config": nuts} if method == "nuts" else {})}
    campaign = load(write(config__inference=inference, batch__size=2, output__layout=layout))
    told = plan_summary.summarise(campaign.record, needs=True).disk
    assert told is not None
    assert told.free_bytes is not None
    assert told.free_bytes > 0
    campaign.run(0)
    left = plan_summary.summarise(campaign.record, needs=True).disk
    assert left is not None
    n = len(campaign.plan.realizations)
    assert left.results_bytes == pytest.approx(told.results_bytes * (n - 2) / n, abs=2)
    campaign.run()
    taken = sum(path.stat().st_size for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert 0.9 * taken < told.results_bytes < 1.3 * taken


def test_results_that_the_disk_cannot_hold_are_refused(disk: Path, write: Write, run: Run) -> None:
    path = write(url=str(disk / "results"), realizations__count=1000)
    code, told = run("plan", path)
    assert code == 65
    assert "output.url: results need about" in told
    assert "set output.layout: packed, free some space, or choose another output.url" in told


@pytest.mark.parametrize("room", [0, 9, 30])
def test_on_a_full_disk_a_run_says_so_once_and_goes_on_when_there_is_room(
    disk: Path, write: Write, run: Run, room: int
) -> None:
    path = write(url=str(disk / "results"))
    assert run("run", path, "--batch-index", "0") == (0, "")
    before = load(path).record.commits()
    filler = disk / "filler"
    left = os.statvfs(disk)
    filler.write_bytes(bytes(left.f_bavail * left.f_bsize - room * 1024))
    code, told = run("run", path)
    assert code == 74
    assert told.count("\n") == 1
    assert "No space left on device; free some space and run again; committed results are kept" in told
    # With a little room the second chunk's commit may stand, and its directories not; what is committed is whole.
    now = load(path).record.commits()
    assert now.items() >= before.items()
    assert [len(commits.load_results(load(path).store, commit)) for commit in now.values()] == [2] * len(now)
    filler.unlink()
    assert run("run", path) == (0, "")
    assert upkeep.verify(load(path).record).findings == ()


def test_a_read_only_disk_is_one_clear_message_and_can_be_read(disk: Path, write: Write, run: Run) -> None:
    path = write(url=str(disk / "results"))
    assert run("run", path, "--batch-index", "0") == (0, "")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, told = run("run", path)
    assert code == 74
    assert told.count("\n") == 1
    assert "Read-only file system; choose an output.url that can be written" in told
    # What is committed needs no writing.
    assert run("run", path, "--batch-index", "0") == (0, "")
    assert run("verify", path) == (0, "")
    assert run("status", path) == (0, "")


def test_a_directory_that_only_others_may_write_is_one_clear_message() -> None:
    # Not below tmp_path, which only its owner may enter; and no more than the store, since what Python imports late may
    # be where nobody may read.
    with tempfile.TemporaryDirectory() as place:
        store = Store(f"{place}/results")
        os.chmod(place, 0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(NOBODY)  # root may write anywhere
        try:
            with pytest.raises(StorageError) as caught:
                store.put("x", b"1")
        finally:
            if is_root:
                os.seteuid(0)
            os.chmod(place, 0o755)
        remedy = "choose an output.url that this user may write"
        assert str(caught.value) == f"{place}/results/x: refused: Permission denied; {remedy}"
        assert os.listdir(place) == []

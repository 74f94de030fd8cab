import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lanewise.errors import StorageError
from lanewise.machine import interrupts
from lanewise.manifest.locations import split
from lanewise.storage.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, memory: str) -> Store:
    return Store(str(tmp_path / "out") if request.param == "local" else memory)


def test_put_reads_back_and_replaces(store: Store) -> None:
    store.put("a/b.txt", b"one")
    store.put("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"two"
    assert (store.exists("a/b.txt"), store.exists("a/c.txt")) == (True, False)
    assert store.names("a") == ["b.txt"]


def test_create_keeps_what_is_there(store: Store) -> None:
    assert store.create("a/commit", b"first") is True
    assert store.create("a/commit", b"second") is False
    assert store.read("a/commit") == b"first"


def test_absence_is_told_from_failure(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("absent")
    assert store.names("absent") == []
    store.remove("absent")


def test_remove_takes_a_file_or_all_below(store: Store) -> None:
    for path in ("a/1", "a/b/2", "c"):
        store.put(path, b"x")
    store.remove("a")
    store.remove("c")
    assert [store.exists(path) for path in ("a/1", "a/b/2", "c")] == [False, False, False]


def test_local_writes_leave_no_temporary_and_obey_the_umask(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.put("x", b"1")
    store.create("y", b"1")
    store.create("y", b"2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "y"]
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    assert (tmp_path / "x").stat().st_mode == ordinary.stat().st_mode


def test_a_directory_in_the_way_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StorageError, match=r"file/out/x: (Not a directory|File exists)"):
        Store(str(tmp_path / "file" / "out")).put("x", b"1")


def test_an_unknown_scheme_is_one_clear_message() -> None:
    with pytest.raises(StorageError, match="carrier-pigeon://x: cannot be opened"):
        Store("carrier-pigeon://x")


def test_the_root_directory_is_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have its manifest at /manifest.yaml."""
    monkeypatch.chdir(tmp_path)
    folder, name = split(f"/{tmp_path.name}.probe")
    assert Store(folder).where(name) == f"/{tmp_path.name}.probe"
    assert "tmp" in Store(folder).names("")
    assert Store(f"/{tmp_path.relative_to('/')}").names("") == []


@pytest.mark.parametrize(
    "url",
    [
        "s3://somebody:never-to-be-seen@bucket/run",
        "S3://somebody:never-to-be-seen@bucket/run",
        "s3://somebody:never/to/be-seen@bucket/run",
        "ftp://somebody:1234@host/run",
        "simplecache::s3://somebody:never-to-be-seen@bucket/run",
    ],
)
def test_a_password_in_a_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(StorageError, match="carries a password") as caught:
        Store(url)
    assert "seen" not in str(caught.value)


def test_a_port_and_a_container_are_no_password() -> None:
    for url in ("memory://host:8020/a@b/run", "memory://container@account.dfs.core.windows.net/run"):
        assert Store(url).where("x") == f"{url}/x"


WAITING = """
import time
from lanewise.machine import interrupts
from lanewise.storage.store import Store
interrupts.install()
print("begun", flush=True)
Store("memory://bucket").map(lambda _: time.sleep(60), range(40))
"""


def test_a_signal_is_obeyed_while_many_calls_wait() -> None:
    """A call to a server that has stopped may take five minutes; the grace is for what computes."""
    environment = {**os.environ, interrupts.GRACE_VARIABLE: "60"}
    program = [sys.executable, "-c", WAITING]
    child = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=20) == 143


def test_the_first_of_many_calls_that_fails_ends_them_all(memory: str) -> None:
    done: list[int] = []

    def call(n: int) -> None:
        if n == 3:
            raise StorageError("third")
        time.sleep(0.01)
        done.append(n)

    with pytest.raises(StorageError, match="third"):
        Store(memory).map(call, range(500))
    n = len(done)
    time.sleep(0.1)
    assert len(done) == n < 200  # what was under way has ended, and the rest was never begun


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space and run again"),
        (errno.EROFS, "Read-only file system; choose an output.url that can be written"),
        (errno.EACCES, "refused: Permission denied; choose an output.url that this user may write"),
    ],
)
def test_a_disk_that_cannot_be_written_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=f"{tmp_path}/a: {message}"):
        Store(str(tmp_path)).put("a", b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_has_no_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    assert Store(str(tmp_path)).conditional is True
    monkeypatch.setattr(os, "link", refuse)
    assert Store(str(tmp_path)).conditional is False


def test_a_rename_is_followed_by_a_sync_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, real = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{handle}"))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    Store(str(tmp_path / "new")).put("x", b"1")
    assert [synced[0], synced[-1]] == [str(tmp_path), str(tmp_path / "new")]


def test_a_file_of_this_machine_is_put_on_a_disk_and_into_remote_storage(memory: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for content in (b"first", b"second"):
        source.write_bytes(content)
        for url in (str(tmp_path / "new" / "folder"), memory):
            Store(url).put_file("found", str(source))
            assert Store(url).read("found") == content
    assert [one.name for one in (tmp_path / "new" / "folder").iterdir()] == ["found"]

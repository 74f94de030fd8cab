import errno
import os
from pathlib import Path

import pytest

from lanewise.errors import StorageError
from lanewise.store import Store


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


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; make room and run again"),
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

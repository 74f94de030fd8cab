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

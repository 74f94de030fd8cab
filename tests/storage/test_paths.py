"""Local disks of all sorts: ACLs, odd names, errors that pass, a standard output that cannot be written."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Write, load, tree
from lanewise.manifest.document import Document
from lanewise.storage import disk
from lanewise.storage.inputs import resolve
from lanewise.storage.store import Store

ODD = ("a::b", "a [1]", "100 % #1", "ümlaut ?", "-dash", "a\nb", "*")
CREW = str(Path(__file__).parents[1] / "crew.py")


@pytest.mark.parametrize("name", ODD)
def test_directories_with_odd_names_hold_manifest_inputs_and_results(write: Write, tmp_path: Path, name: str) -> None:
    place = tmp_path / name
    place.mkdir()
    np.save(place / "stamps.npy", np.random.default_rng(1).normal(scale=1e-3, size=(2, 24, 24)))
    observed = {"images": str(place / "stamps.npy")}
    path = write(f"{name}/m.yaml", url=str(place / "out"), shear=..., realizations=..., observations=observed)
    assert load(path).run().computed == 1
    assert sorted(one.name for one in place.iterdir()) == ["m.yaml", "out", "stamps.npy"]
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert load(str(place / "out")).record.commits().keys() == {0}


def test_pattern_below_a_directory_without_one_finds_its_files(tmp_path: Path) -> None:
    (tmp_path / "a::b").mkdir()
    for name in ("1.h5", "2.h5", "3.txt"):
        (tmp_path / "a::b" / name).write_text(name)
    manifest = Document("m.yaml", {"inputs": str(tmp_path / "a::b" / "*.h5")})
    assert [os.path.basename(one["path"]) for one in resolve(manifest, ("inputs",))] == ["1.h5", "2.h5"]


def _acl(group: int) -> bytes:
    """A default ACL under which one more group may write, as the kernel takes it."""
    entries = [(0x01, 7, -1), (0x04, 7, -1), (0x08, 7, group), (0x10, 7, -1), (0x20, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in entries)


def test_files_get_what_the_directorys_default_acl_gives(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", _acl(4321))
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    Store(str(tmp_path)).put("ours", b"")
    (tmp_path / "theirs").write_bytes(b"")
    ours, theirs = (os.getxattr(tmp_path / name, "system.posix_acl_access") for name in ("ours", "theirs"))
    assert ours == theirs


def test_disk_that_refuses_chmod_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for name in ("chmod", "fchmod", "lchmod", "chown"):
        monkeypatch.setattr(os, name, refuse, raising=False)
    found = Store(str(tmp_path / "new"))
    found.put("a", b"1")
    assert found.create("b", b"2")
    assert (found.read("a"), found.read("b")) == (b"1", b"2")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("call", [lambda s: s.read("a"), lambda s: s.put("a", b"1"), lambda s: s.names("")])
def test_error_that_passes_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: Callable[[Store], object]
) -> None:
    found = Store(str(tmp_path))
    found.put("a", b"1")
    failures = [OSError(number, os.strerror(number))] * 2
    monkeypatch.setattr(disk, "_PAUSES_S", (0.0, 0.0, 0.0))
    for name in ("cat_file", "ls"):
        _fail_first(monkeypatch, found._fs, name, failures)
    _fail_first(monkeypatch, os, "fsync", failures)
    call(found)
    assert failures == []
    assert tree(tmp_path) == {"a": b"1"}


def _fail_first(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, failures: list[OSError]) -> None:
    real = getattr(owner, name)

    def function(*arguments: object, **keywords: object) -> object:
        if failures:
            raise failures.pop()
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    "workers",
    [pytest.param((), marks=pytest.mark.long), pytest.param(("--workers", "2"), marks=pytest.mark.slow)],
    ids=["one", "two"],
)
def test_run_whose_standard_output_is_full_completes(write: Write, workers: tuple[str, ...]) -> None:
    path = write(batch__size=1, resources={"cpus": 2})
    with open("/dev/full", "w") as full:
        command = [sys.executable, CREW, "run", path, *workers]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        told = subprocess.run([sys.executable, CREW, "status", path], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.count("standard output: No space left on device")) == (0, 1)
    assert len(load(path).record.commits()) == 4
    # Whose output is all that it does, does not exit with 0.
    assert (told.returncode, told.stderr) == (74, b"standard output: No space left on device\n")

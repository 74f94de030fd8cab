"""verify, export and clean."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Write, load, tree
from lanewise.api import Campaign
from lanewise.errors import Damaged
from lanewise.operations import upkeep
from lanewise.storage import commits
from lanewise.storage.disk import TEMPORARY
from lanewise.storage.store import Store

RUN_ID = "g1_+0.0100_g2_+0.0000_s42"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _one(root: Path, pattern: str) -> Path:
    return sorted(root.rglob(pattern))[0]


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "a changed byte of the data": (lambda root: _flip(_one(root, "chunks/00000/*.nc")), "does not have the SHA-256"),
    "missing rows": (lambda root: _one(root, "chunks/00000/*.rows").unlink(), "is named by a commit and missing"),
    "longer rows": (lambda root: _append(_one(root, "chunks/00000/*.rows")), "bytes, its commit says"),
    "a changed byte of a commit": (
        lambda root: _replace(_one(root, "00000.commit"), b'"ok": 2', b'"ok": 3'),
        "00000.commit: does not have its own SHA-256; it was changed",
    ),
    "a torn commit": (lambda root: _one(root, "00000.commit").write_text("{"), "not a commit of this version"),
    "a changed byte of the view": (lambda root: _flip(root / RUN_ID / "posterior.nc"), "posterior.nc: does not have"),
    "a missing file of the view": (lambda root: (root / RUN_ID / "truth.json").unlink(), "truth.json: is named by"),
}


def _replace(path: Path, old: bytes, new: bytes) -> None:
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.long
@pytest.mark.parametrize("harm", HARM)
def test_verify_finds_what_was_harmed_and_nothing_else(write: Write, tmp_path: Path, harm: str) -> None:
    campaign = load(write())
    campaign.run()
    found = upkeep.verify(campaign.record)
    # Two chunks: data, rows, view, and three files of two realizations.
    assert (found.n_chunks, found.n_files, found.findings) == (2, 18, ())
    action, text = HARM[harm]
    action(tmp_path / "results")
    (finding,) = upkeep.verify(campaign.record).findings
    assert (text in finding.text, finding.foreign) == (True, False)


@pytest.mark.long
@pytest.mark.parametrize("layout", ["directories", "packed"])
@pytest.mark.parametrize("harm", ["missing rows", "longer rows", "a torn commit"])
def test_a_run_skips_no_chunk_whose_files_are_not_there(write: Write, tmp_path: Path, layout: str, harm: str) -> None:
    path = write(output__layout=layout)
    load(path).run()
    HARM[harm][0](tmp_path / "results")
    with pytest.raises(Damaged, match=r"00000.*; `lanewise run --overwrite --batch-index 0` computes it again"):
        load(path).run()
    assert load(path).run(1).reused == 1
    load(path).run(0, overwrite=True)
    assert load(path).run().reused == 2
    assert upkeep.verify(load(path).record).findings == ()


def test_verify_reads_chunks_side_by_side_where_each_waits_for_a_network(
    write: Write, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write(url=memory))
    campaign.run()
    both, check = threading.Barrier(2, timeout=60), commits.check

    def meet(*arguments: Any) -> None:
        both.wait()
        check(*arguments)

    monkeypatch.setattr(commits, "check", meet)
    found = upkeep.verify(campaign.record)
    assert (found.n_chunks, found.n_files, found.findings) == (2, 18, ())


def test_verify_finds_foreign_commits(write: Write, tmp_path: Path) -> None:
    load(write(shear={"grid": [0.01, 0.02, 0.03]})).run()
    found = upkeep.verify(load(write()).record)
    assert [(f.foreign, "chunk 2 is not in the plan" in f.text) for f in found.findings] == [(True, True)]
    home = tmp_path / "results" / "_lanewise" / "commits"
    (home / "00000.commit").write_bytes((home / "00001.commit").read_bytes())
    found = upkeep.verify(load(write(shear={"grid": [0.01, 0.02, 0.03]})).record)
    assert [(f.foreign, "chunk 0 holds other realizations" in f.text) for f in found.findings] == [(True, True)]


def test_export_makes_the_directories_of_a_packed_campaign(write: Write, tmp_path: Path) -> None:
    whole = load(write("whole.yaml", url=str(tmp_path / "whole")))
    whole.run()
    packed = load(write("packed.yaml", url=str(tmp_path / "packed"), output__layout="packed"))
    packed.run()
    assert tree(tmp_path / "packed") == {}
    assert upkeep.export(packed.record, Store(str(tmp_path / "elsewhere"))) == 4
    assert upkeep.export(packed.record) == 4
    assert tree(tmp_path / "packed") == tree(tmp_path / "elsewhere") == tree(tmp_path / "whole")
    assert upkeep.verify(packed.record).findings == ()


def _litter(campaign: Campaign) -> dict[str, bool]:
    """What attempts leave behind: path → whether it may be removed."""
    store = campaign.store
    # Names tell the time by the clock of the machine that gave them: these two are wrong by years.
    chunks, old, new = commits.CHUNKS, "29990101T000000-00000000", "20200101T000000-00000000"
    litter = {
        f"{chunks}/00000/{old}.nc": True,  # lost to the attempt that counts
        f"{chunks}/00001/{old}.nc": True,  # killed long ago
        f"{chunks}/00001/{new}.nc": False,  # perhaps under way
        f"{chunks}/00001/notes.txt": False,  # none of ours
        f"_lanewise/probes/{old}": True,
        f"_lanewise/probes/{new}": False,
        "_lanewise/checkpoints/00001/x.checkpoint": False,  # this chunk will go on from it
        f"{RUN_ID}/{TEMPORARY}abc": True,
        f"{RUN_ID}/{TEMPORARY}def": False,
    }
    for path in litter:
        store.put(path, b"x")
    for path in (*(path for path, removable in litter.items() if removable), f"{chunks}/00001/notes.txt"):
        os.utime(f"{store.url}/{path}", (0, 0))
    return litter


def test_clean_removes_orphans_and_nothing_that_counts(write: Write) -> None:
    campaign = load(write())
    campaign.run(0)
    litter = _litter(campaign)
    store = campaign.store
    expected = {path for path, removable in litter.items() if removable}
    assert set(upkeep.clean(campaign.record, 3600, dry_run=True)) == expected
    assert all(store.exists(path) for path in litter)
    assert set(upkeep.clean(campaign.record, 3600)) == expected
    assert {path: store.exists(path) for path in litter} == {path: not gone for path, gone in litter.items()}
    assert upkeep.verify(campaign.record).findings == ()


def test_clean_leaves_an_attempt_that_commits_meanwhile(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = load(write())
    campaign.run()
    path = f"{commits.COMMITS}/00001.commit"
    commit = campaign.store.read(path)
    campaign.store.remove(path)
    modified = Store.modified

    def late(self: Store, asked: str) -> float:
        self.put(path, commit)
        return modified(self, asked)

    assert len(upkeep.clean(campaign.record, -60, dry_run=True)) == 3
    monkeypatch.setattr(Store, "modified", late)
    assert upkeep.clean(campaign.record, -60) == []
    assert upkeep.verify(campaign.record).findings == ()


def test_clean_removes_the_checkpoint_of_a_committed_chunk(write: Write) -> None:
    campaign = load(write())
    campaign.run(0)
    campaign.store.put("_lanewise/checkpoints/00000/x.checkpoint", b"x")
    assert upkeep.clean(campaign.record, 3600) == ["_lanewise/checkpoints/00000"]


def test_overwrite_takes_what_was_there_before(write: Write, tmp_path: Path) -> None:
    load(write(realizations__base_seed=7, shear={"grid": [0.01, 0.02, 0.03]})).run()
    campaign = load(write())
    campaign.run(overwrite=True)
    assert {path.split("/")[0] for path in tree(tmp_path / "results")} == {r.run_id for r in campaign.plan.realizations}
    assert upkeep.verify(campaign.record).findings == ()


def test_a_commit_says_how_it_was_made(write: Write) -> None:
    campaign = load(write())
    campaign.run(0)
    made = campaign.record.commits()[0].provenance
    assert {"versions", "source", "machine", "flags", "inputs", "seconds"} <= set(made)
    assert all(len(digest) == 64 for digest in made["inputs"].values())
    assert {"python", "lanewise", "jax"} <= set(made["versions"])

"""A campaign from manifest to report, on the small scene of conftest."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import gaussian
import lanewise
from conftest import Write, load, tree
from lanewise import cli
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.errors import MachineError, ResultsDiffer, StorageError, UsageError
from lanewise.families.shear import aggregate
from lanewise.families.shear import image_simulator as simulation
from lanewise.machine.progress import watched
from lanewise.manifest.plan import Chunk
from lanewise.manifest.problem import Observation
from lanewise.operations import aggregate as operation
from lanewise.operations import chunks, run, status, upkeep
from lanewise.report.tables import frame_csv
from lanewise.storage import commits, committing, failures
from lanewise.storage.record import MANIFEST, Record
from lanewise.storage.store import Store


def _no_engine(*_: Any) -> Any:
    raise AssertionError("the engine was asked for work that is committed")


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> str:
    """One realization's image is NaN."""
    clean = simulation.simulate
    bad = "g1_+0.0200_g2_+0.0000_s44"

    def simulate(config: Any, member: Any) -> Observation:
        seen = clean(config, member)
        return Observation.of({"image": seen.data["image"] * np.nan}, seen.truth) if member.run_id == bad else seen

    monkeypatch.setattr(simulation, "simulate", simulate)
    return bad


def test_outputs_are_those_of_the_contract(write: Write, tmp_path: Path) -> None:
    campaign = load(write())
    outcome = campaign.run()
    aggregate.aggregate(campaign.record)
    assert (outcome.computed, outcome.reused, dict(outcome.counts)) == (2, 0, {"ok": 4})
    ids = [r.run_id for r in campaign.plan.realizations]
    per_realization = {f"{i}/{n}" for i in ids for n in ("posterior.nc", "truth.json", "convergence.json")}
    found = set(tree(tmp_path / "results"))
    assert {f for f in found if not f.startswith("stats/plots/")} == {
        *per_realization,
        *("summary.csv", "stats/bias_results.json", "stats/bias_results.csv", "report.html"),
    }
    assert any(f.startswith("stats/plots/") for f in found)
    under_home = [p.name for p in (tmp_path / "results" / "_lanewise").rglob("*") if p.is_file()]
    assert not [name for name in under_home if name.endswith((".json", ".npz"))]
    truth = json.loads((tmp_path / "results" / ids[2] / "truth.json").read_text())
    assert (truth["g1"], truth["g2"], truth["seed"], truth["flux"]) == (0.02, 0.0, 44, 1.0)


def test_a_campaign_shows_verdict_table_and_plot(write: Write, tmp_path: Path) -> None:
    campaign = load(write())
    assert "nothing committed yet" in repr(campaign)
    campaign.run()
    told = repr(campaign.aggregate())
    assert told.splitlines()[0].split(":")[0] in {"PASS", "FAIL", "INCONCLUSIVE", "INVALID"}
    shown = campaign._repr_html_()
    assert told.splitlines()[0].split(": ")[1] in shown
    assert "<table" in shown
    plots = tmp_path / "results/stats/plots"
    assert campaign.plot().svg == (plots / "bias_g1.svg").read_bytes()
    assert campaign.plot("m_c").pdf.startswith(b"%PDF")
    with pytest.raises(UsageError, match="there are bias_g1, "):
        campaign.plot("nothing")


def test_the_manifest_in_a_report_can_be_copied_and_run(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write())
    campaign.run()
    campaign.aggregate()
    report = (tmp_path / "results/report.html").read_text()
    copied = html.unescape(re.findall(r'<pre class="manifest">(.*?)</pre>', report, re.DOTALL)[-1])
    (tmp_path / "copied.yaml").write_text(copied)
    again = load(str(tmp_path / "copied.yaml"))
    assert [r.identity for r in again.plan.realizations] == [r.identity for r in campaign.plan.realizations]
    assert again.manifest.output.url == f"results/{campaign.manifest.name}"
    # Where it is run, it gives the same bytes.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again.run()
    again.aggregate()
    assert tree(elsewhere / again.manifest.output.url) == tree(tmp_path / "results")


def test_a_posterior_is_read_without_warnings_of_others(write: Write) -> None:
    path = write()
    campaign = load(path)
    campaign.run()
    code = (
        f"import lanewise; print(lanewise.load({path!r}).posterior({campaign.plan.realizations[0].run_id!r}).posterior)"
    )
    found = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "Warning" not in found.stderr
    assert "Dimensions" in found.stdout


def test_a_notebook_shows_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with watched() as reporter:
        reporter.begin("chunk 0", 4)
        reporter.step(2, "compiling")
    out = capsys.readouterr().out
    assert f"chunk 0 {'█' * 15}{'·' * 15} 2 of 4, compiling" in out
    assert "\n" not in out
    assert out.endswith("\r")


def test_a_second_run_computes_nothing(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    load(path).run()
    monkeypatch.setattr(chunks, "solver", _no_engine)
    outcome = load(path).run()
    assert (outcome.computed, outcome.reused) == (0, 2)


def test_chunks_in_any_order_give_the_bytes_of_one_run(write: Write, tmp_path: Path) -> None:
    whole = load(write("whole.yaml", url=str(tmp_path / "whole")))
    whole.run()
    aggregate.aggregate(whole.record)
    parts = write("parts.yaml", url=str(tmp_path / "parts"))
    for index in (1, 0):
        load(parts).run(index)
    aggregate.aggregate(load(parts).record)
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_batch_size_changes_no_byte_of_a_posterior(write: Write, tmp_path: Path) -> None:
    load(write("a.yaml", url=str(tmp_path / "a"), batch__size=2)).run()
    load(write("b.yaml", url=str(tmp_path / "b"), batch__size=3)).run()
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_directories_are_rebuilt_from_the_committed_attempt(write: Write, tmp_path: Path) -> None:
    path = write()
    load(path).run()
    before = tree(tmp_path / "results")
    lost = tmp_path / "results" / "g1_+0.0100_g2_+0.0000_s43"
    for file in lost.iterdir():
        file.unlink()
    load(path).run()
    assert tree(tmp_path / "results") == before


@pytest.mark.long
def test_images_that_say_nothing_are_told_everywhere_and_never_pass(write: Write, tmp_path: Path) -> None:
    # One such image tells g to about 0.4.
    narrow = {name: {"type": "Normal", "mean": 0.0, "sigma": 0.05} for name in ("g1", "g2")}
    changes = {"config__image__noise__sigma": 0.02, "config__gal__shear": narrow}
    campaign = load(write(**changes, acceptance={"max_abs_m": 0.5}))
    outcome = campaign.run()
    assert (dict(outcome.counts), outcome.all_ok) == ({"uninformative": 4}, False)
    results = aggregate.aggregate(campaign.record)
    assert (results.verdict.verdict.value, results.tally.n_used) == ("INVALID", 0)
    told = json.loads((tmp_path / "results" / "g1_+0.0100_g2_+0.0000_s42" / "convergence.json").read_text())
    assert told["status"] == "uninformative"
    wide = r"the g{} posterior is \d+ % as wide as its prior"
    assert re.fullmatch(rf"Uninformative: {wide.format(1)} and {wide.format(2)}\.", told["reason"])
    assert set(campaign.summary["status"]) == {"uninformative"}
    assert [one.status for one in status.status(campaign.record, "m.yaml").not_ok] == ["uninformative"] * 4
    assert "4 uninformative" in (tmp_path / "results" / "report.html").read_text()


def test_packed_leaves_the_directories_out(write: Write, tmp_path: Path) -> None:
    campaign = load(write(output__layout="packed"))
    campaign.run()
    campaign.store.put("summary.csv", frame_csv(campaign.summary))
    assert campaign.summary["status"].tolist() == ["ok"] * 4
    assert set(tree(tmp_path / "results")) == {"summary.csv"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config__psf__sigma": 0.5}, "config.psf.sigma: the results have 0.4, this manifest has 0.5"),
        ({"batch__width": 2}, "width: the results have 4, this manifest has 2"),
        ({"realizations__base_seed": 1}, "chunk 0 holds other realizations"),
    ],
)
def test_results_of_another_identity_are_refused_with_what_differs(
    write: Write, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    load(write()).run()
    monkeypatch.setattr(chunks, "solver", _no_engine)
    with pytest.raises(ResultsDiffer, match=re.escape(reason)):
        load(write(**changes)).run()


def test_overwrite_starts_anew(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Another PSF is another program, which here need not be one of galaxies.
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    load(write()).run()
    campaign = load(write(config__psf__sigma=0.5))
    assert campaign.run(overwrite=True).computed == 2
    assert len(list((tmp_path / "results" / "_lanewise" / "chunks").rglob("*.nc"))) == 2
    assert len(campaign.record.commits()) == 2


def test_overwriting_that_fails_leaves_what_was_there(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(write()).run()
    before, first = tree(tmp_path / "results"), load(write()).record.commits()

    def fail(*_: Any) -> list[Result]:
        raise RuntimeError("the device fell over")

    monkeypatch.setattr(Engine, "run", fail)
    outcome = load(write()).run(overwrite=True, raise_on_failure=False)
    assert (outcome.computed, len(outcome.errors)) == (0, 2)
    assert (tree(tmp_path / "results"), load(write()).record.commits()) == (before, first)


def test_a_chunk_that_is_overwritten_while_it_is_read_is_not_damaged(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write())
    campaign.run()
    survey = Record.survey
    asked: list[object] = []

    def late(self: Record, chunks: Any = None) -> Any:
        found = survey(self, chunks)
        if not asked:
            asked.append(chunks)
            campaign.run(0, overwrite=True)
        return found

    monkeypatch.setattr(Record, "survey", late)
    results = aggregate.aggregate(load(campaign.manifest.source).record)
    assert (results.damaged, results.tally.n_used) == ((), 4)


def test_overwriting_with_another_batch_size_leaves_what_the_new_plan_holds(write: Write, tmp_path: Path) -> None:
    load(write(batch__size=1)).run()
    before = tree(tmp_path / "results")
    campaign = load(write(batch__size=3))
    campaign.run(overwrite=True)
    assert tree(tmp_path / "results") == before
    assert upkeep.verify(campaign.record).findings == ()
    assert len(list((tmp_path / "results" / "_lanewise").rglob("*.nc"))) == 2


def test_a_chunk_that_another_process_committed_meanwhile_is_not_computed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, computed, real = write(), [], Engine.run

    def run(self: Engine, chunk: Chunk, *args: Any) -> list[Result]:
        computed.append(chunk.index)
        if len(computed) == 1:
            load(path).run(1)
        return real(self, chunk, *args)

    monkeypatch.setattr(Engine, "run", run)
    outcome = load(path).run()
    assert (computed, outcome.computed, outcome.reused, dict(outcome.counts)) == ([0, 1], 1, 1, {"ok": 4})


def test_the_first_of_two_attempts_is_the_truth(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = load(write())
    campaign.run(0)
    first = campaign.record.commits()[0]
    chunk = campaign.plan.chunks[0]
    late = commits.load_results(campaign.store, first)
    assert committing.write(campaign.store, campaign.plan, chunk, late, {}) == first
    assert campaign.record.commits()[0] == first


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_data_that_do_not_match_their_commit_are_not_believed(write: Write, tmp_path: Path, harm: str) -> None:
    campaign = load(write())
    campaign.run(0)
    (rows,) = (tmp_path / "results" / "_lanewise" / "chunks").rglob("*.rows")
    if harm == "changed":
        rows.write_bytes(rows.read_bytes().replace(b"0.01", b"0.02", 1))
    else:
        rows.unlink()
    with pytest.raises(StorageError, match=r"SHA-256|is named by a commit and missing"):
        _ = campaign.summary


def test_a_node_without_conditional_writes_that_was_first_stays_first(write: Write, memory: str) -> None:
    campaign = load(write(url=memory))
    campaign.run(0)
    store, chunk = campaign.store, campaign.plan.chunks[0]
    results = commits.load_results(store, campaign.record.commits()[0])
    store.remove(commits.COMMITS)
    store.__dict__["conditional"] = False
    first = committing.write(store, campaign.plan, chunk, results, {})
    store.__dict__["conditional"] = True
    assert committing.write(store, campaign.plan, chunk, results, {}) == first
    assert campaign.record.commits()[0] == first


def test_the_file_that_marks_a_directory_complete_is_written_last_also_side_by_side(
    write: Write, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, put = [], Store.put

    def slow(self: Store, path: str, data: bytes) -> None:
        if path.endswith(".nc"):
            time.sleep(0.1)
        put(self, path, data)
        written.append(path)

    monkeypatch.setattr(Store, "put", slow)
    campaign = load(write(url=memory))
    campaign.run(0)
    for run_id in campaign.plan.chunks[0].run_ids:
        names = [path.rpartition("/")[2] for path in written if path.startswith(f"{run_id}/")]
        assert names == ["posterior.nc", "truth.json", "convergence.json"]


def test_tables_are_read_side_by_side_where_each_waits_for_a_network(
    write: Write, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(write(url=memory, batch__size=1))
    campaign.run()
    barrier, load_rows = threading.Barrier(4, timeout=30), commits.load_rows

    def together(*arguments: Any) -> Any:
        barrier.wait()
        return load_rows(*arguments)

    monkeypatch.setattr(commits, "load_rows", together)
    assert len(campaign.summary) == 4


def test_of_two_first_manifests_the_extended_one_stays(
    write: Write, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = load(write("old.yaml", url=memory))
    new = load(write("new.yaml", url=memory, realizations={"count": 2, "extensions": [1]}))
    read = Store.read
    asked: list[str] = []

    def late(self: Store, path: str) -> bytes:
        if path == MANIFEST and not asked:
            asked.append(path)
            run._keep_manifest(new.record)
            raise FileNotFoundError(path)
        return read(self, path)

    monkeypatch.setattr(Store, "read", late)
    run._keep_manifest(old.record)
    assert b"extensions" in old.store.read(MANIFEST)


HARM: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a changed table": ("*.rows", lambda path: path.write_bytes(path.read_bytes().replace(b"0.01", b"0.02", 1)), "SHA"),
    "a missing table": ("*.rows", Path.unlink, "is named by a commit and missing"),
    "a torn commit": ("00000.commit", lambda path: path.write_bytes(path.read_bytes()[:99]), "not a commit"),
}


@pytest.mark.long
@pytest.mark.parametrize("harm", HARM)
def test_aggregate_ends_in_a_report_that_says_which_chunk_is_damaged(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    path = write()
    load(path).run()
    pattern, act, reason = HARM[harm]
    home = tmp_path / "results" / "_lanewise"
    act(sorted(home.rglob(pattern))[0])
    results = aggregate.aggregate(load(path).record)
    assert [(one.chunk, reason in one.reason) for one in results.damaged] == [(0, True)]
    assert [m.run_id for m in results.missing] == ["g1_+0.0100_g2_+0.0000_s42", "g1_+0.0100_g2_+0.0000_s43"]
    assert results.tally.n_used == 2
    report = (tmp_path / "results" / "report.html").read_text()
    assert (results.damaged[0].reason[:20] in report, str(tmp_path) in report) == (True, False)
    monkeypatch.setattr("sys.argv", ["lanewise", "aggregate", path])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 74
    assert "chunk 0 is damaged and counts as missing" in capsys.readouterr().err


def test_status_names_a_damaged_chunk_and_the_way_on(write: Write, tmp_path: Path) -> None:
    path = write()
    load(path).run()
    (tmp_path / "results" / "_lanewise" / "commits" / "00001.commit").write_text("{")
    told = status.status(load(path).record, path)
    assert (list(told.chunks.damaged), told.chunks.committed) == ([1], 1)
    assert told.next == f"lanewise verify {path}"
    assert "chunk 1 is damaged" in status.text(told)


def test_one_nan_image_leaves_the_others_and_is_reported_everywhere(
    write: Write, tmp_path: Path, poisoned: str
) -> None:
    campaign = load(write())
    outcome = campaign.run()
    results = aggregate.aggregate(campaign.record)
    assert dict(outcome.counts) == {"ok": 3, "non_finite": 1}
    assert not outcome.all_ok
    assert [(e.run_id, e.status) for e in results.excluded] == [(poisoned, "non_finite")]
    assert results.verdict.verdict == "INVALID"  # a quarter of the realizations is gone
    assert poisoned in (tmp_path / "results" / "report.html").read_text()
    assert not (tmp_path / "results" / poisoned / "posterior.nc").exists()


def test_a_failing_chunk_leaves_word_and_stops_no_other(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Engine.run

    def run(self: Engine, chunk: Chunk, *args: Any) -> list[Result]:
        if chunk.index == 0:
            raise RuntimeError("the device fell over")
        return real(self, chunk, *args)

    monkeypatch.setattr(Engine, "run", run)
    campaign = load(write())
    outcome = campaign.run(raise_on_failure=False)
    assert (outcome.computed, [str(e) for e in outcome.errors]) == (1, ["the device fell over"])
    assert list(campaign.record.commits()) == [1]
    campaign.store.put("_lanewise/failures/00001-torn.failure", b'{"chunk": 1, "mess')
    (failure,) = failures.survey(campaign.store)
    assert (failure.chunk, failure.cause, failure.message) == (0, "RuntimeError", "the device fell over")
    with pytest.raises(RuntimeError, match="the device fell over"):
        campaign.run()


def test_the_whole_way_in_memory(write: Write, memory: str) -> None:
    campaign = load(write(url=memory))
    campaign.run()
    results = aggregate.aggregate(campaign.record)
    assert results.tally.n_used == 4
    assert fsspec.filesystem("memory").exists(f"{memory}/report.html")


def test_missing_chunks_are_in_the_report_and_never_pass(write: Write, tmp_path: Path) -> None:
    campaign = load(write(acceptance={"max_abs_m": 100.0}))
    campaign.run(0)
    results = aggregate.aggregate(campaign.record)
    assert [m.run_id for m in results.missing] == ["g1_+0.0200_g2_+0.0000_s44", "g1_+0.0200_g2_+0.0000_s45"]
    assert results.verdict.verdict == "INVALID"
    assert "g1_+0.0200_g2_+0.0000_s45" in (tmp_path / "results" / "report.html").read_text()


def test_nothing_published_holds_a_clock_host_path_or_attempt(write: Write, tmp_path: Path) -> None:
    campaign = load(write())
    campaign.run()
    aggregate.aggregate(campaign.record)
    made = [commit.provenance for commit in campaign.record.commits().values()]
    secrets = {
        str(tmp_path),
        *(c.attempt for c in campaign.record.commits().values()),
        *(str(p["began"]) for p in made),
    }
    if len(host := str(made[0]["machine"]["host"])) > 3:
        secrets.add(host)
    for name, data in tree(tmp_path / "results").items():
        assert not [s for s in secrets if s.encode() in data], name


def test_the_python_door(write: Write) -> None:
    path = write()
    campaign = lanewise.load(path)
    with pytest.raises(UsageError, match="chunk 0 is not committed yet"):
        campaign.posterior("g1_+0.0100_g2_+0.0000_s42")
    campaign.run(batch_index=0)
    posterior = campaign.posterior("g1_+0.0100_g2_+0.0000_s42")
    assert posterior.posterior["g1"].values.item() == campaign.summary["g1_mean"][0]
    assert campaign.aggregate().tally.n_missing == 2
    with pytest.raises(UsageError, match="is not in the plan"):
        campaign.posterior("g1_+0.0100_g2_+0.0000_s1")


def test_a_realization_without_a_posterior_says_why(write: Write, poisoned: str) -> None:
    campaign = lanewise.load(write())
    campaign.run(batch_index=1)
    with pytest.raises(UsageError, match="has no posterior; Not finite: 576 of 576 values of image"):
        campaign.posterior(poisoned)


def test_overwrite_on_a_machine_that_cannot_compute_removes_nothing(write: Write, tmp_path: Path) -> None:
    load(write()).run()
    before = tree(tmp_path / "results")
    with pytest.raises(MachineError, match=r"resources.device is gpu"):
        load(write(resources={"device": "gpu"})).run(overwrite=True)
    assert tree(tmp_path / "results") == before
    assert len(load(write()).record.commits()) == 2


@pytest.mark.parametrize("index", [-1, 2])
def test_a_chunk_that_is_not_in_the_plan_is_a_usage_error(write: Write, index: int) -> None:
    with pytest.raises(UsageError, match=f"batch_index: expected 0 to 1, got {index}"):
        load(write()).run(index)


def test_a_wait_reads_a_commit_once_and_ends_with_the_last_chunk(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = load(write())
    campaign.run(0)
    monkeypatch.setattr(operation, "_POLL_S", 0.01)
    read: list[list[int]] = []
    survey_of = Record.survey

    def counting(self: Record, indices: Any = None) -> Any:
        read.append(sorted(indices))
        return survey_of(self, indices)

    waiting = load(write())
    monkeypatch.setattr(Record, "survey", counting)
    heard: list[int] = []

    def tell(done: int) -> None:
        heard.append(done)
        if len(heard) == 2:
            monkeypatch.setattr(Record, "survey", survey_of)
            campaign.run(1)
            monkeypatch.setattr(Record, "survey", counting)

    operation.wait(waiting.record, 60.0, tell)
    assert heard == [1, 1, 2]
    assert read == [[0, 1], [1], [1]]


def test_processes_of_one_wait_share_its_deadline(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    record = load(write()).record
    monkeypatch.setenv("LANEWISE_WAIT", "a-job")

    def waited(deadline_s: float) -> float:
        began = time.monotonic()
        operation.wait(record, deadline_s, lambda _: None)
        return time.monotonic() - began

    # The look at storage before the wait is a part of it.
    assert waited(0.5) > 0.3
    time.sleep(0.5)
    # Of its second nothing is left; a wait of another name has all of it.
    assert waited(1.0) < 0.3
    monkeypatch.setenv("LANEWISE_WAIT", "another-job")
    assert waited(0.5) > 0.3


def test_complete_chunks_are_those_of_which_nothing_is_missing(write: Write) -> None:
    campaign = load(write())
    campaign.run(0)
    assert operation.n_complete(campaign.record, aggregate.conclude(campaign.record)) == 1

"""`rechunk`: another chunk size for what is not committed; the results are those of a campaign that never changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import CALIBRATED, Lanewise, Write, load, tree
from lanewise.api import Campaign
from lanewise.errors import Damaged, ManifestError, ResultsDiffer, UsageError
from lanewise.manifest import loading, planning, yaml_text
from lanewise.operations import extend, plan_summary, rechunk, status, upkeep
from lanewise.render import kubernetes
from lanewise.render.site import Site
from lanewise.storage import claims, commits
from lanewise.storage.record import MANIFEST
from lanewise.storage.store import Store


def _changed(write: Write, first: int, then: int, committed: tuple[int, ...]) -> tuple[str, Campaign]:
    """A campaign of 8 realizations with some chunks of the first size, and its manifest with the other size."""
    path = write(realizations__count=4, batch__size=first)
    for index in committed:
        load(path).run(index)
    rechunk.write(load(path).record, then)
    return path, load(path)


@pytest.mark.parametrize(
    ("first", "then", "committed"),
    [(1, 3, (0, 4)), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((4, 1, (1,)), (2, 8, ())))],
)
def test_results_are_those_of_a_campaign_that_never_changed(
    write: Write, tmp_path: Path, first: int, then: int, committed: tuple[int, ...]
) -> None:
    whole = load(write("whole.yaml", url=str(tmp_path / "whole"), realizations__count=4, batch__size=8))
    whole.run()
    whole.aggregate()
    path, campaign = _changed(write, first, then, committed)
    attempts = {index: one.attempt for index, one in campaign.record.commits().items()}
    assert tuple(attempts) == committed
    outcome = campaign.run()
    assert (outcome.reused, outcome.missing, sum(outcome.counts.values())) == (len(committed), (), 8)
    campaign.aggregate()
    now = campaign.record.commits()
    assert {index: now[index].attempt for index in committed} == attempts
    ours, theirs = tree(tmp_path / "results"), tree(tmp_path / "whole")
    # The report shows the manifest.
    del ours["report.html"], theirs["report.html"]
    assert ours == theirs
    assert upkeep.verify(campaign.record).findings == ()
    assert load(path).run().computed == 0


@pytest.mark.long
def test_ranks_stay_in_the_order_of_the_realizations(write: Write, tmp_path: Path) -> None:
    changes = {"kind": "calibration", "shear": ..., "config": CALIBRATED, "batch__width": 1}
    changes |= {"realizations": {"count": 4, "base_seed": 7}, "convergence": {"ess_min": 20}}
    whole = load(write("whole.yaml", url=str(tmp_path / "whole"), batch__size=4, **changes))
    path = write(batch__size=1, **changes)
    load(path).run(1)
    rechunk.write(load(path).record, 2)
    for campaign in (whole, load(path)):
        campaign.run()
        campaign.aggregate()
    for name in ("summary.csv", "stats/ranks.csv", "stats/calibration_results.json"):
        assert (tmp_path / "results" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.long
def test_every_command_follows(write: Write, lanewise: Lanewise) -> None:
    path = write(realizations__count=4, batch__size=1)
    for index in (0, 1, 4):
        load(path).run(index)
    code, out, _ = lanewise("rechunk", path, "--size", "2")
    assert (code, "3 committed chunks stay, 3 chunks of at most 2" in out) == (0, True)
    record = load(path).record
    summary = plan_summary.summarise(record)
    assert (summary.n_chunks, summary.n_realizations) == (6, 8)
    assert [(one.first, one.last, one.n_realizations, one.committed) for one in summary.chunks] == [
        (0, 1, 2, True),
        (4, 4, 1, True),
        (8, 10, 5, False),
    ]
    assert [(one.first, one.n_realizations, one.first_chunk, one.size, one.offset) for one in summary.stretches] == [
        (0, 2, 0, 1, 0),
        (4, 1, 4, 1, 4),
        (2, 2, 8, 2, 2),
        (5, 3, 9, 2, 5),
    ]
    found = status.status(record, path)
    assert (found.chunks.total, found.chunks.committed, found.chunks.missing) == (6, 3, (8, 9, 10))
    # Void: nothing to do.
    assert lanewise("run", path, "--batch-index", "2")[0] == 0
    assert lanewise("plan", path, "--chunk", "2")[0] == UsageError.exit_code
    assert "chunk    10  open" in lanewise("plan", path, "--no-memory")[1]
    assert "--array=0-2%50" in _slurm(lanewise, path)
    (job,) = [one for one in _objects(path) if one["metadata"]["name"] == "test"]
    assert job["spec"]["completions"] == 3
    assert job["spec"]["template"]["spec"]["containers"][0]["args"][-4:] == [
        "--index-from",
        "JOB_COMPLETION_INDEX",
        "--of",
        "3",
    ]
    # As the pods do: every chunk once.
    assert [load(path).run(range(pod, 11, 3)).computed for pod in range(3)] == [1, 1, 1]
    assert load(path).retry().n_tried == 0
    assert lanewise("aggregate", path, "--wait", "--deadline", "1", "--min-complete", "1")[0] == 0
    assert status.status(load(path).record, path).next == f"lanewise aggregate {path}"


def _slurm(lanewise: Lanewise, path: str) -> str:
    return lanewise("render", "slurm", path, "--chunks-per-task", "4", "--set", "resources.device=cpu")[1]


def _objects(path: str) -> list[kubernetes.Object]:
    manifest = loading.load(path, ["output.url=s3://bucket/run", "config.image.noise.sigma=0.001"])
    return kubernetes.objects(manifest, planning.build(manifest), Site(image="i"))


def test_size_changes_again_and_the_campaign_is_extended_between(write: Write, tmp_path: Path) -> None:
    path = write(realizations__count=2, batch__size=1)
    load(path).run(1)
    rechunk.write(load(path).record, 2)
    extend.write(load(path).record, 2)
    load(path).run(4)
    before = load(path).plan
    after = rechunk.write(load(path).record, 3)
    assert load(path).plan == after
    assert [one.run_id for one in after.realizations] == [one.run_id for one in before.realizations]
    assert load(path).run().reused == 2
    missing = load(path).record.missing(set())
    assert [one.run_id for _, one in missing] == [one.run_id for one in after.realizations]
    whole = write("whole.yaml", url=str(tmp_path / "whole"), realizations={"count": 2, "extensions": [2]})
    load(whole).run()
    assert tree(tmp_path / "results") == tree(tmp_path / "whole")


def test_killed_between_its_writes_it_is_done_again(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path, put = write(batch__size=1), Store.put
    load(path).run(0)

    def die(self: Store, name: str, data: bytes) -> None:
        if name == MANIFEST:
            raise KeyboardInterrupt
        put(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", die)
        with pytest.raises(KeyboardInterrupt):
            rechunk.write(load(path).record, 3)
    outcome = load(path).run()
    assert (outcome.reused, outcome.computed, outcome.missing) == (1, 1, ())
    assert yaml_text.parse(load(path).store.read(MANIFEST).decode(), MANIFEST).value["batch"]["size"] == 3


def test_process_with_the_old_manifest_is_refused_and_one_that_runs_disturbs_nothing(write: Write) -> None:
    path = write(batch__size=1)
    old = load(path)
    old.run(0)
    rechunk.write(old.record, 3)
    with pytest.raises(ResultsDiffer, match=r"has other chunks than .* since `lanewise rechunk`"):
        old.run(2)
    # As a process that had begun before: chunk 2 of the old manifest, whose index is void now.
    kept = old.store.read(MANIFEST)
    old.store.remove(MANIFEST)
    old.run(2)
    old.store.put(MANIFEST, kept)
    new = load(path)
    assert new.run().missing == ()
    assert upkeep.verify(new.record).findings == ()
    assert sum(status.status(new.record, path).realizations.counts.values()) == 4
    assert new.retry().counts == {"ok": 4}
    gone = upkeep.clean(new.record, -60)
    assert gone[0] == commits.path_of(old.plan.chunks[2])
    assert upkeep.verify(new.record).n_files == 3 * 2 + 3 * 4
    assert new.run().missing == ()


def test_a_changed_size_without_rechunk_names_the_command(write: Write) -> None:
    load(write(batch__size=1)).run(0)
    with pytest.raises(ResultsDiffer, match=r"batch\.size differs \(to change it: lanewise rechunk\)"):
        load(write(batch__size=2)).run()


def test_before_anything_is_computed_only_the_size_changes(write: Write) -> None:
    path = write(batch__size=1)
    rechunk.write(load(path).record, 2)
    assert load(path).manifest.batch.kept.ranges == ()
    assert (load(path).plan.first_new, len(load(path).plan.chunks)) == (0, 2)


class TestRefused:
    """With a sentence, and nothing is written."""

    @pytest.fixture(autouse=True)
    def _unchanged(self, write: Write) -> object:
        self.path = write(batch__size=1)
        text = Path(self.path).read_text()
        load(self.path).run(0)
        yield
        assert Path(self.path).read_text() == text

    def test_the_same_size(self) -> None:
        with pytest.raises(UsageError, match="--size 1: the campaign has chunks of this size"):
            rechunk.write(load(self.path).record, 1)

    def test_a_live_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        claim = claims.Claimed(1, "node-7", 12, "", 20.0, 0, 0, age_s=3.0)
        monkeypatch.setattr(claims, "survey", lambda _: [claim])
        with pytest.raises(UsageError, match="1 process on node-7 work on this campaign; stop them"):
            rechunk.write(load(self.path).record, 2)

    def test_a_damaged_chunk(self, tmp_path: Path) -> None:
        (rows,) = (tmp_path / "results" / "_lanewise" / "chunks" / "00000").glob("*.rows")
        rows.unlink()
        with pytest.raises(Damaged, match="computes it again, then rechunk"):
            rechunk.write(load(self.path).record, 2)

    def test_ranges_of_another_campaign(self) -> None:
        kept = "batch.kept={below: 9, ranges: [[0, 3, 4, 2]]}"
        with pytest.raises(ManifestError, match=r"batch.kept: range \[0, 3, 4, 2\] is not of realizations of this"):
            load(self.path, kept)

    def test_its_own_keys_by_set(self, lanewise: Lanewise) -> None:
        assert lanewise("rechunk", self.path, "--size", "2", "--set", "batch.size=1")[0] == UsageError.exit_code

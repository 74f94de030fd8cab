"""Heterodyne campaigns from manifest to report: the ones that ship, on small data, and what may go wrong with a task.

All fits here have one shape, 3 angles of 40 frames, and share a compiled program.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import lanewise
from conftest import Lanewise, tree
from lanewise import api as campaigns
from lanewise import cli
from lanewise.api import Campaign
from lanewise.errors import DataError, InputUnreachable, ResultsDiffer, StorageError, UsageError
from lanewise.families.heterodyne import outputs, solver
from lanewise.families.heterodyne.c2 import NAMES, two_time_correlation
from lanewise.families.heterodyne.data import load_data
from lanewise.families.heterodyne.models import MODELS
from lanewise.families.heterodyne.nlsq import solver as descents
from lanewise.families.heterodyne.results import TaskResult
from lanewise.machine.progress import Silent
from lanewise.manifest import schema
from lanewise.manifest.protocols import AnyResult
from lanewise.manifest.status import LaneStatus
from lanewise.operations import plan_summary, status
from lanewise.storage import commits, inputs
from lanewise.storage.checkpoints import CheckpointKeeper, Policy
from lanewise.storage.inputs import Input
from lanewise.storage.store import Store

MANIFESTS = Path(__file__).parents[3] / "manifests"
SCHEMA = schema.load("result")
RUN = CliRunner()
TASKS = [f"het_s{seed}" for seed in range(42, 50)]
GOOD = [name for name in TASKS if name != "het_s44"]
# The shipped fits with fewer starts, for speed, and in one chunk.
QUICK = [
    *("--set", "config.fit.candidates=128", "--set", "config.fit.starts=12", "--set", "config.fit.polish=4"),
    *("--set", "config.fit.agreement=2", "--set", "config.fit.hops=4", "--set", "batch.size=8"),
]
OVERRIDES = QUICK[1::2]


def _task(result: AnyResult) -> TaskResult:
    assert isinstance(result, TaskResult)
    return result


def invoke(*arguments: str) -> Any:
    done = RUN.invoke(cli.app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the shipped manifests with the data that their comments ask for, one file of the survey torn."""
    root = tmp_path_factory.mktemp("heterodyne")
    shutil.copytree(MANIFESTS, root / "manifests", ignore=shutil.ignore_patterns("data"))
    for name in ("survey", "sweep"):
        text = (MANIFESTS / f"heterodyne-{name}.yaml").read_text()
        found = re.search(r"lanewise (simulate heterodyne manifests/data/.*)", text)
        assert found is not None
        options = found[1].replace("manifests/data", str(root / "manifests" / "data"))
        assert invoke(*options.split()).exit_code == 0
    torn = root / "manifests" / "data" / "survey" / "het_s44.h5"
    torn.write_bytes(torn.read_bytes()[:2000])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def manifest(place: Path, name: str) -> str:
    return str(place / "manifests" / f"heterodyne-{name}.yaml")


@pytest.fixture(scope="module")
def survey(place: Path) -> Path:
    """The survey, run once: where its results are."""
    done = invoke("run", manifest(place, "survey"), *QUICK)
    assert done.exit_code == 2, done.output
    assert "1 failed, 7 ok" in done.output
    done = invoke("aggregate", manifest(place, "survey"), *QUICK)
    assert done.exit_code == 0, done.output
    return place / "results" / "heterodyne-survey"


def load(place: Path, name: str = "survey", *overrides: str) -> Campaign:
    return campaigns.load(manifest(place, name), [*OVERRIDES, *overrides])


@pytest.mark.long
def test_outputs_are_those_of_the_contract(place: Path, survey: Path) -> None:
    good = [r for r in load(place).plan.realizations if r.planned.name != "het_s44"]
    names = {r.run_id: f"{r.planned.name}_{r.run_id.removeprefix('het_')}.npz" for r in good}
    expected = {f"{run_id}/{name}" for run_id, npz in names.items() for name in ("result.json", npz)}
    plots, others = (
        {file for file in tree(survey) if file.startswith("stats/plots/") == drawn} for drawn in (True, False)
    )
    assert others == {*expected, "summary.csv", "report.html"}
    assert {"cuts", "rates", "maps"} <= {Path(file).stem.partition("-")[0] for file in plots}
    assert {Path(file).suffix for file in plots} == {".svg", ".pdf"}
    hidden = [p.name for p in (survey / "_lanewise").rglob("*") if p.is_file()]
    assert not [name for name in hidden if name.endswith((".json", ".npz"))]


def test_a_result_says_everything_that_its_schema_describes(place: Path, survey: Path) -> None:
    realization = load(place).plan.realizations[0]
    content = json.loads((survey / realization.run_id / "result.json").read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(json.dumps(content)))
    assert content["identity"] == realization.identity
    assert (content["input_filename"], content["task"]) == ("het_s42.h5", "het_s42")
    data = load_data(str(place / "manifests" / "data" / "survey" / "het_s42.h5"))
    assert content["data_sha256"] == data.sha256
    assert content["config"]["fit"]["starts"] == 12
    # Truth of the simulated data, 4σ each; the command that made them names no other.
    ages = 0.25 * np.arange(1, 41)
    t_ref = np.exp(np.log(ages).mean())
    truth = {
        "J_ref": 2e4 * t_ref**-0.2 + 500,
        "J_sample": 8e3 * t_ref**0.3 + 100,
        "v": 800 * t_ref**0.2 + 5,
    }
    nlsq = content["nlsq"]
    assert nlsq["t_ref"] == pytest.approx(t_ref)
    for name, value in truth.items():
        assert abs(nlsq[name] - value) < 4 * nlsq["errors"][name] < 0.2 * value
    # χ² of 2325 values: √(2/2325) = 3 %, the noise is known to 5 %; four of these.
    assert nlsq["reduced_chi2"] == pytest.approx(1.0, abs=0.25)
    assert nlsq["chi2"] == pytest.approx(nlsq["reduced_chi2"] * (nlsq["n_data"] - nlsq["n_free"]))


def test_commits_plan_and_status_are_as_their_schemas_say(place: Path, survey: Path) -> None:
    campaign = load(place)
    paths = list((survey / "_lanewise" / "commits").iterdir())
    said = [("commit", json.loads(path.read_text())) for path in paths]
    said += [("plan", asdict(plan_summary.summarise(campaign.record)))]
    said += [("plan-chunk", asdict(plan_summary.chunk(campaign.record, 0)))]
    said += [("status", asdict(status.status(campaign.record, "m.yaml")))]
    for name, content in said:
        jsonschema.Draft7Validator(schema.load(name)).validate(json.loads(json.dumps(content)))


def shell(place: Path, line: str) -> list[str]:
    done = subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("jq"), reason="the published page's lines use jq")
def test_the_find_and_jq_lines_of_the_published_page_work_on_our_results(place: Path, survey: Path) -> None:
    files = shell(place, f'find {survey} -name "*.json" | sort')
    assert [f.rsplit("/", 1)[1] for f in files] == ["result.json"] * 7
    numbers = {f: json.loads(Path(f).read_text())["nlsq"] for f in files}
    values = shell(place, f"""find {survey} -name "*.json" | xargs -I{{}} jq '.nlsq.D0_ref' {{}}""")
    assert sorted(map(float, values)) == sorted(n["D0_ref"] for n in numbers.values())
    shell(
        place,
        f"""find {survey} -name "*.json" \\
        | xargs -I{{}} jq -r '[input_filename, .nlsq.D0_ref, .nlsq.alpha_ref] | @csv' {{}} \\
        | sort > summary.csv""",
    )
    rows = pd.read_csv(place / "summary.csv", header=None)
    expected = [[f, numbers[f]["D0_ref"], numbers[f]["alpha_ref"]] for f in files]
    assert rows.to_numpy().tolist() == [[f, pytest.approx(a), pytest.approx(b)] for f, a, b in expected]


def test_the_numpy_lines_of_the_published_page_work_on_our_results(place: Path, survey: Path) -> None:
    results = {}
    for npz_path in survey.rglob("*.npz"):
        data = np.load(npz_path)
        results[npz_path.stem] = {key: data[key] for key in data.files}
    names = {one.run_id: one.planned.name for one in load(place).plan.realizations}
    stems = [f"{name}_{run_id.removeprefix('het_')}" for run_id, name in names.items() if name in GOOD]
    assert sorted(results) == sorted(stems)
    assert {array.dtype for arrays in results.values() for array in arrays.values()} == {np.dtype(np.float64)}


def test_arrays_are_the_fit_and_give_its_residuals(place: Path, survey: Path) -> None:
    (path,) = survey.rglob("het_s42_*.npz")
    with np.load(path) as file:
        arrays = dict(file)
    nlsq = json.loads(path.with_name("result.json").read_text())["nlsq"]
    assert arrays["parameters"].tolist() == [nlsq[name] for name in NAMES]
    assert arrays["headline"].tolist() == [nlsq[name] for name in MODELS["two_component"].headline]
    np.testing.assert_allclose(np.sqrt(np.diag(arrays["covariance"])), arrays["errors"])
    data = load_data(str(place / "manifests" / "data" / "survey" / "het_s42.h5"))
    assert "c2" not in arrays
    model = two_time_correlation(
        arrays["parameters"],
        arrays["t"],
        float(arrays["q"]),
        float(arrays["dt"]),
        arrays["phi"],
        arrays["contrast"],
        arrays["offset"],
    )
    residuals = data.c2 - model
    above = np.triu_indices(40, 1)
    assert (residuals[:, *above] ** 2).sum() == pytest.approx(nlsq["ssr"], rel=1e-9)
    blocks = arrays["residual_map"]
    assert blocks.shape == (3, 32, 32)
    edges = np.linspace(0, 40, 33).astype(int)
    rows, columns = slice(*edges[3:5]), slice(*edges[20:22])
    block = residuals[1, rows, columns]
    assert blocks[1, 3, 20] == pytest.approx(block.sum() / np.sqrt(block.size) / nlsq["noise"])
    np.testing.assert_array_equal(blocks, np.swapaxes(blocks, 1, 2))
    # 1584 blocks of noise: their rms is 1 to 1.8 %, the noise is known to 5 %; four of these.
    assert nlsq["residual_rms"] == pytest.approx(1.0, abs=0.22)


@pytest.mark.long
def test_a_torn_file_stops_no_other_and_is_explained_everywhere(place: Path, survey: Path) -> None:
    told = invoke("status", manifest(place, "survey"), *QUICK).output
    summary = pd.read_csv(survey / "summary.csv")
    assert summary["status"].tolist() == ["ok", "ok", "failed", *["ok"] * 5]
    row = summary.iloc[2]
    assert row["reason"].startswith("het_s44.h5: is a damaged HDF5 file")
    assert np.isnan(row["J_ref"])
    page = (survey / "report.html").read_text()
    for text in (told, page):
        assert "het_s44.h5: is a damaged HDF5 file" in text
    assert "7 of 8 tasks converged; 1 failed" in page
    assert invoke("aggregate", manifest(place, "survey"), *QUICK, "--strict").exit_code == 2


@pytest.mark.slow
def test_fits_whose_starts_disagree_climb_the_ladder_and_keep_their_names(place: Path, tmp_path: Path) -> None:
    # Three searches in one round: two of them agree at best.
    hasty = ["candidates=64", "starts=4", "polish=3", "agreement=3", "hops=0", "rounds=1"]
    overrides = [f"output.url={tmp_path}", "batch.size=8", *(f"config.fit.{one}" for one in hasty)]
    overrides.append("inputs=data/survey/het_s4[2-6].h5")  # four that can be read, and the torn one
    campaign = load(place, "survey", *overrides)
    first = campaign.run().counts
    assert first["not_converged"] >= 4
    before = {realization.run_id for realization in campaign.plan.realizations}
    options = [part for override in overrides for part in ("--set", override)]
    done = invoke("retry", manifest(place, "survey"), "--nonconverged", *options)
    n = first["not_converged"]
    assert f"{n} realizations tried again, {n} of them ok now" in done.output
    ((commit,),) = [tuple(campaign.record.commits().values())]
    assert commit.counts == {"ok": len(before) - 1, "failed": 1}
    for result in commits.load_results(campaign.store, commit):
        assert result.run_id in before
        if len(result.tries) > 1:
            assert [one.status for one in result.tries[:2]] == ["not_converged", result.tries[1].status]
            assert result.tries[1].change == "four times the rounds"
            assert _task(result).content["nlsq"]["rounds"] > 1
    told = invoke("status", manifest(place, "survey"), *options).output
    assert f"retried: {n} realizations, {n} of them ok now" in told
    assert invoke("run", manifest(place, "survey"), *options).exit_code == 2
    assert campaign.record.commits()[0] == commit


def test_a_second_run_computes_nothing(place: Path, survey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fit(*_: Any) -> Any:
        raise AssertionError("what is committed was fitted again")

    monkeypatch.setattr(solver, "_solve", no_fit)
    before = tree(survey)
    for file in survey.glob("het_*/*.npz"):
        file.unlink()
    outcome = load(place).run()
    assert (outcome.computed, outcome.reused, dict(outcome.counts)) == (0, 1, {"ok": 7, "failed": 1})
    assert tree(survey) == before
    assert invoke("verify", manifest(place, "survey"), *QUICK).exit_code == 0


@pytest.mark.long
def test_chunks_in_any_order_and_of_any_size_give_the_same_bytes(place: Path, survey: Path, tmp_path: Path) -> None:
    campaign = load(place, "survey", "batch.size=3", f"output.url={tmp_path / 'other'}")
    for index in (2, 0, 1):
        campaign.run(index)
    campaign.aggregate()
    ours, theirs = tree(tmp_path / "other"), tree(survey)
    # The report shows the manifest, and that has another batch size.
    del ours["report.html"], theirs["report.html"]
    assert ours == theirs


def test_an_output_url_stands_for_its_campaign_without_its_data(
    place: Path, survey: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    data = place / "manifests" / "data"
    data.rename(place / "away")
    try:
        campaign = lanewise.load(str(survey))
        assert campaign.summary["task"].tolist() == TASKS
    finally:
        (place / "away").rename(data)
    with pytest.raises(UsageError, match="has no posterior"):
        campaign.posterior(campaign.plan.realizations[0].run_id)


def test_nothing_published_holds_a_clock_host_path_or_attempt(place: Path, survey: Path) -> None:
    made = list(load(place).record.commits().values())
    secrets = {str(place), *(c.attempt for c in made), *(str(c.provenance["began"]) for c in made)}
    if len(host := str(made[0].provenance["machine"]["host"])) > 3:
        secrets.add(host)
    for name, data in tree(survey).items():
        assert not [s for s in secrets if s.encode() in data], name


@pytest.mark.slow
def test_the_sweep_that_ships_runs_over_start_frame(place: Path) -> None:
    path = manifest(place, "sweep")
    compiled = descents.descend._cache_size()  # type: ignore[attr-defined]  # JAX's own, not published
    assert invoke("run", path, *QUICK).exit_code == 0
    # Windows of one length: one program, for whichever of the tests here comes first.
    assert descents.descend._cache_size() - compiled <= 1  # type: ignore[attr-defined]
    assert "5 of 5 tasks converged" in invoke("aggregate", path, *QUICK).output
    root = place / "results" / "heterodyne-sweep"
    summary = pd.read_csv(root / "summary.csv")
    assert summary["data.start_frame"].tolist() == [1, 6, 11, 16, 21]
    assert summary["task"][1] == "het_s42_start_frame_6_end_frame_45"
    # |v| at each window's own t_ref follows the truth: 800 t^0.2 + 5, ages from the file's first frame.
    assert ((summary["v"] - (800 * summary["t_ref"] ** 0.2 + 5)).abs() < 4 * summary["v_error"]).all()
    page = (root / "report.html").read_text()
    assert page.count("<svg") == 2 + 3 * 3
    assert "What the data determine, over data.start_frame" in page


@pytest.mark.slow
def test_the_seeds_that_ship_agree_and_the_report_says_so(place: Path) -> None:
    # Another seed must not need luck: the settings are those that ship.
    path = manifest(place, "seeds")
    assert invoke("run", path).exit_code == 0
    survey = lanewise.load(path).aggregate()
    assert survey.complete
    (group,) = survey.groups
    assert (group.label, group.n, group.n_converged) == ("het_s42.h5", 4, 4)
    # They end in one minimum: agreement to a hundredth of a standard deviation, a ten-thousandth of χ².
    assert group.chi2_spread is not None
    assert group.chi2_spread < 1e-4
    assert group.shift is not None
    assert group.shift < 0.01
    assert "Agreement of seeds" in (place / "results" / "heterodyne-seeds" / "report.html").read_text()


def test_a_file_that_changes_after_the_plan_is_not_fitted(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "manifests" / "data" / "survey" / "het_s42.h5", tmp_path / "x.h5")
    campaign = load(place, "survey", f"inputs={tmp_path / 'x.h5'}", f"output.url={tmp_path / 'out'}")
    shutil.copy(place / "manifests" / "data" / "survey" / "het_s43.h5", tmp_path / "x.h5")
    outcome = campaign.run()
    assert dict(outcome.counts) == {"failed": 1}
    assert campaign.summary["reason"][0].startswith("x.h5: has changed: SHA-256")
    assert tree(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("q: 0.006", "holds no q 0.006 1/Å; it holds 0.0054"),
        ("phi: [7]", "holds no angle 7°; it holds -5, 0, 5"),
        ("end_frame: 41", "holds frames 1 to 40; start_frame 1, end_frame 41 are outside"),
        (
            "dt: 0.1",
            "has contradicting times: the config has dt 0.1 s, but t has steps of 0.25 s; correct data.dt, or "
            "insist on it with data.dt_insist: true",
        ),
    ],
)
def test_what_is_not_in_the_file_fails_its_task_with_the_reason(
    place: Path, tmp_path: Path, data: str, reason: str
) -> None:
    settings = [f"config.data={{{data}}}", f"output.url={tmp_path / 'out'}"]
    campaign = load(place, "survey", "inputs=data/survey/het_s42.h5", *settings)
    assert dict(campaign.run().counts) == {"failed": 1}
    assert campaign.summary["reason"][0] == f"het_s42.h5: {reason}"
    assert tree(tmp_path / "out") == {}


def test_the_plan_refuses_frames_that_the_file_does_not_have(place: Path) -> None:
    pair = ("--set", "inputs=data/survey/het_s42.h5", "--set", "output.url=memory://frames")
    done = invoke("plan", manifest(place, "survey"), *pair)
    assert done.exit_code == 0
    beyond = RUN.invoke(cli.app, ["plan", manifest(place, "survey"), *pair, "--set", "config.data.start_frame=41"])
    assert isinstance(beyond.exception, DataError)
    assert "holds frames 1 to 40; start_frame 41" in str(beyond.exception)


def test_what_the_reader_did_is_in_the_result_and_a_linked_file_in_its_identity(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.h5"
    shutil.copy(place / "manifests" / "data" / "survey" / "het_s42.h5", source)
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["c2"] = h5py.ExternalLink("source.h5", "c2")
        file.update({"q": 0.054, "phi": [-5.0, 0.0, 5.0], "t": 250 * np.arange(40)})
        file["q"].attrs["units"], file["t"].attrs["units"] = "1/nm", "ms"
    settings = ["config.data={mask_pairs: [3 x 7]}", f"output.url={tmp_path / 'out'}"]
    campaign = load(place, "survey", f"inputs={tmp_path / 'master.h5'}", *settings)
    assert dict(campaign.run().counts) == {"ok": 1}
    (path,) = (tmp_path / "out").glob("*/result.json")
    content = json.loads(path.read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(content)
    assert (content["data"]["q"], content["data"]["dt"]) == pytest.approx((0.0054, 0.25))
    assert content["data"]["notes"] == [
        "q is in 1/nm; converted to 1/Å",
        "t is in ms; converted to s",
        "masked, as the config asks: the pairs of frames 3 x 7, counted from 1",
    ]
    assert content["nlsq"]["n_data"] == 3 * (40 * 39 // 2 - 1)
    alone = hashlib.sha256((tmp_path / "master.h5").read_bytes()).hexdigest()
    assert content["data_sha256"] != alone
    source.write_bytes(source.read_bytes() + b" ")
    with pytest.raises(ResultsDiffer):
        load(place, "survey", f"inputs={tmp_path / 'master.h5'}", *settings).run()


Single = Callable[..., tuple[int, str]]


@pytest.fixture
def single(place: Path, tmp_path: Path, lanewise: Lanewise) -> Single:
    """`run heterodyne` on one file from flags alone: the exit code, and what the terminal shows."""

    def run(data: str, *options: str) -> tuple[int, str]:
        config = tmp_path / "c.yaml"
        few = "candidates: 4, starts: 4, polish: 4, hops: 0, agreement: 4, rounds: 1, max_iterations: 2"
        config.write_text(f"fit: {{{few}}}\n")
        file = str(place / "manifests" / "data" / "survey" / f"{data}.h5")
        flags = ["--config", str(config), "--data", file, "--output-dir", str(tmp_path / "out")]
        code, out, err = lanewise("run", "heterodyne", *flags, *options)
        return code, out + err

    return run


class TestSingleRuns:
    """The exit codes of the published page: 1 for what cannot be read, with the reason; 2 with outputs only."""

    def test_a_torn_file_is_1_with_its_reason(self, single: Single) -> None:
        code, shown = single("het_s44")
        assert code == 1
        assert "no result: het_s44.h5: is a damaged HDF5 file" in shown

    def test_a_file_that_is_not_there_is_1(self, single: Single) -> None:
        code, shown = single("none")
        assert code == 1
        assert "none.h5: no such file" in shown

    def test_in_a_cluster_the_record_of_a_torn_file_is_0(self, single: Single) -> None:
        assert single("het_s44", "--cluster")[0] == 0

    @pytest.mark.parametrize(("options", "variable", "expected"), [([], "", 1), (["--cluster"], "", 74), ([], "0", 74)])
    def test_storage_that_refuses_is_74_in_a_cluster_only(
        self,
        options: list[str],
        variable: str,
        expected: int,
        single: Single,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refused(store: Store, path: str) -> bytes:
            raise StorageError(f"{store.where(path)}: refused")

        monkeypatch.setattr(Store, "read", refused)
        monkeypatch.setenv("JOB_COMPLETION_INDEX", variable)
        code, shown = single("het_s42", *options)
        assert code == expected
        assert "het_s42.h5: refused" in shown
        assert not (tmp_path / "out").exists()

    def test_a_fit_that_does_not_converge_is_2_with_outputs(self, single: Single, tmp_path: Path) -> None:
        assert single("het_s42")[0] == 2
        (path,) = (tmp_path / "out").glob("*/result.json")
        assert "convergence_warning" in json.loads(path.read_text())

    def test_the_variable_of_the_page_warns_with_the_remedy(
        self, single: Single, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HETERODYNE_NUM_WORKERS", "2")
        code, shown = single("het_s42", "--cluster")
        assert code == 0
        assert "HETERODYNE_NUM_WORKERS=2 has no effect: --workers N" in shown


def test_a_file_that_storage_does_not_give_is_no_result_and_stops_no_other_chunk(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(place, "survey", "batch.size=1", f"output.url={tmp_path / 'out'}")
    given = inputs.read

    def refused(one: Input, *rest: Any) -> bytes:
        if one.stem == "het_s43":
            raise InputUnreachable(f"{one.path}: refused")
        return given(one, *rest)

    monkeypatch.setattr(inputs, "read", refused)
    monkeypatch.setattr(
        "lanewise.families.heterodyne.nlsq.fit.prepared",
        lambda *_, **_more: (_ for _ in ()).throw(ValueError("not needed here")),
    )
    outcome = campaign.run(raise_on_failure=False)
    assert sorted(campaign.record.commits()) == [0, 2, 3, 4, 5, 6, 7]
    assert [error.exit_code for error in outcome.errors] == [74]  # type: ignore[attr-defined]
    assert campaign.summary["reason"][0] == "ValueError: not needed here"


def _results(place: Path) -> list[TaskResult]:
    campaign = load(place)
    return [
        _task(r) for commit in campaign.record.commits().values() for r in commits.load_results(campaign.store, commit)
    ]


@pytest.mark.long
def test_what_is_packed_unpacks_to_the_same_files(place: Path, survey: Path) -> None:
    found = _results(place)
    assert {r.status for r in found} == {LaneStatus.OK, LaneStatus.FAILED}
    again = outputs.unpack(outputs.packed_nc(found))
    assert [outputs.files(r) for r in again] == [outputs.files(r) for r in found]
    assert [outputs.summary_row(r) for r in again] == [outputs.summary_row(r) for r in found]
    assert outputs.packed_nc(again) == outputs.packed_nc(found)


def test_an_interrupted_chunk_goes_on_after_the_tasks_that_are_done(
    place: Path, survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load(place, "survey", f"output.url={tmp_path / 'out'}")
    (chunk,) = campaign.plan.chunks
    known = {r.task: r for r in _results(place)}
    solved: list[str] = []

    def solve(task: Any, _: object) -> TaskResult:
        if solved == TASKS[:2]:
            raise KeyboardInterrupt
        solved.append(task.name)
        return known[task.name]

    monkeypatch.setattr(solver, "_solve", solve)
    always = Policy(long_s=0.0, interval_s=0.0, share=1e9)
    keeper = CheckpointKeeper(campaign.store, chunk, {}, always)
    with pytest.raises(KeyboardInterrupt):
        solver.TaskSolver("cpu", 1).run(chunk, Silent(), keeper)
    solved.clear()
    later = CheckpointKeeper(campaign.store, chunk, {}, always)
    assert later.load() == 2
    found = solver.TaskSolver("cpu", 1).run(chunk, Silent(), later)
    assert solved == TASKS[2:]
    assert [outputs.files(r) for r in found] == [outputs.files(known[r.task]) for r in found]


def test_a_fit_that_is_not_converged_is_written_with_its_warning(place: Path, tmp_path: Path) -> None:
    rounds = ["config.fit.candidates=4", "config.fit.starts=4", "config.fit.agreement=4", "config.fit.rounds=1"]
    settings = [*rounds, "config.fit.hops=0", "config.fit.max_iterations=2", f"output.url={tmp_path / 'out'}"]
    outcome = load(place, "survey", "inputs=data/survey/het_s42.h5", *settings).run()
    assert (dict(outcome.counts), outcome.all_ok) == ({"not_converged": 1}, False)
    (path,) = (tmp_path / "out").rglob("result.json")
    content = json.loads(path.read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(json.dumps(content)))
    assert content["converged"] is False
    assert "polished starts ended here" in content["convergence_warning"]
    assert "J_ref" in content["nlsq"]


def test_values_that_the_data_leave_open_have_infinite_errors_in_the_table(
    place: Path, survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _results(place)[0]
    content = json.loads(json.dumps(known.content))
    content["nlsq"]["errors"]["v"] = None
    jsonschema.Draft7Validator(SCHEMA).validate(json.loads(json.dumps(content)))
    monkeypatch.setattr(solver, "_solve", lambda *_: replace(known, content=content))
    campaign = load(place, "survey", "inputs=data/survey/het_s42.h5", f"output.url={tmp_path / 'out'}")
    campaign.run()
    campaign.aggregate()
    row = pd.read_csv(tmp_path / "out" / "summary.csv").iloc[0]
    assert row["v_error"] == np.inf
    assert np.isfinite(row["J_ref_error"])
    assert (tmp_path / "out" / "report.html").read_text().count("(open)") == 2  # the value, and the note below


def test_figures_are_drawn_on_request_from_the_data_that_were_fitted(
    place: Path, survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _results(place)
    monkeypatch.setattr(solver, "_solve", lambda task, _: next(r for r in known if r.task == task.name))
    # Of the survey three data sets, the torn one among them.
    changed = [*QUICK, "--set", "inputs=data/survey/het_s4[245].h5", "--set", f"output.url={tmp_path / 'out'}"]
    invoke("run", manifest(place, "survey"), *changed)
    file = place / "manifests" / "data" / "survey" / "het_s45.h5"
    raw = file.read_bytes()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    try:
        # Opened by its results: the manifest itself would be planned for the file as it is now.
        done = invoke("aggregate", str(tmp_path / "out"), "--figures")
    finally:
        file.write_bytes(raw)
    assert "figures: 1 of 2" in done.output
    assert "het_s45.h5: has changed" in done.output
    drawn = {path.name: path.read_text() for path in (tmp_path / "out").glob("het_*/*.svg")}
    assert sorted(drawn) == ["het_s42.svg"]
    # Three rows of three angles, and their three colour bars.
    assert drawn["het_s42.svg"].count("<image") == 3 * 3 + 3
    assert all(word in drawn["het_s42.svg"] for word in ("data", "model", "residual", "φ = −5°"))
    assert [path.name for path in (tmp_path / "out").glob("het_*/*.pdf")] == ["het_s42.pdf"]


def test_extract_gives_one_row_per_task(place: Path, survey: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    assert invoke("extract", manifest(place, "survey"), *QUICK, "--output", str(path)).exit_code == 0
    assert path.read_bytes() == (survey / "summary.csv").read_bytes()
    assert pd.read_csv(path)["task"].tolist() == TASKS


def test_the_fitted_correlation_is_written_on_request(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "c2.yaml"
    source = str(place / "manifests" / "data" / "survey" / "het_s42.h5")
    content = {
        "apiVersion": "lanewise/v1",
        "kind": "heterodyne",
        "name": "c2",
        "inputs": source,
        "config": {"outputs": {"c2": True}, "fit": {"candidates": 64, "starts": 12, "polish": 6}},
        "output": {"url": str(tmp_path / "out")},
    }
    path.write_text(json.dumps(content))
    invoke("run", str(path))
    (npz,) = (tmp_path / "out").rglob("*.npz")
    with np.load(npz) as file:
        given = (file["parameters"], file["t"], float(file["q"]), float(file["dt"]), file["phi"])
        model = two_time_correlation(*given, file["contrast"], file["offset"])
        np.testing.assert_allclose(file["c2"], model, rtol=1e-12)
        assert file["cuts"].shape == file["cuts_data"].shape == (3, 4, 40)
        assert np.isfinite(file["cuts_errors"][:, 0, 1:]).all()

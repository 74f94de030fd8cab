"""The command line: exit codes, what is printed where, and help that teaches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import gaussian
from conftest import Lanewise, Write, load, tree
from lanewise.operations import chunks


def _fields(lines: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.mark.long
def test_the_way_from_manifest_to_report(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    path, url = write(acceptance={"level": "level_0"}), str(tmp_path / "results")
    code, out, _ = lanewise("validate", path)
    assert (code, out) == (0, f"{path}: valid; 4 realizations in 2 chunks\n")
    code, out, _ = lanewise("plan", path)
    assert (code, out.count("  open  "), out.count("  done  ")) == (0, 2, 0)
    code, out, _ = lanewise("run", path, "--batch-index", "1")
    assert code == 0
    code, out, _ = lanewise("status", path)
    assert (code, "not committed: chunk 0" in out, out.splitlines()[-1]) == (0, True, f"next: lanewise run {path}")
    code, out, _ = lanewise("run", path)
    last = _fields(out)[-1]
    assert code == 0
    assert {k: last[k] for k in ("event", "computed", "reused", "failed", "counts", "url")} == {
        "event": "done",
        "computed": 1,
        "reused": 1,
        "failed": 0,
        "counts": {"ok": 4},
        "url": url,
    }
    code, out, _ = lanewise("aggregate", path)
    assert (code, out.splitlines()[-1]) == (0, f"report: {url}/report.html")
    code, out, _ = lanewise("status", url, "--json")
    assert json.loads(out)["chunks"] == {
        "total": 2,
        "committed": 2,
        "missing": [],
        "running": [],
        "lost": [],
        "failed": {},
        "damaged": {},
    }


def test_the_pages_downstream_stages_on_an_output_directory(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    lanewise("run", write())
    results, csv, stats = (str(tmp_path / name) for name in ("results", "summary.csv", "stats"))
    assert lanewise("extract", results, "--output", csv)[0] == 0
    extracted = Path(csv).read_text().splitlines()
    assert len(extracted) == 5
    code, out, _ = lanewise("stats", csv, "--output-dir", stats, "--level", "level_0", "--posterior-dir", results)
    assert (code, out.splitlines()[-1]) == (0, f"numbers: {stats}/bias_results.json")
    alone = str(tmp_path / "alone")
    assert lanewise("stats", csv, "--output-dir", alone, "--level", "level_0")[0] == 0
    with_priors, without = (json.loads(Path(d, "bias_results.json").read_text()) for d in (stats, alone))
    assert with_priors["g1"]["shrinkage"] is not None
    assert without["g1"]["shrinkage"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 64, "Missing argument"),
        (["run", "m.yaml", "--bach-index", "1"], 64, "No such option"),
        (["nonsense"], 64, "No such command"),
        (["comapre"], 64, "Did you mean 'compare'?"),
        (["init", "heterodyn"], 64, "Did you mean 'heterodyne'?"),
        (["simulate", "shear"], 64, "Expected one of heterodyne."),
        (
            ["plan", "MANIFEST", "--set", "psf.sigma=1"],
            65,
            "--set: psf.sigma: unknown key; did you mean 'config.psf.sig",
        ),
        (["run", "absent.yaml"], 65, "absent.yaml: no such file; check the path"),
        (["run", "MANIFEST", "--batch-index", "2"], 64, "--batch-index: expected a chunk index from 0 to 1, got 2"),
        (["run", "MANIFEST", "--set", "batch.size"], 64, "expected path=value"),
        (["plan", "MANIFEST", "--set", "batch.size=0"], 65, "--set: batch.size: expected an integer ≥ 1, got 0"),
        (["run", "MANIFEST", "--set", "resources.device=gpu"], 78, "resources.device is gpu, and JAX runs on cpu here"),
        (["run", "MANIFEST", "--set", "output.url=pigeon://x"], 74, "pigeon://x: cannot be opened"),
        (["stats", "absent.csv"], 64, "absent.csv: no such file"),
        (["stats", "MANIFEST", "--level", "level_9"], 64, "expected level_0"),
        (["aggregate", "MANIFEST", "--min-complete", "1"], 75, "0 of 2 chunks are committed"),
        (["aggregate", "MANIFEST", "--strict"], 5, ""),
        (["extend", "MANIFEST"], 64, "Missing option '--count'"),
        (["extend", "MANIFEST", "--count", "0"], 64, "--count"),
        (["extend", "MANIFEST", "--count", "1", "--set", "realizations.count=3"], 64, "edit the manifest"),
        (["export", "MANIFEST", "--layout", "packed"], 64, "--layout packed: expected directories"),
        (["verify", "absent.yaml"], 65, "absent.yaml: no such file"),
        (["status", "MANIFEST", "--set", "output.url=s3://me:word@bucket/x"], 74, "the URL carries a password"),
    ],
)
def test_exit_codes_and_one_clear_message(
    lanewise: Lanewise, write: Write, arguments: list[str], code: int, message: str
) -> None:
    manifest = write()
    found, _, err = lanewise(*[manifest if a == "MANIFEST" else a for a in arguments])
    assert (found, message in err, "Traceback" in err) == (code, True, False), err


def test_a_folder_is_no_place_for_a_table(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    code, _, err = lanewise("extract", write(), "--output", f"{tmp_path}/")
    assert (code, "expected a file, got a directory" in err) == (64, True)


def test_not_converged_is_exit_code_2_and_data_in_a_cluster(
    lanewise: Lanewise, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    path = write(config__inference={"method": "map", "map_config": {"max_iterations": 1, "gradient_norm": 1e-9}})
    assert lanewise("run", path)[0] == 2
    assert lanewise("run", path)[0] == 2  # reused, and still not converged
    assert lanewise("run", path, "--cluster")[0] == 0
    code, out, _ = lanewise("status", path)
    assert (code, "4 not converged, of 4" in out, "the gradient norm is" in out) == (0, True, True)
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    code, out, _ = lanewise("run", path)
    assert (code, _fields(out)[-1]["counts"]) == (0, {"not_converged": 2})


def test_aggregate_waits_no_longer_than_its_deadline(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    began = time.monotonic()
    code, _, err = lanewise("aggregate", write(), "--wait", "--deadline", "0.2", "--min-complete", "0.5")
    assert (code, "0 of 2 chunks are committed" in err) == (75, True)
    assert time.monotonic() - began < 60
    assert (tmp_path / "results" / "report.html").exists()


def test_the_plan_gives_ranges_of_chunks_and_the_ids_of_one(lanewise: Lanewise, write: Write) -> None:
    path = write(shear={"grid": [0.01]}, realizations={"count": 9, "extensions": [1]})
    assert lanewise("run", path, "--batch-index", "2")[0] == 0
    _, out, _ = lanewise("plan", path, "--no-memory", "--json")
    told = json.loads(out)
    rule = {"points": [[0.01, 0.0]], "paired": False, "ring": False}
    assert told["stretches"] == [
        {"first": 0, "n_realizations": 9, "first_chunk": 0, "n_chunks": 5, "size": 2}
        | {"rule": {**rule, "count": 9, "base_seed": 42}, "offset": 0},
        {"first": 9, "n_realizations": 1, "first_chunk": 5, "n_chunks": 1, "size": 2}
        | {"rule": {**rule, "count": 1, "base_seed": 51}, "offset": 0},
    ]
    assert told["chunks"] == [
        {"first": 0, "last": 1, "n_realizations": 4, "committed": False},
        {"first": 2, "last": 2, "n_realizations": 2, "committed": True},
        {"first": 3, "last": 5, "n_realizations": 4, "committed": False},
    ]
    _, out, _ = lanewise("plan", path, "--chunk", "2", "--json")
    listed = json.loads(out)
    assert (listed["index"], listed["committed"]) == (2, True)
    assert [(one["run_id"], one["seed"]) for one in listed["realizations"]] == [
        ("g1_+0.0100_g2_+0.0000_s46", 46),
        ("g1_+0.0100_g2_+0.0000_s47", 47),
    ]
    _, out, _ = lanewise("plan", path, "--chunk", "5")
    (one,) = load(path).plan.chunks[5].realizations
    assert out == f"chunk 5: 1 realization, open\n  {one.run_id}  seed 51  {one.identity}\n"
    code, _, err = lanewise("plan", path, "--chunk", "6")
    assert (code, "--chunk: expected 0 to 5, got 6" in err) == (64, True)


def test_extend_verify_export_and_clean(lanewise: Lanewise, write: Write, tmp_path: Path) -> None:
    path = write(output__layout="packed")
    assert lanewise("run", path, "--batch-index", "0")[0] == 0
    code, out, _ = lanewise("extend", path, "--count", "1")
    assert (code, out) == (0, f"{path}: 4 → 6 realizations, 2 → 3 chunks\nnext: lanewise run {path}\n")
    code, out, _ = lanewise("plan", path)
    assert (code, out.count("  open  "), out.count("  done  ")) == (0, 2, 1)
    code, out, _ = lanewise("export", path, "--layout", "directories")
    assert (code, out) == (0, f"2 of 6 realizations in {tmp_path}/results\n")
    code, out, _ = lanewise("verify", path)
    assert (code, out) == (0, "1 committed chunks, 2 files: nothing wrong\n")
    (rows,) = (tmp_path / "results").rglob("*.rows")
    orphan = rows.with_name("20200101T000000-00000000.rows")
    orphan.write_bytes(b"")
    os.utime(orphan, (0, 0))  # its age is what the store says, not its name
    code, out, _ = lanewise("clean", path)
    assert (code, out.splitlines()[-1], orphan.exists()) == (0, "1 removed; committed results stay", False)
    rows.unlink()
    code, out, _ = lanewise("verify", path)
    assert (code, "is named by a commit and missing" in out) == (74, True)


@pytest.mark.parametrize(("asked", "expected"), [("", "1"), ("3", "3")])
def test_libraries_of_the_command_line_have_one_thread_unless_more_are_asked_for(asked: str, expected: str) -> None:
    """Threads of NumPy and GalSim that wait for each other took half of the processor time of small stamps."""
    program = """
from lanewise.cli import main
try:
    main()
except SystemExit:
    from galsim.utilities import get_omp_threads
    print(get_omp_threads())
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": asked} if asked else {}
    command = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == expected


@pytest.mark.parametrize("kind", ["shear", "calibration", "heterodyne"])
def test_what_plans_and_reports_need_of_a_family_imports_no_jax(kind: str) -> None:
    check = f"import sys, lanewise.families.{kind}.family; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_help_names_every_command_and_imports_no_jax() -> None:
    check = "import sys; sys.argv = ['lanewise', '--help']; from lanewise import cli\ntry: cli.main()\nfinally:\n"
    check += " heavy = {'jax', 'numpy', 'fsspec', 'jsonschema', 'yaml'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    for command in (
        "validate",
        "plan",
        "run",
        "status",
        "extract",
        "stats",
        "aggregate",
        "render",
        "extend",
        "verify",
        "export",
        "clean",
    ):
        assert f"  {command} " in done.stdout


def test_one_line_of_the_page_runs_and_its_stages_work_on_the_results(
    lanewise: Lanewise, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    scene = tmp_path / "scene.yaml"
    scene.write_text(json.dumps(yaml.safe_load(Path(write()).read_text())["config"]))
    out = str(tmp_path / "validation" / "batched")
    flags = ["--shine-config", str(scene), "--batch-size", "4", "--shear-grid", "0.01", "-0.02", "--output-dir", out]
    assert lanewise("run", "shear", *flags)[0] == 0
    summary = f"{out}/summary.csv"
    assert lanewise("extract", out, "--output", summary)[1] == f"2 of 2 realizations in {summary}\n"
    arguments = ["--output-dir", f"{out}/stats", "--level", "level_0", "--posterior-dir", out]
    code, said, _ = lanewise("stats", summary, *arguments)
    assert (code, said.splitlines()[-1]) == (0, f"numbers: {out}/stats/bias_results.json")
    assert {Path(path).name for path in tree(Path(out)) if "/" in path} >= {"posterior.nc", "truth.json"}
    assert lanewise("run", "shear", *flags)[1].splitlines()[-1].count('"reused": 1') == 1


def test_init_writes_what_run_takes_and_replaces_nothing_unasked(lanewise: Lanewise, tmp_path: Path) -> None:
    target = str(tmp_path / "my.yaml")
    assert lanewise("init", "shear", "--shear-grid", "0.01", "0.02", "-o", target)[0] == 0
    assert lanewise("validate", target)[1] == f"{target}: valid; 2 realizations in 2 chunks\n"
    code, _, err = lanewise("init", "shear", "-o", target)
    assert (code, err) == (64, f"{target}: exists already; --force replaces it\n")
    assert lanewise("init", "shear", "-o", target, "--force")[0] == 0
    assert lanewise("init", "shear")[1] == Path(target).read_text()


@pytest.mark.parametrize(
    ("variables", "options", "origin"),
    [
        ({}, [], "manifest.yaml:"),
        ({"LANEWISE_OUTPUT_URL": "memory://a"}, [], "LANEWISE_OUTPUT_URL"),
        ({"LANEWISE_OUTPUT_URL": "memory://a"}, ["--set", "output.url=memory://b"], "--set"),
    ],
)
def test_the_command_line_outranks_the_environment_and_that_the_manifest(
    lanewise: Lanewise,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    options: list[str],
    origin: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    _, out, _ = lanewise("plan", write(), "--explain", *options)
    rows = {row.split()[0]: row for row in out.splitlines()}
    assert origin in rows["output.url"].split()[-1]
    assert rows["batch.index"].split() == ["batch.index", "1", "SLURM_ARRAY_TASK_ID"]
    assert rows["convergence.rhat_max"].split() == ["convergence.rhat_max", "1.05", "default"]
    assert "config.psf.sigma" in rows
    methods = {path.split(".")[2] for path in rows if path.startswith("config.inference.") and path.count(".") > 2}
    assert methods == {"map_config"}


def test_many_directories_are_remarked_upon(lanewise: Lanewise, write: Write) -> None:
    path = write(realizations__count=20_000)
    assert "output.layout: 40000 directories of three files each" in lanewise("validate", path)[1]
    assert "directories of" not in lanewise("validate", path, "--set", "output.layout=packed")[1]


@pytest.mark.parametrize("group", [(), ("init",), ("render",), ("simulate",)])
def test_the_summaries_of_commands_fit_80_columns(
    lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch, group: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = lanewise(*group, "-h")
    assert (code, out) == (0, lanewise(*group, "--help")[1])
    rows = out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert rows
    assert all(row.endswith((".", "?")) and not row.endswith("...") and len(row) <= 80 for row in rows), rows


def test_run_kind_takes_what_init_and_run_take(lanewise: Lanewise) -> None:
    def flags(*command: str) -> set[str]:
        return set(re.findall(r"^  (?:-\w, )?(--[a-z0-9-]+)", lanewise(*command, "--help")[1], re.MULTILINE))

    for kind in ("shear", "calibration", "heterodyne", "model"):
        assert flags("run", kind) >= (flags("init", kind) | flags("run")) - {"--output", "--force"}


def test_a_pipe_gets_plain_text_and_json_only_if_asked(
    lanewise: Lanewise, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    monkeypatch.delenv("LANEWISE_LOG")
    path = write()
    _, out, _ = lanewise("run", path)
    assert out.splitlines()[-1].startswith("4 realizations: 4 ok; chunks: 2 computed")
    assert _fields(lanewise("run", path, "--json")[1])[-1]["event"] == "done"
    monkeypatch.setenv("LANEWISE_LOG", "xml")
    assert lanewise("run", path)[0] == 64


def test_a_run_without_files_of_its_own_gets_those_of_the_starter(
    lanewise: Lanewise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "solver", gaussian.solver)
    monkeypatch.chdir(tmp_path)
    assert "no such file" not in lanewise("run", "model", "--batch-index", "9")[2]
    assert {path.name for path in tmp_path.iterdir()} >= {"first_model.py", "first_data.csv"}


def test_of_equal_complaints_twenty_are_told_and_the_others_counted(lanewise: Lanewise, write: Write) -> None:
    code, _, err = lanewise("validate", write(shear={"grid": [2.0 + n for n in range(26)]}, batch={"size": 0}))
    lines = err.splitlines()
    assert (code, len(lines), sum("shear.grid[" in line for line in lines)) == (65, 22, 21)
    assert "… and 6 more like" in lines[-1]
    assert any("batch.size" in line for line in lines)

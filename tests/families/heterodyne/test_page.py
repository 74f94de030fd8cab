"""The published page on batch processing, line by line, with `lanewise run heterodyne` where it says `heterodyne`.

Each line is a process of its own, as it is for a user; hence slow.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lanewise import cli

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("jq"), reason="the page's lines use jq")]

BASE = """\
data:
  start_frame: 1
fit: {candidates: 128, starts: 12, polish: 4, agreement: 2, hops: 4}
"""


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with data, configs, and the command on the path."""
    command = tmp_path / "bin" / "heterodyne"
    command.parent.mkdir()
    command.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from lanewise.cli import main; main()' run heterodyne \"$@\"\n"
    )
    command.chmod(0o755)
    options = ["--frames", "45", "--dt", "0.25"]
    assert CliRunner().invoke(cli.app, ["simulate", "heterodyne", str(tmp_path / "data"), *options]).exit_code == 0
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "base.yaml").write_text(BASE)
    return tmp_path


def shell(desk: Path, script: str) -> str:
    environment = {**os.environ, "PATH": f"{desk / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_sweep_by_sed_and_jq(desk: Path) -> None:
    told = shell(
        desk,
        """
        set -euo pipefail
        DATA="data/het_s42.h5"
        OUTDIR="sweep_start_frame"
        mkdir -p "$OUTDIR"
        for start in 1 6; do
            cfg="$OUTDIR/config_sf${start}.yaml"
            sed "s/start_frame:.*/start_frame: ${start}/" configs/base.yaml > "$cfg"
            heterodyne --config "$cfg" --data "$DATA" --output-dir "$OUTDIR/sf${start}/"
        done
        for start in 1 6; do
            D0=$(jq '.nlsq.D0_ref' "$OUTDIR/sf${start}/"*/result.json 2>/dev/null || echo "N/A")
            echo "$start,$D0"
        done
        """,
    )
    rows = dict(line.split(",") for line in told.splitlines() if "," in line and " " not in line)
    for start in (1, 6):
        (path,) = (desk / "sweep_start_frame" / f"sf{start}").glob("*/result.json")
        content = json.loads(path.read_text())
        assert content["data"]["start_frame"] == start
        assert float(rows[str(start)]) == content["nlsq"]["D0_ref"]


def test_a_loop_and_xargs_over_configs_with_exit_codes(desk: Path) -> None:
    configs = desk / "configs"
    few = "candidates: 4, starts: 4, polish: 4, hops: 0, agreement: 4, rounds: 1, max_iterations: 2"
    (configs / "hasty.yaml").write_text(f"fit: {{{few}}}\n")
    (configs / "wrong.yaml").write_text("data: {q: 0.1}\n")
    told = shell(
        desk,
        """
        failed=()
        for cfg in configs/*.yaml; do
            heterodyne --config "$cfg" --data data/het_s42.h5 --method nlsq > /dev/null 2>&1
            code=$?
            if [[ $code -ne 0 ]]; then
                failed+=("$cfg=$code")
            fi
        done
        echo "${failed[*]}"
        ls configs/*.yaml | xargs -P 2 -I{} heterodyne --config {} --data data/het_s42.h5 > again 2>&1
        find results/ -name "*.json" | xargs -I{} jq -r '[.task, .convergence_warning] | @csv' {} | sort
        """,
    )
    codes, *rows = told.splitlines()
    # The first wrote what there was to write; a q that the file does not have leaves no result.
    assert codes == "configs/hasty.yaml=2 configs/wrong.yaml=1"
    assert (desk / "again").read_text().count("1 already committed") == 3
    assert len(rows) == 2
    assert sum("polished starts ended here" in row for row in rows) == 1

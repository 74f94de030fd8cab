"""A family of somebody else's distribution: every command serves it, and no line of lanewise knows it.

Its code is in tests/toy_family; here it is installed beside the environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from conftest import Lanewise
from lanewise.manifest import registry

SOURCE = Path(__file__).with_name("toy_family")
FORGOTTEN = (registry._entries, registry.door, registry.family)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the distribution is installed."""
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(SOURCE)], check=True, capture_output=True)
    return target


@pytest.fixture
def toy(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty directory, with the family installed."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    for cached in FORGOTTEN:
        cached.cache_clear()
    yield
    monkeypatch.undo()
    for cached in FORGOTTEN:
        cached.cache_clear()


@pytest.mark.long
def test_a_family_from_elsewhere_gets_every_command(toy: None, lanewise: Lanewise) -> None:
    def ok(*words: str) -> str:
        code, out, err = lanewise(*words)
        assert (code, err) == (0, ""), (words, out, err)
        return out

    def counts() -> dict[str, int]:
        found: dict[str, int] = json.loads(ok("status", "toy.yaml", "--json"))["realizations"]["counts"]
        return found

    assert "toy" in ok("init", "--help")
    ok("init", "toy", "-o", "toy.yaml")
    text = Path("toy.yaml").read_text()
    assert "sigma: 0.5  # Width of the numbers" in text
    assert "yaml-language-server" not in text
    # 5 of 6 posteriors have fewer effective draws than this in the first run, all have in the second.
    few = "convergence: {ess_min: 390}\n"
    Path("toy.yaml").write_text(f"{text}realizations:\n  count: 6\nbatch: {{size: 4, width: 4}}\n{few}")
    assert "6 realizations in 2 chunks" in ok("validate", "toy.yaml")
    assert "method importance, 4 lanes in flight" in ok("plan", "toy.yaml")
    assert lanewise("run", "toy.yaml", "--batch-index", "0")[0] == 2
    assert "lanewise run toy.yaml" in ok("status", "toy.yaml")
    assert lanewise("run", "toy.yaml")[0] == 2
    before = counts()
    assert before["not_converged"] >= 1
    assert "ok now" in ok("retry", "toy.yaml")
    assert counts() == {"ok": 6}
    ok("extend", "toy.yaml", "--count", "3")
    if lanewise("run", "toy.yaml")[0] == 2:
        ok("retry", "toy.yaml")
    assert counts() == {"ok": 9}
    assert "nothing wrong" in ok("verify", "toy.yaml")
    assert "toy: the means are off by 0." in ok("aggregate", "toy.yaml", "--strict")
    assert "9 of 9 realizations" in ok("extract", "toy.yaml", "--output", "copy.csv")
    summary = pd.read_csv("copy.csv")
    pull = (summary["mean_mean"] - summary["mean_true"]) / summary["mean_std"]
    assert pull.abs().max() < 4
    assert ok("export", "toy.yaml", "-o", "elsewhere").startswith("9 of 9 realizations")
    assert "0 removed" in ok("clean", "toy.yaml")
    assert "is satisfied" in ok("doctor", "toy.yaml")
    jobs = ok("render", "kubernetes", "toy.yaml", "--image", "i", "--set", "output.url=s3://bucket/toy")
    assert "completions: 3" in jobs
    assert "0 computed, 3 already committed" in ok("run", "toy.yaml")


def test_its_config_is_checked_by_its_own_schema(toy: None, lanewise: Lanewise) -> None:
    lanewise("init", "toy", "-o", "toy.yaml")
    code, _, err = lanewise("validate", "toy.yaml", "--set", "config.sigma=-1", "--set", "shear.grid=[0.01]")
    assert code == 65
    assert "config.sigma: expected a number > 0, got -1" in err
    assert "shear: unknown key" in err


def test_without_it_the_kind_is_not_known(lanewise: Lanewise, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("apiVersion: lanewise/v1\nkind: toy\nname: toy\nconfig: {sigma: 1}\noutput: {url: x}\n")
    code, _, err = lanewise("validate", str(path))
    assert code == 65
    assert "expected one of shear, calibration, heterodyne, model, got 'toy' (a string)" in err

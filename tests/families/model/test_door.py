"""`lanewise.fit`: a model and a table from Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lanewise
from families.model.campaigns import write
from lanewise.errors import NotConverged, UsageError


@pytest.mark.long
def test_fit_infers_a_frame_with_a_function_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    spec = importlib.util.spec_from_file_location("some_models", tmp_path / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frame = pd.read_csv("stars.csv")
    asked: dict[str, Any] = {"id": "star", "columns": ["x", "y"], "method": "laplace"}
    campaign = lanewise.fit(module.model, frame, **asked)
    assert list(campaign.summary["id"]) == ["s0", "s1", "s2", "s3"]
    assert set(campaign.posterior("s2").posterior.data_vars) == {"mu", "twice"}
    assert repr(campaign) == "<Campaign model: model, 4 realizations (4 ok), in results/model>"
    shown = campaign._repr_html_()
    assert shown.startswith("<p><b>model</b>: 4 realizations (4 ok), in <code>results/model</code></p>")
    assert "<table" in shown
    assert "<svg" in shown
    assert lanewise.load("results/model").run().reused == 1
    frame.loc[0, "y"] = float("nan")
    with pytest.raises(NotConverged, match=r"1 of 4 data sets are not ok: s0: .*column y: is missing"):
        lanewise.fit(module.model, frame, url="results/other", **asked)
    kept = lanewise.fit(module.model, frame, url="results/other", allow_failures=True, **asked)
    assert list(kept.summary["status"]) == ["failed", "ok", "ok", "ok"]


def test_a_function_that_is_in_no_file_is_told() -> None:
    space: dict[str, Any] = {}
    exec("def model(data): pass", space)
    with pytest.raises(UsageError, match="is in no file; save it"):
        lanewise.fit(space["model"], "stars.csv")

"""A model campaign from table to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pandas as pd
import pytest

from conftest import Lanewise, load, tree
from families.model.campaigns import MEAN, SIZES, table, write
from lanewise.engine.engine import Engine
from lanewise.errors import ResultsDiffer
from lanewise.families.model.outputs import arrays
from lanewise.manifest.plan import Chunk


def test_every_data_set_has_its_conjugate_posterior_whatever_its_size(tmp_path: Path) -> None:
    campaign = load(write(tmp_path))
    campaign.run()
    campaign.aggregate()
    summary = pd.read_csv(tmp_path / "results" / "summary.csv")
    assert list(summary["id"]) == ["s0", "s1", "s2", "s3"]
    assert set(summary["status"]) == {"ok"}
    rows = pd.read_csv(tmp_path / "stars.csv")
    for at, n in enumerate(SIZES):
        one = summary.iloc[at]
        y = rows["y"][rows["star"] == one["id"]]
        precision = n / 4 + 1 / 100
        # 400 independent draws of a Gaussian: their mean within 4.5 standard errors, once in 150 000.
        assert one["mu_mean"] == pytest.approx(y.sum() / 4 / precision, abs=4.5 / np.sqrt(400 * precision))
        assert one["mu_sd"] == pytest.approx(precision**-0.5, rel=4.5 / np.sqrt(800))
        assert one["twice_mean"] == pytest.approx(2 * one["mu_mean"])
    same = pd.read_parquet(tmp_path / "results" / "summary.parquet").drop(columns="reason")
    pd.testing.assert_frame_equal(same, summary.drop(columns="reason"), check_dtype=False)
    page = (tmp_path / "results" / "report.html").read_text()
    assert "4 of 4 data sets converged" in page
    assert str(tmp_path) not in page


@pytest.mark.long
def test_bad_data_sets_are_outcomes_of_their_own_and_once_mended_retry_computes_only_them(
    tmp_path: Path, lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = table((5, 7, 11, 5, 6))
    lines = long.splitlines()
    poisoned = "\n".join([lines[0], lines[1].rpartition(",")[0] + ",", *lines[2:]])
    empty = "\n".join("s1,," if line.startswith("s1,") else line for line in poisoned.splitlines())
    changes: dict[str, Any] = {"inputs": {"table": "stars.csv", "id": "star", "columns": ["x", "y"], "max_rows": 10}}
    path = write(tmp_path, data=empty + "\n", **changes, batch={"size": 5, "width": 2})
    assert lanewise("run", path)[0] == 2
    rows = load(path).summary.set_index("id")
    assert dict(rows["status"]) == {"s0": "failed", "s1": "failed", "s2": "failed", "s3": "ok", "s4": "ok"}
    assert "stars.csv, row 1 (star s0), column y: is missing; mend or remove it" in rows["reason"]["s0"]
    assert "stars.csv (star s1): is empty: no row has a value of x, y" in rows["reason"]["s1"]
    assert "stars.csv (star s2): has 11 rows, inputs.max_rows is 10" in rows["reason"]["s2"]
    whole = "\n".join(line for line in lines if not line.startswith("s2,5.0000")) + "\n"
    alone = write(
        tmp_path, data=whole, **changes, batch={"size": 5, "width": 2}, output={"url": str(tmp_path / "other")}
    )
    load(alone).run()
    for name in ("s3", "s4"):
        assert tree(tmp_path / "results" / name) == tree(tmp_path / "other" / name)
    asked: list[tuple[str, ...]] = []
    compute = Engine.run

    def noted(by: Engine, chunk: Chunk, *rest: Any) -> Any:
        asked.append(chunk.run_ids)
        return compute(by, chunk, *rest)

    monkeypatch.setattr(Engine, "run", noted)
    path = write(tmp_path, data=whole, **changes, batch={"size": 5, "width": 2})
    code, _, err = lanewise("run", path)
    assert (code, "the data of s0, s1, s2 have changed since chunk 0 was computed" in err) == (65, True), err
    code, out, _ = lanewise("retry", path)
    assert (code, "3 realizations tried again, 3 of them ok now; 5 ok are committed" in out) == (0, True), out
    assert tree(tmp_path / "results") == tree(tmp_path / "other")
    assert asked == [("s0", "s1", "s2")]
    assert load(path).run().reused == 1
    write(tmp_path, data=whole.replace("s4,0.0000", "s4,0.0001"), **changes, batch={"size": 5, "width": 2})
    code, _, err = lanewise("retry", path)
    assert (code, "the data of s4 have changed, whose results in chunk 0 are ok" in err) == (65, True), err


@pytest.mark.long
def test_an_edited_model_or_row_never_reuses_results_and_a_comment_does(tmp_path: Path) -> None:
    path = write(tmp_path, MEAN + "\nfrom own import WIDTH\n")
    (tmp_path / "own.py").write_text("WIDTH = 2.0\n")
    campaign = load(path)
    campaign.run()
    write(
        tmp_path,
        "\n# a comment\n"
        + MEAN.replace("model(data):", 'model(data):\n    """What it is."""')
        + "\nfrom own import WIDTH\n",
    )
    assert load(path).run().reused == 1
    (tmp_path / "own.py").write_text("WIDTH = 3.0\n")
    with pytest.raises(ResultsDiffer, match=r"config\.model\.sha256"):
        load(path).run()
    (tmp_path / "own.py").write_text("WIDTH = 2.0  # again\n")
    assert load(path).run().reused == 1
    data = (tmp_path / "stars.csv").read_text()
    (tmp_path / "stars.csv").write_text(data.replace("s2,0.0000", "s2,0.0001"))
    with pytest.raises(ResultsDiffer, match="the data of s2 have changed"):
        load(path).run()


def test_draws_of_elements_are_arrays_with_plates_as_dimensions() -> None:
    flat = {f"theta[school={k},{m}]": np.full((2, 5), 10.0 * k + m) for k in range(3) for m in range(2)}
    found = arrays({"mu": np.zeros((2, 5)), **flat, "school[0]": np.ones((2, 5))})
    assert {name: dims for name, (dims, _) in found.items()} == {
        "mu": (),
        # A plate that is called like a site cannot give its name to an axis.
        "theta": ("theta_dim_0", "theta_dim_1"),
        "school": ("school_dim_0",),
    }
    assert arrays(flat)["theta"][0] == ("school", "theta_dim_1")
    np.testing.assert_array_equal(found["theta"][1][1, 4], [[0, 1], [10, 11], [20, 21]])


@pytest.mark.slow
def test_sites_keep_their_names_shapes_and_plates(tmp_path: Path) -> None:
    model = """
    def model(data):
        share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
        with numpyro.plate("group", 2):
            mu = numpyro.sample("mu", dist.Normal(0, 10))
        root = numpyro.sample("root", dist.LKJCholesky(2))
        numpyro.factor("pull", -jnp.sum(root[1, 0] ** 2))
        numpyro.sample("y", dist.Normal(mu[0] + mu[1] * data["x"] + share[0], 1.0), obs=data["y"])
    """
    campaign = load(write(tmp_path, model, table((6,)), inference={"method": "importance"}, batch={"width": 1}))
    campaign.run()
    found = arviz.from_netcdf(tmp_path / "results" / "s0" / "posterior.nc").posterior
    assert found["share"].dims == ("chain", "draw", "share_dim_0")
    assert found["mu"].dims == ("chain", "draw", "group")
    assert found["root"].shape == (1, 2000, 2, 2)
    np.testing.assert_allclose(found["share"].sum("share_dim_0"), 1)
    root = found["root"].values
    np.testing.assert_allclose(np.sum(root**2, axis=-1), 1, rtol=1e-6)
    told = json.loads((tmp_path / "results" / "s0" / "convergence.json").read_text())
    assert set(told["ess"]) == {
        *(f"share[{k}]" for k in range(3)),
        "mu[group=0]",
        "mu[group=1]",
        "root[1,0]",
        "root[1,1]",
    }


@pytest.mark.long
def test_results_do_not_depend_on_chunks_neighbours_or_the_order_of_rows(tmp_path: Path) -> None:
    load(write(tmp_path)).run()
    rows = (tmp_path / "stars.csv").read_text().splitlines()
    turned = "\n".join([rows[0], *(line for star in (3, 1, 0) for line in rows if line.startswith(f"s{star},"))])
    load(write(tmp_path, data=turned, batch={"size": 1, "width": 2}, output={"url": str(tmp_path / "other")})).run()
    for name in ("s0", "s1", "s3"):
        assert tree(tmp_path / "results" / name) == tree(tmp_path / "other" / name)


@pytest.mark.slow
def test_workers_leave_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, batch={"size": 2, "width": 2})
    load(path).run()
    other = load(write(tmp_path, batch={"size": 2, "width": 2}, output={"url": str(tmp_path / "other")}))
    assert other.run(workers=2).all_ok
    assert tree(tmp_path / "results") == tree(tmp_path / "other")


def test_init_writes_a_first_campaign_that_is_valid_from_everywhere(
    tmp_path: Path, lanewise: Lanewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    assert lanewise("init", "model", "-o", "sub/first.yaml")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"sub", "first_model.py", "first_data.csv"}
    assert "model: ../first_model.py:model" in (tmp_path / "sub" / "first.yaml").read_text()
    (tmp_path / "first_model.py").write_text("x = 1\n")
    code, _, err = lanewise("init", "model", "-o", "again.yaml")
    assert (code, "has no 'model' at its top level" in err) == (65, True)
    (tmp_path / "first_model.py").unlink()
    code, out, err = lanewise("init", "model", "-o", "again.yaml")
    assert (code, err) == (0, ""), out
    assert "of 12" in lanewise("status", "again.yaml")[1]

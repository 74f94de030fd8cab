"""The whole evaluation: its JSON against the schema, its indifference to order, and extremes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from lanewise.errors import UsageError
from lanewise.families.shear.report.figures import figures
from lanewise.families.shear.report.page import render
from lanewise.families.shear.statistics.estimates import GaussianPrior
from lanewise.families.shear.statistics.results import BiasResults, evaluate
from lanewise.families.shear.statistics.selection import ShearTruth
from lanewise.manifest.manifest import Acceptance
from lanewise.report.page import Context
from lanewise.report.tables import to_json
from tables import MakeTable, Spoil, known

SCHEMA = json.loads((Path(__file__).parents[4] / "schemas" / "bias_results.schema.json").read_text("utf-8"))
PRIOR = GaussianPrior(0.0, 0.05)
LEVEL_0 = Acceptance(level="level_0")
CONTEXT = Context("extreme", "kind: shear\n", {"lanewise": "0.2.0", "jax": "0.7"})
MISSING = [ShearTruth(f"g1_+0.0900_g2_+0.0000_s{900 + i}", 0.09, 0.0, 900 + i) for i in range(2)]


def evaluated(
    table: pd.DataFrame, missing: Sequence[ShearTruth] = (), prior: GaussianPrior | None = PRIOR
) -> BiasResults:
    return evaluate(table, priors=(prior, prior), acceptance=LEVEL_0, missing=missing)


def valid(results: BiasResults) -> Any:
    """The JSON read back strictly, after the schema has agreed to it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(to_json(results), parse_constant=refuse)
    jsonschema.Draft7Validator(SCHEMA).validate(content)
    return content


def leaves(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, inner in {**node.get("properties", {}), **node.get("definitions", {})}.items():
        yield from leaves(inner, f"{path}/{name}")
    if "items" in node:
        yield from leaves(node["items"], f"{path}[]")
    if not {"properties", "items", "$ref", "anyOf"} & set(node):
        yield path, node


def test_written_json_is_valid(make_table: MakeTable, spoil: Spoil) -> None:
    content = valid(evaluated(spoil(make_table(n=20), [3]), MISSING))
    assert content["verdict"]["verdict"] == "INCONCLUSIVE"  # two are missing
    assert content["g1"]["m"]["value"] == pytest.approx(0, abs=4 * content["g1"]["m"]["error"])
    assert content["g2"]["m"] is None
    assert content["excluded"] == [
        {
            "run_id": "g1_+0.0100_g2_+0.0000_s45",
            "g1_true": 0.01,
            "g2_true": 0.0,
            "seed": 45,
            "status": "failed",
            "reason": "the image holds a NaN",
        }
    ]
    assert [t["seed"] for t in content["missing"]] == [900, 901]


def test_schema_describes_every_leaf_with_its_unit() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    found = dict(leaves(SCHEMA))
    assert len(found) > 50
    undescribed = [path for path, leaf in found.items() if not leaf.get("description")]
    numbers = [p for p, leaf in found.items() if {"number", "integer"} & {*np.atleast_1d(leaf.get("type", ""))}]
    assert undescribed == []
    assert len(numbers) > 30
    assert [path for path in numbers if not found[path].get("unit")] == []


def test_schema_refuses_a_key_it_does_not_know(make_table: MakeTable) -> None:
    content = valid(evaluated(make_table()))
    content["g1"]["mm"] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(content)


def test_order_of_rows_and_of_missing_changes_no_byte(make_table: MakeTable) -> None:
    table = make_table(n=20)
    shuffled = table.sample(frac=1, random_state=3)
    assert to_json(evaluated(shuffled, MISSING[::-1])) == to_json(evaluated(table, MISSING))


def test_table_read_from_its_csv_gives_the_same_bytes(make_table: MakeTable, spoil: Spoil, tmp_path: Path) -> None:
    table = spoil(make_table(n=20, g2=None), [3])
    table.to_csv(tmp_path / "summary.csv", index=False)
    assert to_json(evaluated(pd.read_csv(tmp_path / "summary.csv"))) == to_json(evaluated(table))


def test_points_count_what_was_planned(make_table: MakeTable, spoil: Spoil) -> None:
    results = evaluated(spoil(make_table(n=4), [0, 5]), MISSING)
    counted = [(p.g1_true, p.n_planned, p.n_used, p.n_excluded, p.n_missing) for p in results.points]
    assert counted == [(0.01, 4, 3, 1, 0), (0.02, 4, 3, 1, 0), (0.05, 4, 4, 0, 0), (0.09, 2, 0, 0, 2)]
    assert results.points[-1].g1 is None
    assert results.tally.excluded_frac == pytest.approx(4 / 14)
    assert [(s.status, s.n) for s in results.tally.statuses if s.n] == [("ok", 10), ("failed", 2)]


def test_arms_without_their_partner_leave_the_numbers_and_are_told(make_table: MakeTable, spoil: Spoil) -> None:
    """The numbers are those of the whole pairs alone; what a missing chunk took with it is no choice by shear."""
    table = make_table([-0.02, 0.02], 60)
    table["seed"] = [*range(60), *range(60)]
    missing = [ShearTruth(f"m{seed}", 0.02, 0.0, seed) for seed in range(10)]
    left = table.drop(index=range(60, 70))
    results = evaluated(left, missing)
    alone = evaluated(table.drop(index=[*range(10), *range(60, 70)]))
    for mine, other in ((results.g1, alone.g1), (results.g2, alone.g2)):
        assert mine is not None
        assert other is not None
        assert known(mine.c_lost) > 0
        assert replace(mine, m_lost=other.m_lost, c_lost=other.c_lost) == other
    counted = [(p.n_used, p.n_excluded, p.n_missing, p.n_unpaired) for p in results.points]
    assert counted == [(50, 10, 0, 10), (50, 0, 10, 0)]
    assert {e.reason for e in results.excluded} == {"Another arm of its pair or ring is missing."}
    told = {j.criterion: j.verdict for j in results.verdict.judgements if j.component is None}
    assert (told["completeness"], told.get("exclusion_by_shear")) == ("INVALID", None)
    failed = evaluated(spoil(table, [3]))
    assert [e.reason for e in failed.excluded] == [
        "the image holds a NaN",
        "Another arm of its pair or ring does not count.",
    ]


def test_point_mean_and_its_m(make_table: MakeTable) -> None:
    """A mean of four at g = 0.05, from the table by hand; λ is 1 − 4e-6 here, below the tolerance."""
    table = make_table(n=4)
    point = evaluated(table).points[2]
    mine = table[table["g1_true"] == 0.05]["g1_mean"]
    g1 = known(point.g1)
    assert g1.mean.value == pytest.approx(mine.mean(), rel=1e-5)
    assert g1.std == pytest.approx(mine.std(ddof=1), rel=1e-5)
    assert known(g1.m).value == pytest.approx(mine.mean() / 0.05 - 1, abs=1e-5)
    assert known(point.g2).m is None


def _extremes(make_table: MakeTable, spoil: Spoil) -> dict[str, tuple[pd.DataFrame, tuple[str, ...]]]:
    """Tables that no campaign should give, and the verdicts that are right for each."""
    table = make_table(n=8, g2=None)
    return {
        "empty": (table.iloc[:0], ("INVALID",)),
        "one row": (table.iloc[:1], ("PASS", "INCONCLUSIVE")),
        "all failed": (spoil(table, range(24)), ("INVALID",)),
        "zero widths": (table.assign(g1_std=0.0), ("PASS", "INCONCLUSIVE")),
        "zero widths, one row": (table.iloc[:1].assign(g1_std=0.0), ("INCONCLUSIVE",)),
        "noise-free": (make_table(n=8, noise=1e-9), ("PASS",)),
        "noise-free and exact": (make_table(n=8, noise=0.0), ("PASS",)),
        "one shear": (make_table((0.05,), 8), ("PASS",)),
        "no shear": (make_table((0.0,), 8), ("INCONCLUSIVE",)),
        "two components": (make_table(n=8), ("PASS",)),
        "no numbers": (table.assign(g1_mean=np.nan, g2_mean=np.nan), ("INVALID",)),
        "no widths": (table.assign(g1_std=np.nan), ("INVALID",)),
        "infinite means": (table.assign(g1_mean=np.inf, g2_mean=-np.inf), ("INVALID",)),
        "huge widths": (make_table(n=8, sigma=1e6), ("INVALID",)),
        "one seed": (table.assign(seed=7), ("INCONCLUSIVE",)),
        "one of each shear": (make_table(n=1, sigma=2e-5), ("INCONCLUSIVE",)),
        "no statuses": (
            table.assign(method_used=np.nan, reason=np.nan, ess_g1=np.nan, ess_g2=np.nan),
            ("PASS",),
        ),
    }


EXTREMES = (
    "empty",
    "one row",
    "all failed",
    "zero widths",
    "zero widths, one row",
    "noise-free",
    "noise-free and exact",
    "one shear",
    "no shear",
    "two components",
    "no numbers",
    "no widths",
    "infinite means",
    "huge widths",
    "one seed",
    "one of each shear",
    "no statuses",
)


@pytest.mark.long
@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_end_in_a_verdict_and_a_report(make_table: MakeTable, spoil: Spoil, name: str) -> None:
    table, verdicts = _extremes(make_table, spoil)[name]
    assert valid(evaluated(table, prior=None))["verdict"]["reasons"]
    results = evaluated(table)
    assert valid(results)["verdict"]["verdict"] in verdicts
    assert results.verdict.reasons
    page = render(results, table, figures(results, table), CONTEXT)
    assert f'<p class="word">{results.verdict.verdict.value}</p>' in page
    assert "nan" not in page.lower().replace("the image holds a nan", "")


def of_population(make_table: MakeTable, **planted: float) -> pd.DataFrame:
    """A summary of populations whose estimators have biases of their own."""
    table = make_table([-0.02, 0.02], 60, g2=None)
    table["seed"] = [*range(60), *range(60)]
    noise = np.random.default_rng(4).normal(scale=1e-4, size=120)
    for ending, m in planted.items():
        table[f"g1_{ending}"] = (1 + m) * table["g1_true"] + noise
    table["g1_expansion_std"] = table["g1_known_std"] = 1e-4
    table["g1_expansion_half"] = table["g1_expansion"] + 1e-3 * table["g1_true"]
    return table


def test_the_estimator_of_the_manifest_is_judged_and_the_others_are_compared(make_table: MakeTable) -> None:
    table = of_population(make_table, mean=0.01, expansion=0.03, known_mean=-0.02)
    for estimator, expected in (("posterior", 0.01), ("score", 0.03)):
        acceptance = Acceptance(max_abs_m=0.02, estimator=estimator)
        results = evaluate(table, priors=(PRIOR, None), acceptance=acceptance)
        content = valid(results)
        assert content["acceptance"]["estimator"] == estimator
        # The prior pulls the posterior alone, and its pull is removed there alone.
        assert content["g1"]["m"]["value"] == pytest.approx(expected, abs=2e-3)  # four errors
        assert (content["g1"]["shrinkage"] is None) == (estimator == "score")
        assert content["verdict"]["verdict"] == ("PASS" if expected < 0.02 else "FAIL")
        assert ("by the score at zero shear" in content["verdict"]["reasons"][0]) == (estimator == "score")
        others = {one["estimator"]: one for one in content["joint"]["others"]}
        truths = {"posterior": 0.01, "score": 0.03, "known": -0.02}
        assert set(others) == set(truths) - {estimator}
        for name, one in others.items():
            assert one["m"]["value"] == pytest.approx(truths[name], abs=2e-3)
            assert one["shift"]["value"] == pytest.approx(truths[name] - expected, abs=1e-4)
            # The noise is common: the difference has none, but for the posterior's λ̂.
            assert one["shift"]["jackknife"] < 0.01 * one["m"]["jackknife"]
        page = render(results, table, figures(results, table), CONTEXT)
        assert "m of g1, known distributions" in page
    (draws,) = content["joint"]["finite_draws"]
    assert draws["shift"]["value"] == pytest.approx(1e-3, abs=1e-6)


def test_a_score_that_the_summary_does_not_hold_cannot_be_judged(make_table: MakeTable) -> None:
    with pytest.raises(UsageError, match=r"no column g1_expansion, which acceptance.estimator: score needs"):
        evaluate(make_table(), priors=(PRIOR, PRIOR), acceptance=Acceptance(estimator="score"))

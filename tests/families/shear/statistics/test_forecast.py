"""How many realizations decide: from a verdict that is open, and from a pilot."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import jsonschema
import numpy as np
import pandas as pd
import pytest

from conftest import Lanewise, Write, load
from lanewise.families.shear import aggregate
from lanewise.families.shear.shears import TURNED
from lanewise.families.shear.statistics import forecast
from lanewise.families.shear.statistics.estimates import Estimates, GaussianPrior, estimates
from lanewise.families.shear.statistics.results import BiasResults, evaluate
from lanewise.families.shear.statistics.selection import ShearTruth
from lanewise.manifest import schema
from lanewise.manifest.manifest import Acceptance
from lanewise.operations.aggregate import text
from lanewise.operations.plan_summary import forecast_text
from lanewise.statistics.verdict import Verdict
from tables import MakeTable, Spoil, known

PRIOR = GaussianPrior(0.0, 0.05)


def results(table: pd.DataFrame, acceptance: Acceptance, per_count: int | None = 3) -> BiasResults:
    return evaluate(table, priors=(PRIOR, PRIOR), acceptance=acceptance, n_per_count=per_count)


def test_a_forecast_is_n_times_the_square_of_the_errors_ratio(make_table: MakeTable) -> None:
    """12 realizations at three shears: a third of the error needs 108, 96 more, 32 per shear."""
    found = results(make_table(g2=None), Acceptance())
    assert found.g1 is not None
    assert found.g1.m is not None
    sigma = known(found.g1.m.error)
    (one,) = forecast.of_results(found, sigma / 3, 3)
    assert (one.n, one.n_needed, one.count, one.sigma_m) == (12, 108, 32, sigma)
    (enough,) = forecast.of_results(found, 2 * sigma, 3)
    assert enough.count == 0
    assert "--count 32" in forecast_text([one, enough], "m.yaml")
    assert "extend" not in forecast_text([enough], "m.yaml")


def test_a_forecast_of_populations_tells_galaxies_and_time(make_table: MakeTable) -> None:
    found = results(make_table(g2=None), Acceptance())
    sigma = known(known(known(found.g1).m).error)
    (one,) = forecast.of_results(found, sigma / 3, 3, galaxies_each=1000)
    assert (one.n_needed, one.galaxies) == (108, 108_000)
    told = forecast_text([replace(one, seconds=7200.0)], "m.yaml")
    assert "about 108 in total (1.1 × 10⁵ images of galaxies, 2.0 h in one container) bring it to" in told
    (single,) = forecast.of_results(found, sigma / 3, 3)
    assert "galaxies" not in forecast_text([single], "m.yaml")


def test_what_is_still_to_come_is_not_asked_for_again(make_table: MakeTable) -> None:
    """Of 15 that are planned 12 are computed: a third of their error needs 108, of which 93 are not planned."""
    table = make_table(g2=None)
    absent = [ShearTruth(f"later{seed}", g, 0.0, seed) for seed, g in ((90, 0.01), (91, 0.02), (92, 0.05))]
    found = evaluate(table, priors=(PRIOR, PRIOR), acceptance=Acceptance(), missing=absent)
    sigma = known(known(known(found.g1).m).error)
    (one,) = forecast.of_results(found, sigma / 3, 3)
    assert (one.n, one.n_needed, one.count) == (12, 108, 31)


def test_an_open_verdict_says_how_to_close_it(make_table: MakeTable, spoil: Spoil) -> None:
    """Of 12 that are planned 11 count: the 12/11 that are lost are asked for, too."""
    table = spoil(make_table(g2=None), [0])
    m = known(known(results(table, Acceptance(max_abs_m=1.0)).g1).m)
    bound = abs(m.value) + 2 * known(m.error)
    found = results(table, Acceptance(max_abs_m=bound, max_excluded_frac=0.1))
    assert found.verdict.verdict is Verdict.INCONCLUSIVE
    needed = math.ceil(11 * (3 / 2) ** 2)
    assert found.verdict.n_needed == needed
    assert found.verdict.extend_count == math.ceil((needed - 11) * 12 / 11 / 3)
    assert f"lanewise extend m.yaml --count {found.verdict.extend_count}" in text(aggregate.concluded(found), "m.yaml")
    assert results(table, Acceptance(max_abs_m=bound), None).verdict.extend_count is None


@pytest.mark.parametrize(
    ("acceptance", "m", "c"),
    [
        (Acceptance(requirement="lsst"), 1e-3, 1e-4),
        (Acceptance(requirement="desc"), 2e-3, None),
        (Acceptance(requirement="euclid"), 2e-3, 5e-4),
        (Acceptance(requirement="euclid", max_abs_m=0.1), 0.1, 5e-4),
        (Acceptance(requirement="desc", level="level_0"), 2e-3, None),
    ],
)
def test_requirements_are_bounds_by_name_and_numbers_outrank_them(
    make_table: MakeTable, acceptance: Acceptance, m: float, c: float | None
) -> None:
    bounds = results(make_table(), acceptance).acceptance
    assert (bounds.max_abs_m, bounds.max_abs_c) == (m, c)


def test_a_pilot_tells_the_command_that_brings_the_target(write: Write, lanewise: Lanewise) -> None:
    path = write(shear={"grid": [0.01, 0.05]}, realizations={"count": 3}, batch={"size": 6, "width": 4})
    code, _, err = lanewise("plan", path, "--target-sigma-m", "1e-3")
    assert code == 64
    assert "run a pilot first" in err
    assert lanewise("run", path)[0] == 0
    code, out, _ = lanewise("plan", path, "--target-sigma-m", "1e-3", "--json")
    content = json.loads(out)
    jsonschema.Draft7Validator(schema.load("plan")).validate(content)
    (need,) = content["forecast"]
    assert need["n_needed"] == pytest.approx(6 * (need["sigma_m"] / 1e-3) ** 2, abs=1)
    assert need["count"] == math.ceil((need["n_needed"] - 6) / 2)
    assert need["galaxies"] == need["n_needed"]
    assert need["seconds"] == pytest.approx(content["cost"]["seconds_each"] * need["n_needed"])
    _, out, _ = lanewise("plan", path, "--target-sigma-m", "1e-3")
    assert f"next: lanewise extend {path} --count {need['count']} && lanewise run {path}" in out
    # What the verdict asks for and what the pilot tells are the same kind of number.
    judged = aggregate.evaluated(load(path).record, load(path).summary)
    assert judged.tally.n_planned == 6


@pytest.mark.parametrize("shapes", [0.0, 0.1])
def test_a_pilot_of_rings_of_pairs_tells_what_less_sharing_costs(shapes: float) -> None:
    """Images have the variance shape² + s²; noise of correlation .8 in a pair, and shapes that cancel in a ring."""
    n, g, own, common = 4000, 0.05, 0.02, 0.04
    rng = np.random.default_rng(3)
    sign, turn = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    shape, shared = rng.normal(0, shapes, (n, 1)), rng.normal(0, common, (n, 1))
    value = (g * sign + shape * turn + shared + rng.normal(0, own, (n, 4))).ravel()
    seed = np.repeat(np.arange(n), 4)
    run_id = np.array([f"s{s}{TURNED if t < 0 else ''}" for s in range(n) for t in turn])
    nothing = np.full(4 * n, np.nan)
    data = Estimates(
        run_id=run_id, seed=seed, truth=np.tile(g * sign, n), value=value, width=nothing, raw=value, raw_width=nothing,
        shrinkage=None, response=None, half=nothing, half_width=nothing,
    )  # fmt: skip
    found = forecast.relative_variances(data)
    # Of a sum Σ ± value, per image: what is shared cancels between ±g, and shapes between e and −e.
    expected = {
        "plain": own**2 + common**2 + shapes**2,
        "pairs": own**2,
        "rings": own**2 + 2 * common**2,
        "pairs in rings": own**2,
    }
    for name, variance in expected.items():
        # Four standard errors of a ratio of two variances of n groups: 4 √(2 · 2/n).
        assert found[name] == pytest.approx(variance / own**2, rel=4 * math.sqrt(4 / n)), name


def test_a_pilot_without_partners_tells_of_its_own_design_only(make_table: MakeTable) -> None:
    data = estimates(make_table(g2=None), "g1", PRIOR)
    assert list(forecast.relative_variances(data)) == ["plain"]

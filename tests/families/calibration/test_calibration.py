"""Ranks and coverage: exact where the posterior is, and what a wrong one looks like."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import CALIBRATED, Lanewise, Write, load
from families.shear.report.test_page import missing_numbers, shown_numbers
from lanewise.errors import ManifestError
from lanewise.families.calibration.ranks import Ranks, n_ranks, thinned
from lanewise.families.calibration.report import render
from lanewise.families.calibration.results import FEWEST, CalibrationResults, evaluate
from lanewise.manifest import schema
from lanewise.manifest.manifest import Acceptance
from lanewise.report.page import Context
from lanewise.report.tables import to_json
from lanewise.statistics import uniformity
from lanewise.statistics.verdict import Verdict


def judged(rank: np.ndarray, depth: int = 96, acceptance: Acceptance | None = None) -> CalibrationResults:
    """A campaign with one latent and one likelihood of the same ranks."""
    n = len(rank)
    table = pd.DataFrame({"run_id": [f"r{i}" for i in range(n)], "seed": range(n), "g1": rank, "log_likelihood": rank})
    summary = table[["run_id", "seed"]].assign(status="ok", reason="", g1_true=0.0, g2_true=0.0)
    return evaluate(summary, Ranks(depth, table), acceptance=acceptance or Acceptance())


def ranks_of(width: float, offset: float, n: int, depth: int = 96, seed: int = 1) -> np.ndarray:
    """Ranks among draws of a Gaussian posterior `width` times as wide as it should be, `offset` σ off."""
    random = np.random.default_rng(seed)
    truth = random.standard_normal(n)
    draws = offset + width * random.standard_normal((n, depth - 1))
    ranks: np.ndarray = (draws < truth[:, None]).sum(axis=1)
    return ranks


@pytest.mark.parametrize(("n", "published"), [(100, 0.0045), (250, 0.0030)])
def test_bands_hold_uniform_values_everywhere_with_95_percent(n: int, published: float) -> None:
    """4000 campaigns: 5 % leave the bands, ± 0.34 %; the bounds are 4 σ. The published γ leave 5 ± 1 %."""
    shares = np.random.default_rng(2).random((4000, n))
    below = np.stack([np.cumsum(np.histogram(row, bins=100, range=(0, 1))[0])[:-1] for row in shares])
    low, high = uniformity.limits(n, 100, uniformity.band(n, 100))
    left = np.mean(np.any((below < low) | (below > high), axis=1))
    assert left == pytest.approx(0.05, abs=0.014)
    assert uniformity.outside(n, 100, published) == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("steps", [16, 48, 96])
def test_bands_of_one_value_end_where_five_percent_of_its_places_are_outside(steps: int) -> None:
    """Below k/steps or above 1 − k/steps lie 2 k of the places: the largest k with 2 k/steps ≤ 5 %; found to 0.1 %."""
    k = steps // 40
    assert uniformity.band(1, steps) == pytest.approx(2 * (k + 1) / steps, rel=2e-3)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_campaigns_of_a_few_realizations_are_undecided(n: int) -> None:
    assert judged(ranks_of(1, 0, n)).verdict.verdict is Verdict.INCONCLUSIVE


def test_p_of_the_ecdf_is_uniform_for_uniform_ranks() -> None:
    """500 campaigns of 60 ranks: shares below 1, 5, 20 and 50 %, within 4 σ; ties make p conservative, never less."""
    random = np.random.default_rng(3)
    p = np.array([uniformity.ecdf_p(random.integers(0, 32, 60), 32, 32) for _ in range(500)])
    for level in (0.01, 0.05, 0.2, 0.5):
        sigma = np.sqrt(level * (1 - level) / 500)
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * sigma), level


def test_p_of_the_ecdf_has_no_floor_at_the_rounding_of_one() -> None:
    """All of 100 ranks in the lowest tenth: the worst place alone has .1^100."""
    p = uniformity.ecdf_p(np.arange(100) % 8, 80, 80)
    assert 1e-101 < p < 1e-98


def test_clopper_pearson_is_the_interval_of_the_binomial_tails() -> None:
    low, high = uniformity.clopper_pearson(68, 100)
    assert stats.binom.sf(67, 100, low) == pytest.approx(0.025, rel=1e-9)
    assert stats.binom.cdf(68, 100, high) == pytest.approx(0.025, rel=1e-9)
    assert uniformity.clopper_pearson(0, 10)[0] == 0
    assert uniformity.clopper_pearson(10, 10)[1] == 1


@pytest.mark.parametrize(("ess", "depth"), [(5, 16), (100, 96), (159, 160), (4000, 256)])
def test_ranks_are_as_many_as_independent_draws(ess: float, depth: int) -> None:
    assert n_ranks(ess) == depth
    assert depth % uniformity.n_bins(300, depth) == depth % uniformity.n_steps(depth) == 0


def test_thinned_draws_come_from_all_chains_at_equal_distances() -> None:
    assert thinned(np.arange(12).reshape(3, 4), 6).tolist() == [1, 3, 5, 7, 9, 11]


def test_an_exact_posterior_passes_and_covers() -> None:
    """p is uniform: a fixed seed that passes is no miracle. Coverage within 4 σ of its exact nominal value."""
    results = judged(ranks_of(1, 0, 2000))
    assert results.verdict.verdict is Verdict.PASS
    for cover in results.quantities[0].coverage:
        sigma = np.sqrt(cover.nominal * (1 - cover.nominal) / 2000)
        assert cover.nominal == pytest.approx(cover.level, abs=1 / 96)
        assert abs(cover.value - cover.nominal) < 4 * sigma
        assert cover.low < cover.nominal < cover.high
    assert results.quantities[1].coverage == ()


@pytest.mark.parametrize(("width", "offset"), [(0.5, 0), (2, 0), (1, 0.6)])
def test_a_wrong_posterior_fails_at_the_fewest_realizations(width: float, offset: float) -> None:
    """What `FEWEST` promises: nearly every campaign of 100 finds a width wrong by two, or an offset of 0.6 σ."""
    found = [judged(ranks_of(width, offset, FEWEST, seed=seed)).verdict.verdict for seed in range(40)]
    assert found.count(Verdict.FAIL) >= 38


def test_too_few_realizations_decide_nothing_but_a_gross_fault() -> None:
    few = judged(ranks_of(1, 0, 50))
    assert (few.verdict.verdict, few.verdict.n_needed) == (Verdict.INCONCLUSIVE, FEWEST)
    assert judged(ranks_of(0.2, 0, 50)).verdict.verdict is Verdict.FAIL


def test_a_grid_of_shears_fails_even_an_exact_posterior() -> None:
    """Truths at ±.01, ±.02, ±.05 under a prior of .05: ranks crowd in the middle, and "68 %" covers far more."""
    random, sigma, prior = np.random.default_rng(4), 0.1, 0.05
    truth = np.resize([0.01, -0.01, 0.02, -0.02, 0.05, -0.05], 600)
    data = truth + sigma * random.standard_normal(600)
    lam = prior**2 / (prior**2 + sigma**2)
    draws = lam * data[:, None] + np.sqrt(lam) * sigma * random.standard_normal((600, 95))
    results = judged((draws < truth[:, None]).sum(axis=1))
    assert results.quantities[0].p < 1e-4
    assert results.quantities[0].coverage[1].value > 0.78


def test_the_bound_is_the_manifests() -> None:
    rank = ranks_of(0.8, 0, 400)
    corrected = min(1.0, 2 * judged(rank).quantities[0].p)
    assert 1e-12 < corrected < 0.01
    assert judged(rank, acceptance=Acceptance(rank_p_min=corrected / 2)).verdict.verdict is Verdict.PASS
    assert judged(rank, acceptance=Acceptance(rank_p_min=corrected * 2)).verdict.verdict is Verdict.FAIL


def test_json_is_as_its_schema_says() -> None:
    content = json.loads(to_json(judged(ranks_of(1, 0, 120))))
    jsonschema.Draft7Validator(schema.load("calibration_results")).validate(content)
    assert sum(content["quantities"][0]["counts"]) == 120


def test_every_number_of_the_report_is_in_the_json() -> None:
    results = judged(ranks_of(1, 0, 150))
    summary = pd.DataFrame({"method_used": ["nuts"] * 150})
    context = Context("calibration", "kind: calibration\n", {"lanewise": "0.1.0"})
    html = render(results, summary, {}, context)
    content = json.loads(to_json(results))
    assert len(shown_numbers(html)) > 40
    # Counted from the table, from the tests, and L, one less than the ranks.
    told = {"nuts": 150, "quantities": len(results.quantities), "L": results.n_ranks - 1, "dof": results.n_bins - 1}
    assert missing_numbers(html, content, told) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "calibration"}, "shear: kind calibration draws g from the config's prior"),
        ({"acceptance": {"rank_p_min": 0.01}}, "acceptance.rank_p_min: ranks and coverage need g and every latent"),
        ({"kind": "calibration", "shear": ..., "acceptance": {"max_abs_m": 0.1}}, "m needs true shears"),
        ({"kind": "calibration", "shear": ...}, "map leaves no draws"),
        ({"kind": "calibration", "shear": ..., "config__image__noise__simulated": False}, "without noise no posterior"),
        ({"kind": "calibration", "shear": ..., "config__simulation": {"truths": "central"}}, "set drawn"),
        ({"config__simulation": {"truths": "drawn"}, "kind": "calibration"}, "shear: kind calibration draws g"),
    ],
)
def test_ranks_on_a_grid_are_refused_with_the_reason(write: Write, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        load(write(**changes))


def test_a_campaign_ranks_every_latent_and_the_likelihood(write: Write, lanewise: Lanewise, tmp_path: Path) -> None:
    path = write(
        kind="calibration",
        shear=...,
        realizations={"count": 6, "base_seed": 7},
        config=CALIBRATED,
        batch__width=1,
        convergence={"ess_min": 20},
    )
    campaign = load(path)
    assert campaign.run().all_ok
    code, out, err = lanewise("aggregate", path, "--strict")
    assert (code, err) == (4, ""), out
    assert "INCONCLUSIVE" in out
    results = json.loads((tmp_path / "results" / "stats" / "calibration_results.json").read_text())
    jsonschema.Draft7Validator(schema.load("calibration_results")).validate(results)
    names = ["g1", "g2", "flux", "x", "y", "log_likelihood"]
    assert [q["quantity"] for q in results["quantities"]] == names
    ranks = pd.read_csv(tmp_path / "results" / "stats" / "ranks.csv")
    assert list(ranks.columns) == ["run_id", "seed", *names]
    assert ranks[names].min().min() >= 0
    assert ranks[names].max().max() < results["n_ranks"] == 16
    page = (tmp_path / "results" / "report.html").read_text()
    assert "INCONCLUSIVE" in page
    # The likelihood at the truth is among those of the draws, not beyond all of them.
    assert 0 < ranks["log_likelihood"].mean() < 15
    truth = json.loads((tmp_path / "results" / ranks["run_id"][0] / "truth.json").read_text())
    assert truth["seed"] == 7
    assert truth["flux"] != 1.0

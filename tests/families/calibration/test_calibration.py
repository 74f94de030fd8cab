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
from lanewise.families.calibration.ranks import Ranks, among_even, thinned
from lanewise.families.calibration.report import render
from lanewise.families.calibration.results import FEWEST, CalibrationResults, evaluate
from lanewise.families.calibration.sizing import margin_of, n_needed, n_ranks
from lanewise.families.shear.population.ensemble import Posterior
from lanewise.manifest import schema
from lanewise.manifest.manifest import Acceptance, Realizations
from lanewise.report.page import Context
from lanewise.report.tables import to_json
from lanewise.statistics import coverage, uniformity
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
    (low, none, _), (high, _, every) = coverage.interval(np.array([68, 0, 100]), 100)
    assert stats.binom.sf(67, 100, low) == pytest.approx(0.025, rel=1e-9)
    assert stats.binom.cdf(68, 100, high) == pytest.approx(0.025, rel=1e-9)
    assert (none, every) == (0, 1)


@pytest.mark.parametrize(("ess", "depth"), [(5, 16), (100, 96), (159, 160), (4000, 256)])
def test_ranks_are_as_many_as_independent_draws(ess: float, depth: int) -> None:
    assert n_ranks(ess) == depth
    assert depth % uniformity.n_bins(300, depth) == depth % uniformity.n_steps(depth) == 0


@pytest.mark.parametrize("depth", [16, 256])
def test_ranks_among_the_even_draws_of_a_population_are_uniform(depth: int) -> None:
    axis = np.linspace(-5, 5, 65)
    draws = Posterior((axis, axis), -(axis[:, None] ** 2 + axis**2) / 2, ()).draws(1000)
    truths = np.random.default_rng(1).normal(size=(10_000, 2))
    for at in (0, 1):
        found = np.array([among_even(draws[:, at], truth, depth) for truth in truths[:, at]])
        assert stats.chisquare(np.bincount(found // (depth // 16), minlength=16)).pvalue > 1e-4


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
    found = [judged(ranks_of(width, offset, FEWEST, seed=seed)).verdict.verdict for seed in range(20)]
    assert found.count(Verdict.FAIL) >= 19


def test_too_few_realizations_decide_nothing_but_a_gross_fault() -> None:
    few = judged(ranks_of(1, 0, 50))
    assert few.verdict.verdict is Verdict.INCONCLUSIVE
    assert few.verdict.n_needed == margin_of(Acceptance(), 96).n_needed(0.9) > 250
    assert judged(ranks_of(0.2, 0, 50)).verdict.verdict is Verdict.FAIL


@pytest.mark.parametrize(("width", "offset"), [(1.4, 0), (1.25, 0), (0.8, 0), (1, 0.6)])
@pytest.mark.parametrize(("n", "tried"), [(100, 30), pytest.param(448, 60, marks=pytest.mark.slow)])
def test_a_wrong_posterior_passes_no_more_often_than_is_said(n: int, tried: int, width: float, offset: float) -> None:
    """With 100 realizations, 36 % of the campaigns with widths 1.4 times too wide passed."""
    found = [judged(ranks_of(width, offset, n, seed=seed)) for seed in range(tried)]
    (said,) = [one.p_pass for one in found[0].departures if (one.width, one.offset) == (width, offset)]
    n_passed = sum(one.verdict.verdict is Verdict.PASS for one in found)
    assert n_passed <= stats.binom.isf(1e-4, tried, said)
    assert said < 0.03 or (n, width) == (100, 1.0)


def test_calibrated_posteriors_pass_at_the_planned_number() -> None:
    """One latent: 90 % show its coverage, of which 2 % fail by p < .01 of two equal tests; 4 σ below."""
    n = n_needed(margin_of(Acceptance(), 96), 1)
    found = [judged(ranks_of(1, 0, n, seed=seed)).verdict.verdict for seed in range(30)]
    share = found.count(Verdict.PASS) / 30
    assert share > 0.88 - 4 * np.sqrt(0.88 * 0.12 / 30)


@pytest.mark.parametrize(("margin", "n_published"), [(0.05, 1100), (0.1, 280)])
def test_the_planned_number_is_that_of_the_normal_approximation(margin: float, n_published: int) -> None:
    """(1.96 + 1.645)² .68 · .32 / margin²; whole counts and exact intervals add a little."""
    needed = margin_of(Acceptance(coverage_margin=margin), 256).n_needed(0.9)
    assert n_published < needed < 1.1 * n_published


def test_looking_again_at_an_extended_campaign_passes_no_wrong_coverage() -> None:
    """Posteriors whose coverage is at the edge of the margin, looked at ten times: at 95 % each time, 9 % passed."""
    random, depth, tried = np.random.default_rng(8), 256, 2000
    sizes = [300 * 2**k for k in range(6)]
    margin = margin_of(Acceptance(), depth)
    hits = (random.random((tried, sizes[-1])) < margin.nominal + margin.margin).astype(np.int64)
    inside = np.cumsum(hits, axis=1)
    passed = np.zeros(tried, bool)
    for looks, n in enumerate(sizes):
        asked = Realizations(count=300, extensions=tuple(300 * 2**k for k in range(looks)))
        high = coverage.interval(inside[:, n - 1], n, margin_of(Acceptance(), depth, asked).level)[1]
        passed |= high <= margin.nominal + margin.margin
    assert passed.mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / tried)


def test_a_manifest_says_whether_its_number_can_show_the_coverage(write: Write) -> None:
    changes: dict[str, object] = {"kind": "calibration", "shear": ..., "config": CALIBRATED}
    few = load(write(**changes, realizations={"count": 256, "base_seed": 1}))
    assert any("256 show a coverage within ± 10 % of 69 % for all 5 latents in" in remark for remark in few.remarks)
    enough = load(write(**changes, realizations={"count": 448, "base_seed": 1}))
    assert not any("show a coverage" in remark for remark in enough.remarks)


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

    def verdict(p_min: float, margin: float) -> Verdict:
        return judged(rank, acceptance=Acceptance(rank_p_min=p_min, coverage_margin=margin)).verdict.verdict

    assert verdict(corrected / 2, 0.25) is Verdict.PASS
    assert verdict(corrected * 2, 0.25) is Verdict.FAIL
    assert verdict(corrected / 2, 0.01) is Verdict.FAIL


def test_json_is_as_its_schema_says() -> None:
    content = json.loads(to_json(judged(ranks_of(1, 0, 120))))
    jsonschema.Draft7Validator(schema.load("calibration_results")).validate(content)
    assert sum(content["quantities"][0]["counts"]) == 120


def test_every_number_of_the_report_is_in_the_json() -> None:
    results = judged(ranks_of(1, 0, 150))
    summary = pd.DataFrame({"method_used": ["nuts"] * 150})
    context = Context("calibration", "kind: calibration\n", {"lanewise": "0.2.0"})
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

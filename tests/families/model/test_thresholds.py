"""Thresholds of single sites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Lanewise, load
from families.model.campaigns import table, write
from lanewise.manifest.manifest import Convergence, SiteConvergence

LINE = """
def model(data):
    slope = numpyro.sample("slope", dist.Normal(0, 10))
    level = numpyro.sample("level", dist.Normal(jnp.zeros(2), 10).to_event(1))
    numpyro.sample("y", dist.Normal(level[0] + slope * data["x"], 2.0), obs=data["y"])
"""
NUTS = {"method": "nuts", "nuts_config": {"warmup": 100, "samples": 100, "chains": 2}}


def test_a_site_has_the_threshold_of_every_latent_but_for_its_own() -> None:
    found = Convergence(ess_min=100, sites=(("theta", SiteConvergence(rhat_max=1.01)),))
    assert (found.rhat_max_of("theta[school=2]"), found.ess_min_of("theta[school=2]")) == (1.01, 100)
    assert (found.rhat_max_of("theta2"), found.rhat_max_of("mu")) == (1.05, 1.05)
    assert "sites" not in Convergence().content  # or every campaign's identity would change


@pytest.mark.long
@pytest.mark.parametrize(("method", "reason"), [(NUTS, r"of slope is \d+"), ({"method": "laplace"}, r"size is 2e\+03")])
def test_a_site_that_misses_its_own_threshold_is_told(
    method: dict[str, object], reason: str, tmp_path: Path, lanewise: Lanewise
) -> None:
    own = {"ess_min": 1, "rhat_max": 2, "sites": {"slope": {"ess_min": 100000}}}
    path = write(tmp_path, LINE, table((5, 5)), inference=method, convergence=own, batch={"size": 4, "width": 2})
    assert lanewise("run", path)[0] == 2
    campaign = load(path)
    campaign.aggregate()
    assert set(campaign.summary["status"]) == {"not_converged"}
    for text in campaign.summary["reason"]:
        assert re.search(reason, text), text
        assert "the minimum is 100000" in text
        assert "level" not in text
    code, _, err = lanewise("run", path, "--set", "convergence.sites.slope.ess_min=1")
    assert (code, "convergence.sites.slope.ess_min: the results have 100000.0" in err) == (65, True), err


@pytest.mark.long
def test_the_report_says_the_thresholds(tmp_path: Path) -> None:
    campaign = load(write(tmp_path, LINE, table((5, 5)), convergence={"sites": {"level": {"ess_min": 50}}}))
    assert campaign.run().all_ok
    campaign.aggregate()
    page = (tmp_path / "results" / "report.html").read_text()
    assert "size ≥ 100 for every latent, but for level effective sample size ≥ 50." in page


def test_a_site_that_is_not_there_is_told(tmp_path: Path, lanewise: Lanewise) -> None:
    code, _, err = lanewise("validate", write(tmp_path, convergence={"sites": {"mv": {"ess_min": 50}}}))
    assert (code, "convergence.sites.mv: the model has no latent 'mv'; known are mu" in err) == (65, True), err


@pytest.mark.long
def test_a_reason_names_a_few_latents_and_counts_the_others(tmp_path: Path) -> None:
    many = LINE.replace("jnp.zeros(2)", "jnp.zeros(9)")
    campaign = load(write(tmp_path, many, table((5, 5)), inference=NUTS, convergence={"ess_min": 100000}))
    campaign.run()
    reason = campaign.summary["reason"][0]
    assert reason.count("the minimum is 100000") == 6
    assert "the effective sample size of 4 more latents misses its limit" in reason

"""A bent posterior: what each method makes of it, and where `auto` ends."""

from __future__ import annotations

from typing import Any

import pytest

import gaussian
from banana import BananaProblem
from conftest import Write, load
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.manifest.status import LaneStatus

SETTINGS: dict[str, Any] = {
    "hmc_config": {"samples": 600, "chains": 4},
    "nuts_config": {"warmup": 200, "samples": 600, "chains": 2},
}


# Bent by half a width at one standard deviation, as far as fixed steps go; and by three, where no tangent is any use.
SLIGHTLY, STRONGLY = BananaProblem(0.25), BananaProblem(1.5)


def _run(write: Write, problem: BananaProblem, method: str, **changes: Any) -> list[Result]:
    inference = {"method": method, "precision": "float64", **SETTINGS, **changes}
    campaign = load(write(config__inference=inference, realizations__count=1, batch__width=2, batch__size=2))
    engine = Engine(campaign.manifest, campaign.plan, observe=gaussian.observe, problem=problem)
    return engine.run(campaign.plan.chunks[0])


def _assert_moments(result: Result) -> None:
    """Means are 0; widths in closed form."""
    found = result.diagnostics
    for name, width in SLIGHTLY.widths.items():
        error, error_width = found.mcse_mean[name], found.mcse_sd[name]
        assert error is not None
        assert error_width is not None
        assert error < 0.08 * width
        # Five of its own Monte Carlo errors.
        assert abs(result.posterior[name].mean()) < 5 * error
        assert abs(result.posterior[name].std() - width) < 5 * error_width


@pytest.mark.parametrize("method", ["laplace", "importance"])
def test_a_bent_posterior_is_not_believed_of_its_tangent(write: Write, method: str) -> None:
    for result in _run(write, STRONGLY, method):
        assert result.status is LaneStatus.NOT_CONVERGED
        assert "k̂ of the weights is" in result.reason
        assert result.posterior


@pytest.mark.long
def test_auto_hands_on_what_importance_does_not_settle(write: Write) -> None:
    for result in _run(write, SLIGHTLY, "auto", auto_config={"khat_max": 0.01}):
        assert result.status is LaneStatus.OK, result.reason
        assert result.method == "hmc"
        assert result.diagnostics.ess_kind == "bulk"
        _assert_moments(result)


@pytest.mark.long
def test_auto_ends_with_nuts(write: Write) -> None:
    # Steps twice as long as the posterior is wide: trajectories are unstable, and hmc does not converge.
    for result in _run(
        write,
        SLIGHTLY,
        "auto",
        auto_config={"khat_max": 0.01},
        hmc_config={"step_size": 1.99, "samples": 50, "jitter": 0.0},
    ):
        assert result.method == "nuts"
        assert result.status is LaneStatus.OK, result.reason
        _assert_moments(result)

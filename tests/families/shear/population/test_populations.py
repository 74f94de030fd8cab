"""Populations through the engine, on small stamps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lanewise
from conftest import SCENE, Write
from lanewise.engine.results import Result
from lanewise.errors import ManifestError
from lanewise.families.shear import aggregate
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.population import galaxies, membership
from lanewise.families.shear.population.nodes import Nodes
from lanewise.families.shear.statistics import selection, validity
from lanewise.manifest.manifest import Acceptance
from lanewise.manifest.plan import Single
from lanewise.manifest.problem import Members
from lanewise.manifest.status import LaneStatus
from lanewise.operations import plan_summary
from lanewise.statistics.verdict import Verdict
from lanewise.storage import commits
from lanewise.storage.checkpoints import Policy
from lanewise.storage.store import Store

PRIOR = 0.06
SHEAR = {name: {"type": "Normal", "mean": 0.0, "sigma": PRIOR} for name in ("g1", "g2")}
POPULATION: dict[str, Any] = {
    **SCENE,
    "gal": {
        **SCENE["gal"],
        "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.1},
        "position": {"type": "Normal", "sigma": 0.5},
        "shear": SHEAR,
    },
    "population": {"galaxies": 12, "ellipticity": {"type": "BernsteinArmstrong", "sigma": 0.1}, "half_width": 0.2},
    "inference": {"method": "importance", "importance_config": {"samples": 64}},
}


LOG_NORMAL = {"type": "LogNormal", "mean": 0.1, "sigma": 0.2}


def changed(**changes: Any) -> dict[str, Any]:
    return {**POPULATION, "population": {**POPULATION["population"], **changes}}


def tabulated(**changes: Any) -> dict[str, Any]:
    """The scene with a table of ellipticities, of width .17 per component."""
    table = {"type": "Table", "e": [0.1, 0.2, 0.3, 0.5], "density": [1.0, 2.0, 1.0, 0.1], **changes}
    return changed(ellipticity=table)


def drawn(config: dict[str, Any], g1: float, name: str = "a") -> galaxies.Galaxies:
    """The galaxies of a realization."""
    found = galaxies.observe(shear_config.parse(config), Single(name, 7, {"g1": g1, "g2": 0.0})).members
    assert isinstance(found, galaxies.Galaxies)
    return found


def image(of: galaxies.Galaxies, number: int) -> np.ndarray:
    data = of[number]
    assert data is not None
    return data["image"]


def committed(campaign: lanewise.Campaign) -> dict[str, Result]:
    """The results of a campaign by run id."""
    record = campaign.record
    found = record.survey([chunk.index for chunk in record.plan.chunks])[0]
    every = [one for index in found for one in commits.load_results(record.store, found[index])]
    return {one.run_id: one for one in every if isinstance(one, Result)}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> lanewise.Campaign:
    """Two pairs of populations, carried out."""
    import yaml

    from conftest import MANIFEST

    folder = tmp_path_factory.mktemp("paired")
    shear = {"grid": [0.02], "paired": True}
    content = {**MANIFEST, "config": POPULATION, "shear": shear, "output": {"url": str(folder / "results")}}
    path: Path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    found = lanewise.load(str(path))
    found.run()
    return found


@pytest.fixture(scope="module")
def paired(campaign: lanewise.Campaign) -> dict[str, Result]:
    return committed(campaign)


@pytest.mark.long
def test_a_pair_shares_galaxies_noise_and_draws(paired: dict[str, Result]) -> None:
    plus, minus = paired["g1_+0.0200_g2_+0.0000_s42"], paired["g1_-0.0200_g2_+0.0000_s42"]
    assert {plus.status, minus.status} == {LaneStatus.OK}
    difference, each = (float(np.mean(one.posterior["g1"])) for one in (plus, minus)), plus.width("g1")
    first, second = difference
    # Unpaired, the error of this slope would be √2 σ_g / .04.
    assert each is not None
    assert np.sqrt(2) * each / 0.04 > 0.5
    # What the prior leaves of a shear.
    assert (first - second) / 0.04 == pytest.approx(1 - (each / PRIOR) ** 2, abs=0.1)


def test_a_galaxy_leaves_at_most_250_bytes(paired: dict[str, Result]) -> None:
    members = next(iter(paired.values())).members
    assert members is not None
    assert members.record["ln_l"].dtype == np.float64
    of_galaxy = sum(array[0].nbytes for array in members.record.values()) + members.status[0].nbytes
    assert of_galaxy <= 250


def test_a_realization_is_the_same_in_other_chunks(paired: dict[str, Result], write: Write) -> None:
    """One realization per chunk, and the chunks in reverse: the same sums to the last bit."""
    path = write(config=POPULATION, shear={"grid": [0.02], "paired": True}, batch__size=1)
    again = lanewise.load(path)
    for chunk in reversed(again.plan.chunks):
        again.run(chunk.index)
    for run_id, one in committed(again).items():
        other = paired[run_id]
        assert one.members is not None
        assert other.members is not None
        assert one.members.record["ln_l"].tobytes() == other.members.record["ln_l"].tobytes()
        assert one.posterior["g1"].tobytes() == other.posterior["g1"].tobytes()


def test_galaxies_are_drawn_alone_and_sheared_alike() -> None:
    plus, minus, ring = drawn(POPULATION, 0.02), drawn(POPULATION, -0.02), drawn(POPULATION, 0.02, "a_r90")
    clean = {**POPULATION, "image": {**SCENE["image"], "noise": {"sigma": 1e-3, "simulated": False}}}
    noise = image(plus, 3) - image(drawn(clean, 0.02), 3)
    assert np.std(noise) == pytest.approx(1e-3, rel=0.15)
    np.testing.assert_allclose(image(minus, 3) - image(drawn(clean, -0.02), 3), noise, atol=1e-12)
    assert plus.truth(3)["e1"] == minus.truth(3)["e1"] == -ring.truth(3)["e1"] != plus.truth(4)["e1"]
    assert plus.truth(3)["flux"] == minus.truth(3)["flux"] != plus.truth(4)["flux"]


def blank() -> Result:
    return Result("a", 1, LaneStatus.OK, "", "importance", {"g1": 0.0, "g2": 0.0})


def members(status: list[LaneStatus], centre: float = 0.0) -> Members:
    """Galaxies with Gaussian likelihoods; one that has failed has no record."""
    nodes = Nodes.of(shear_config.parse(POPULATION))
    value = (-((nodes.points - [centre, 0.0]) ** 2).sum(axis=1) / (2 * 0.1**2)).reshape(nodes.shape)
    lost = np.array([one > LaneStatus.NOT_CONVERGED for one in status])
    record = {"ln_l": np.where(lost[:, None, None, None], np.nan, value), "half": np.zeros((len(status), 1, 5))}
    record |= {"size": np.full((len(status), 1), 30.0), "khat": np.zeros((len(status), 1))}
    reasons = {at: "why" for at, one in enumerate(status) if one is not LaneStatus.OK}
    return Members(np.array(status, np.int8), record, reasons)


@pytest.mark.parametrize(
    ("bad", "expected", "divisor"),
    [
        ([LaneStatus.NOT_CONVERGED], LaneStatus.OK, 100),
        ([LaneStatus.NON_FINITE], LaneStatus.OK, 99),
        ([LaneStatus.NOT_CONVERGED] * 3, LaneStatus.NOT_CONVERGED, 100),
        ([LaneStatus.FAILED] * 3, LaneStatus.FAILED, 97),
    ],
)
def test_galaxies_with_doubtful_weights_count_and_too_many_do_not(
    bad: list[LaneStatus], expected: LaneStatus, divisor: int
) -> None:
    config = shear_config.parse(POPULATION)
    found = membership.combine(config, blank(), members([*bad, *[LaneStatus.OK] * (100 - len(bad))]))
    assert found.status is expected
    width = found.width("g1")
    assert width == pytest.approx((divisor / 0.1**2 + 1 / PRIOR**2) ** -0.5, rel=1e-3)


def test_a_population_whose_shear_lies_beyond_the_nodes_is_not_converged() -> None:
    found = membership.combine(shear_config.parse(POPULATION), blank(), members([LaneStatus.OK] * 100, centre=0.25))
    assert found.status is LaneStatus.NOT_CONVERGED
    assert "raise population.half_width" in found.reason


def test_a_population_without_a_usable_galaxy_has_failed() -> None:
    lost = Members(np.full(3, LaneStatus.FAILED, np.int8), {}, dict.fromkeys(range(3), "no image"))
    found = membership.combine(shear_config.parse(POPULATION), blank(), lost)
    assert found.status is LaneStatus.FAILED
    assert "no image" in found.reason


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(interim=0.1), "population.interim: expected at least 1.2 times"),
        ({**POPULATION, "inference": {"method": "nuts"}}, "set method: importance"),
        ({**POPULATION, "simulation": {"truths": "drawn"}}, "always drawn"),
        ({**POPULATION, "gal": {**POPULATION["gal"], "ellipticity": {"e1": 0.1, "e2": 0.0}}}, "remove it"),
        (changed(flux=LOG_NORMAL), "gal.flux.sigma: expected a prior of at least 1.2 times the width"),
        (changed(half_light_radius=LOG_NORMAL), "gal.half_light_radius is not inferred; give it a prior"),
        (changed(free={"flux_mean": LOG_NORMAL}), "give population.flux a distribution"),
        (changed(free={"ellipticity_sigma": {**LOG_NORMAL, "mean": 0.4}}), "expected population.interim of at least"),
        (
            changed(selection={"in_likelihood": False}),
            "expected snr_min or size_min, got neither",
        ),
        (tabulated(density=[1.0] * 5), r"ellipticity.density: expected as many numbers as population.ellipticity.e"),
        (tabulated(e=[0.1, 0.3, 0.2, 0.4]), "ellipticity.e: expected sizes .* in ascending order"),
        (tabulated(e=[0.1, 0.12, 0.2, 0.4]), "ellipticity.e: expected a first .* of at most 0.0849, got 0.1"),
        (tabulated(sigma=0.1), "ellipticity.sigma: a Table has a width of its own"),
        (
            changed(ellipticity={"type": "Gaussian", "sigma": 0.1, "e": [0.1] * 4}),
            "ellipticity.e: the sizes of a Table",
        ),
        ({**tabulated(), "population": {**tabulated()["population"], "interim": 0.15}}, "1.2 times the width of"),
        (
            {**tabulated(), "population": {**tabulated()["population"], "free": {"ellipticity_sigma": LOG_NORMAL}}},
            "free.ellipticity_sigma: a Table has no sigma",
        ),
        (changed(half_width=0.02), "expected at least 0.0211 for shears of 0.02"),
    ],
)
def test_contradictions_are_told(config: dict[str, Any], message: str, write: Write) -> None:
    with pytest.raises(ManifestError, match=message.replace("(", r"\(")):
        lanewise.load(write(config=config))


def test_summary_and_report_tell_of_the_galaxies(campaign: lanewise.Campaign, paired: dict[str, Result]) -> None:
    campaign.aggregate()
    row = campaign.summary.set_index("run_id").loc["g1_+0.0200_g2_+0.0000_s42"]
    result = paired["g1_+0.0200_g2_+0.0000_s42"]
    assert (row["galaxies"], row["galaxies_failed"]) == (12, 0)
    assert row["g1_half_mean"] == result.groups["population"]["from_half"][0]
    # Twelve galaxies know their scatter to a fifth: three times that.
    assert row["g1_jackknife"] == pytest.approx(row["g1_std"], rel=0.6)
    page = campaign.store.read("report.html").decode()
    assert "48</td>" in page
    assert "scatter of galaxies, g1" in page


@pytest.mark.long
def test_one_pair_tells_how_many_galaxies_an_error_needs(write: Write) -> None:
    """Twelve galaxies are twelve blocks: the error is the jackknife of their common slope."""
    path = write(config=POPULATION, shear={"grid": [0.02], "paired": True}, realizations__count=1)
    pilot = lanewise.load(path)
    pilot.run()
    plus, minus = (
        committed(pilot)[f"g1_{sign}0.0200_g2_+0.0000_s42"].groups["population"]["without_block"] for sign in "+-"
    )
    slopes = (plus - minus)[:, 0] / 0.04
    assert slopes.shape == (12,)
    expected = np.sqrt(11 / 12 * np.sum((slopes - slopes.mean()) ** 2))
    need = {one.component: one for one in plan_summary.forecast(pilot.record, expected / 10)}["g1"]
    assert need.sigma_m == pytest.approx(expected)
    assert (need.n, need.n_needed, need.galaxies) == (2, 200, 2400)


@pytest.mark.parametrize(("plus", "minus", "verdict"), [(3, 2, Verdict.PASS), (30, 2, Verdict.INVALID)])
def test_galaxies_that_fail_under_one_sign_make_a_campaign_invalid(
    campaign: lanewise.Campaign, plus: int, minus: int, verdict: Verdict
) -> None:
    table = campaign.summary
    table["galaxies_failed"] = np.where(table["g1_true"] > 0, plus, minus) / 2
    (found,) = validity.galaxies_by_sign(selection.galaxy_signs(table))
    assert found.verdict is verdict
    assert f"{plus} failed or have doubtful weights under +g, {minus} under −g" in found.sentence


@pytest.mark.long
def test_calibration_ranks_the_shear_that_the_galaxies_share(write: Write) -> None:
    path = write(kind="calibration", shear=..., config=POPULATION, realizations__count=3)
    calibrated = lanewise.load(path)
    calibrated.run()
    results = calibrated.aggregate()
    assert [test.quantity for test in results.quantities] == ["g1", "g2"]
    for one in committed(calibrated).values():
        assert set(one.truth) == {"g1", "g2"}
        # Twelve galaxies with shapes of .1 know their shear to .03.
        assert abs(np.mean(one.posterior["g1"]) - one.truth["g1"]) < 0.15


def test_a_calibration_whose_shears_lie_beyond_the_nodes_is_refused(write: Write) -> None:
    with pytest.raises(ManifestError, match=r"population.half_width: expected at least"):
        lanewise.load(write(kind="calibration", shear=..., config=changed(half_width=0.1)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SCENE, "acceptance.estimator: only populations have a score of the shear"),
        (changed(free={"ellipticity_sigma": LOG_NORMAL}), "acceptance.estimator: the score is that of the known"),
    ],
)
def test_a_score_that_does_not_exist_is_no_estimator(config: dict[str, Any], message: str, write: Write) -> None:
    with pytest.raises(ManifestError, match=message):
        lanewise.load(write(config=config, acceptance={"estimator": "score"}))


def test_the_score_is_judged_if_the_manifest_says_so(campaign: lanewise.Campaign, paired: dict[str, Result]) -> None:
    """The same results; nothing is computed again."""
    manifest = replace(campaign.record.manifest, acceptance=Acceptance(estimator="score", max_abs_m=1.0))
    results = aggregate.evaluated(replace(campaign.record, manifest=manifest), campaign.summary)
    scores = {run_id: one.groups["population"]["expansion"][0] for run_id, one in paired.items()}
    pairs = [
        (value - scores[run_id.replace("g1_+", "g1_-")]) / 0.04 for run_id, value in scores.items() if "g1_+" in run_id
    ]
    assert results.g1 is not None
    assert results.g1.pairs is not None
    assert results.g1.pairs.m.value == pytest.approx(np.mean(pairs) - 1, abs=1e-9)
    row = campaign.summary.set_index("run_id").loc["g1_+0.0200_g2_+0.0000_s42"]
    # Twelve galaxies: as `g1_jackknife`.
    assert row["g1_expansion_jackknife"] == pytest.approx(row["g1_expansion_std"], rel=0.6)
    assert row["g1_expansion_std"] == pytest.approx(row["g1_lik_std"], rel=0.2)


class _Killed(BaseException):
    """In the place of SIGKILL: nothing catches it."""


@pytest.mark.parametrize("point", [4, 7, 10])
def test_a_population_that_is_killed_resumes_to_the_same_bits(
    campaign: lanewise.Campaign, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, point: int
) -> None:
    """Killed at a write; blocks that have a checkpoint are not computed again."""
    shear, left = {"grid": [0.02], "paired": True}, [point]
    path = write(config=POPULATION, shear=shear, output__url=str(tmp_path / "killed"))
    ours = replace(lanewise.load(path), checkpoints=Policy(long_s=0, interval_s=0, share=1e9))
    put = Store.put

    def deadly(store: Store, *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise _Killed
        return put(store, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", deadly)
        with pytest.raises(_Killed):
            ours.run()
    assert not committed(ours)
    ours.run()
    for run_id, expected in committed(campaign).items():
        found = committed(ours)[run_id]
        assert expected.members is not None
        assert found.members is not None
        for name, array in expected.members.record.items():
            assert found.members.record[name].tobytes() == array.tobytes()
        assert found.posterior["g1"].tobytes() == expected.posterior["g1"].tobytes()


def test_galaxies_follow_the_distributions_of_the_population() -> None:
    """The prior in `gal` is that of the inference; what `simulation` says comes first."""
    gal = {**POPULATION["gal"], "flux": {"type": "LogUniform", "min": 0.1, "max": 10.0}}
    config = {**changed(flux={"type": "LogNormal", "mean": 2.0, "sigma": 0.1}, galaxies=200), "gal": gal}
    fluxes = np.array([drawn(config, 0.02).truth(at)["flux"] for at in range(200)])
    # 4.5 standard errors of a mean of 200.
    assert np.log(fluxes).mean() == pytest.approx(np.log(2.0), abs=0.032)
    assert np.log(fluxes).std() == pytest.approx(0.1, rel=0.25)
    config["simulation"] = {"gal": {"flux": 1.5}}
    assert drawn(config, 0.02).truth(0)["flux"] == 1.5


@pytest.mark.long
def test_shear_and_parameters_of_a_population_are_inferred_together(write: Write) -> None:
    gal = {**POPULATION["gal"], "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.4}}
    free = {"ellipticity_sigma": {**LOG_NORMAL, "sigma": 0.4}, "flux_mean": {**LOG_NORMAL, "mean": 1.0}}
    population = changed(flux={"type": "LogNormal", "mean": 1.0, "sigma": 0.1}, free=free, galaxies=40)
    path = write(config={**population, "gal": gal}, shear={"grid": [0.02], "paired": True}, realizations__count=3)
    campaign = lanewise.load(path)
    campaign.run()
    campaign.aggregate()
    summary = campaign.summary
    assert list(summary["status"]) == ["ok"] * 6
    # Forty galaxies know the median flux to .016, and the width of their shapes (with |e| < 1) to .01.
    np.testing.assert_allclose(summary["flux_mean_mean"], 1.0, atol=0.07)
    np.testing.assert_allclose(summary["flux_mean_std"], 0.1 / np.sqrt(40), rtol=0.3)
    np.testing.assert_allclose(summary["ellipticity_sigma_mean"], 0.1, atol=0.04)
    assert (summary["g1_known_mean"] - summary["g1_mean"]).abs().max() < 0.5 * summary["g1_std"].max()
    page = campaign.store.read("report.html").decode()
    assert "m of g1, known distributions" in page
    assert "m of g1, score at zero shear" in page
    posterior = campaign.posterior("g1_+0.0200_g2_+0.0000_s42")["posterior"]
    assert {"g1", "g2", "flux_mean", "ellipticity_sigma"} <= set(posterior)


def test_the_identity_of_a_population_reads_back_from_a_file_as_it_is() -> None:
    wide = {**LOG_NORMAL, "sigma": 0.9}
    config = {**changed(flux=LOG_NORMAL, free={"flux_mean": LOG_NORMAL}), "gal": {**POPULATION["gal"], "flux": wide}}
    content = shear_config.parse(config).content["population"]
    assert json.loads(json.dumps(content)) == content
    assert content["free"] == {"flux_mean": LOG_NORMAL}
    plain = shear_config.parse(POPULATION).content["population"]
    assert {"selection", "distributions", "free", "table"}.isdisjoint(plain)
    content = shear_config.parse(tabulated()).content["population"]
    assert json.loads(json.dumps(content)) == content
    # The width follows from the table by a quadrature: its last bits are no identity.
    assert "sigma" not in content


@pytest.mark.long
def test_a_population_by_a_table_is_simulated_and_inferred(write: Write) -> None:
    """Nearly all have sizes from .06 to .14: a ring, which no closed form has."""
    config = tabulated(e=[0.02, 0.06, 0.1, 0.14, 0.18], density=[0.01, 1.0, 2.5, 1.0, 0.01])
    e = [complex(*(drawn(config, 0.0).truth(at)[name] for name in ("e1", "e2"))) for at in range(12)]
    assert 0.04 < min(abs(one) for one in e) / 2 < max(abs(one) for one in e) / 2 < 0.17  # from distortions
    path = write(config=config, shear={"grid": [0.02], "paired": True}, realizations__count=1)
    campaign = lanewise.load(path)
    campaign.run()
    summary = campaign.summary
    assert list(summary["status"]) == ["ok", "ok"]
    # Twelve galaxies with shapes of .07 know their shear to .02.
    assert (summary["g1_mean"] - summary["g1_true"]).abs().max() < 0.08
    np.testing.assert_allclose(summary["g1_lik_std"], 0.07 / np.sqrt(12), rtol=0.4)


def test_a_calibration_with_free_parameters_is_refused(write: Write) -> None:
    config = changed(half_width=0.25, free={"ellipticity_sigma": LOG_NORMAL})
    with pytest.raises(ManifestError, match=r"population.free: kind calibration draws no truths of these"):
        lanewise.load(write(kind="calibration", shear=..., config=config))

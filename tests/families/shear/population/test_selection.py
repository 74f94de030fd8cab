"""A cut on the S/N of galaxies, and its probability in the likelihood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import interpolate, stats

import lanewise
from conftest import Write
from families.shear.population.test_populations import POPULATION, blank, committed, drawn, members
from lanewise.api import load
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import image_simulator
from lanewise.families.shear.population import ensemble, membership, selection
from lanewise.families.shear.population.nodes import Nodes
from lanewise.machine import device
from lanewise.manifest.status import LaneStatus

Array = NDArray[np.float64]


def cut(snr_min: float, in_likelihood: bool = True, **changes: Any) -> dict[str, Any]:
    """The scene with a cut; about half of its galaxies have an S/N above 130."""
    return limited({"snr_min": snr_min, "in_likelihood": in_likelihood}, **changes)


def limited(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**POPULATION, "population": {**POPULATION["population"], "selection": found, **changes}}


def varied(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The scene with a cut and galaxies of different sizes."""
    size = {"type": "LogNormal", "mean": 0.5, "sigma": 0.1}
    return {**limited(found, **changes), "gal": {**POPULATION["gal"], "half_light_radius": size}}


def probability(config: dict[str, Any], g: tuple[float, float]) -> float:
    """To be cut."""
    parsed = shear_config.parse(config)
    nodes = Nodes.of(parsed)
    value = nodes.at(selection.log_missed(parsed, nodes), [np.array([one]) for one in g])
    return float(np.exp(value[0, 0]))


@pytest.mark.long
@pytest.mark.parametrize("limits", [{"snr_min": 130.0}, {"size_min": 0.5}, {"snr_min": 125.0, "size_min": 0.45}])
def test_share_of_images_that_are_cut_is_the_probability(limits: dict[str, float]) -> None:
    device.prepare("cpu", "float64")
    config, n = varied(limits, galaxies=1500), 1500
    expected = probability(config, (0.1, 0.0))
    assert 0.2 < expected < 0.8
    missed = sum(one is None for one in drawn(config, 0.1))
    # Four binomial errors: one false alarm in 16 000.
    assert missed / n == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / n))


@pytest.mark.parametrize("limits", [{"snr_min": 125.0}, {"size_min": 0.52}, {"snr_min": 125.0, "size_min": 0.47}])
def test_probability_of_the_cut_under_a_shear_is_that_of_a_quadrature(limits: dict[str, float]) -> None:
    """One flux and size, the centre fixed: signals by GalSim, shapes by a quadrature over the disc."""
    device.prepare("cpu", "float64")
    gal = {**POPULATION["gal"], "flux": 1.0, "position": {"type": "Normal", "sigma": 1e-6}}
    gal["half_light_radius"] = {"type": "LogNormal", "mean": 0.5, "sigma": 1e-6}
    config = {**limited(limits), "gal": gal}
    config["population"] = {**config["population"], "ellipticity": {"type": "Gaussian", "sigma": 0.2}}
    parsed = shear_config.parse(config)

    def image(size: float, radius: float = 0.5) -> Array:
        truth = {**parsed.central(parsed.galaxy), "g1": size, "g2": 0.0, "e1": 0.0, "e2": 0.0}
        return image_simulator.drawn(parsed, {**truth, "half_light_radius": radius})

    sizes = np.linspace(0, 0.95, 14)
    images = [image(size) for size in sizes]
    filters = {"snr_min": images[0] / np.linalg.norm(images[0])}
    if "size_min" in limits:
        # By differences that are not those of the code.
        near = [image(0, limits["size_min"] * step) for step in (0.98, 1.02)]
        slope = near[1] / np.linalg.norm(near[1]) - near[0] / np.linalg.norm(near[0])
        filters["size_min"] = slope / np.linalg.norm(slope)
    used = [filters[name] for name in limits]
    values = [[np.vdot(one, each) / 1e-3 for one in used] for each in images]
    signal = interpolate.make_interp_spline(sizes**2, np.array(values))
    smallest = np.array([limits.get("snr_min", 0.0)] if len(used) == 1 else [limits["snr_min"], 0.0])
    noise = stats.multivariate_normal(cov=np.array([[np.vdot(a, b) for a in used] for b in used]))
    parts, shares = np.polynomial.legendre.leggauss(60)
    squares, angles = (parts + 1) / 2, 2 * np.pi * np.arange(64) / 64
    weights = shares * np.exp(-squares / (2 * 0.2**2))
    intrinsic = np.sqrt(squares)[:, None] * np.exp(1j * angles)

    def expected(g: complex) -> float:
        e = (intrinsic + g) / (1 + np.conj(g) * intrinsic)
        away = signal(np.minimum(np.abs(e), 0.95) ** 2) - smallest
        missed = 1 - noise.cdf(away.reshape(-1, len(used))).reshape(e.shape)
        return float(weights @ missed.mean(axis=1) / weights.sum())

    still = expected(0)
    for g in ((0.18, 0.0), (0.0, -0.18), (0.1, 0.1)):
        moved = expected(complex(*g)) - still
        assert abs(moved) > 0.005
        assert probability(config, g) - probability(config, (0.0, 0.0)) == pytest.approx(moved, rel=0.02)
    assert probability(config, (0.0, 0.0)) == pytest.approx(still, abs=1e-3)


def test_probability_of_the_cut_is_that_of_the_distribution_that_a_table_tells() -> None:
    device.prepare("cpu", "float64")
    e = np.linspace(0.02, 0.98, 33)
    table = {"type": "Table", "e": [*e], "density": [*(e * np.exp(-(e**2) / (2 * 0.2**2)))]}
    by_table, known = (cut(125.0, ellipticity=one) for one in (table, {"type": "Gaussian", "sigma": 0.2}))
    for g in ((0.0, 0.0), (0.18, 0.0)):
        assert probability(by_table, g) == pytest.approx(probability(known, g), abs=1e-4)


def test_galaxies_that_are_cut_have_no_data_and_the_others_keep_theirs() -> None:
    every, some = drawn(POPULATION, 0.02), drawn(cut(130.0), 0.02)
    assert len(some) == len(every)
    config = shear_config.parse(POPULATION)
    filtered = selection.template(config) / 1e-3
    for whole, one in zip(every, some, strict=True):
        assert whole is not None
        bright = float(np.vdot(filtered, whole["image"])) >= 130.0
        assert (one is not None) == bright
        if one is not None:
            np.testing.assert_array_equal(one["image"], whole["image"])
    assert 0 < sum(one is None for one in some) < len(some)


@pytest.mark.parametrize("flux", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("radius", [0.3, 0.43, 0.44, 0.46, 0.47, 0.9])
def test_round_galaxies_without_noise_pass_a_cut_on_the_size_if_they_are_larger(radius: float, flux: float) -> None:
    config = shear_config.parse(varied({"size_min": 0.45}))
    truth = {**config.central(config.galaxy), **dict.fromkeys(("g1", "g2", "e1", "e2"), 0.0)}
    image = image_simulator.drawn(config, {**truth, "half_light_radius": radius, "flux": flux})
    assert selection.passes(config, image) == (radius > 0.45)


@pytest.mark.parametrize("in_likelihood", [True, False])
def test_galaxies_that_are_cut_enter_by_their_number(in_likelihood: bool) -> None:
    device.prepare("cpu", "float64")
    config, n_missed = shear_config.parse(cut(130.0, in_likelihood)), 400
    there = members([LaneStatus.OK] * 500, centre=0.05)
    for array in there.record.values():
        array[:n_missed] = np.nan
    found = membership.combine(config, blank(), there)
    assert found.status is LaneStatus.OK
    assert found.groups["population"]["n_selected"] == 100
    nodes = Nodes.of(config)
    total = 100 * there.record["ln_l"][-1, 0]
    if in_likelihood:
        total = total + n_missed * selection.log_missed(config, nodes)
    expected = ensemble.posterior(total, nodes, membership.log_prior(config)).mean()
    assert np.mean(found.posterior["g1"]) == pytest.approx(expected[0], abs=1e-9)
    # Without the cut's probability the galaxies have their peak at .05, which the prior pulls to .039.
    pulled = 0.05 / (1 + 0.1**2 / 100 / 0.06**2)
    assert (abs(expected[0] - pulled) < 1e-4) is not in_likelihood


def test_a_population_that_is_cut_as_a_whole_has_failed() -> None:
    config = shear_config.parse(limited({"snr_min": 1e4, "size_min": 0.5}))
    none = members([LaneStatus.OK] * 3)
    none.record.clear()  # type: ignore[attr-defined]
    found = membership.combine(config, blank(), none)
    assert found.status is LaneStatus.FAILED
    assert "lower snr_min or size_min" in found.reason


@pytest.mark.long
def test_a_galaxy_leaves_the_same_bits_beside_others_that_are_cut(write: Write, tmp_path: Path) -> None:
    whole, some = (
        lanewise.load(
            write(config=config, shear={"grid": [0.02]}, realizations__count=1, output__url=str(tmp_path / name))
        )
        for name, config in (("whole", POPULATION), ("some", cut(130.0)))
    )
    n_compared = 0
    results = []
    for campaign in (whole, some):
        campaign.run()
        results.append(committed(campaign))
    for run_id, one in results[1].items():
        assert one.members is not None
        other = results[0][run_id].members
        assert other is not None
        there = ~membership.was_cut(one.members)
        n_compared += there.sum()
        assert one.members.record["ln_l"][there].tobytes() == other.record["ln_l"][there].tobytes()
    assert 0 < n_compared < 12
    some.aggregate()
    assert (some.summary["galaxies_selected"] < some.summary["galaxies"]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "expected"), [("selection", -0.13), ("selection-size", 0.17), ("selection-free", -0.13)]
)
@pytest.mark.parametrize("kind", ["", "control-"])
def test_the_probability_of_the_cut_removes_the_bias_of_it(
    what: str, expected: float, kind: str, tmp_path: Path
) -> None:
    """Without it m is d² P / dg² over the information of the galaxies that are left."""
    from lanewise.families.shear import aggregate

    loaded = load(f"manifests/{kind}{what}.yaml", [f"output.url={tmp_path}"])
    assert loaded.run().all_ok
    aggregate.aggregate(loaded.record)
    bias = json.loads((tmp_path / "stats" / "bias_results.json").read_text())
    m = bias["g1"]["m"]
    assert 3 * m["error"] < 0.05  # small enough to decide, before it is asserted
    if not kind:
        assert abs(m["value"]) < 3 * m["error"]
        assert bias["verdict"]["verdict"] == "PASS"
    else:
        assert m["value"] == pytest.approx(expected, abs=0.05)
        assert bias["verdict"]["verdict"] == "FAIL"

"""Images that differ from the model on purpose, and what the model is given."""

from __future__ import annotations

import copy
import math
from typing import Any

import galsim
import jax
import numpy as np
import pytest

from conftest import SCENE, Write, load
from lanewise.errors import ManifestError
from lanewise.families.shear import family
from lanewise.families.shear.config import ShearConfig, parse
from lanewise.manifest.plan import Single

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.2}
SHAPE = {"e1": NORMAL, "e2": NORMAL}


def config(**changes: Any) -> ShearConfig:
    """The small scene without noise, some keys replaced."""
    content = copy.deepcopy(SCENE)
    content["image"]["noise"]["simulated"] = False
    gal = changes.pop("gal", {})
    return parse({**content, "gal": {**content["gal"], **gal}, **changes})


def image(parsed: ShearConfig, **truth: float) -> np.ndarray:
    return family.observe(parsed, Single("m", 1, {"g1": 0.0, "g2": 0.0, **truth})).data["image"]


def test_without_the_key_nothing_differs_and_identities_stay() -> None:
    plain, empty = config(), config(simulation={})
    assert plain == empty
    assert "simulation" not in plain.content
    assert config(simulation={"bias": {"m": 0.01}}).content["simulation"] == {"bias": {"m": 0.01, "c": 0.0}}


@pytest.mark.parametrize("noise", [{}, {"type": "Correlated", "correlation": "COSMOS"}])
def test_one_thread_draws_a_stamp_and_its_noise_as_several_do(noise: dict[str, str]) -> None:
    """GalSim's threads wait for each other, and on a busy machine a stamp takes fifty times as long."""
    content = copy.deepcopy(SCENE)
    content["image"]["noise"] |= noise
    observed, n_threads = [], []
    for number in (2, 1):
        galsim.utilities.set_omp_threads(number)
        observed.append(family.observe(parse(content), Single("m", 1, {"g1": 0.0, "g2": 0.0})).data["image"])
        n_threads.append(galsim.utilities.get_omp_threads())
    assert n_threads == [1, 1]
    np.testing.assert_array_equal(observed[0], observed[1])


def test_a_planted_bias_moves_the_image_and_not_the_truth() -> None:
    planted = config(simulation={"bias": {"m": 0.01, "c": 5e-4}})
    observed = family.observe(planted, Single("m", 1, {"g1": 0.02, "g2": 0.0}))
    assert (observed.truth["g1"], observed.truth["g2"]) == (0.02, 0.0)
    expected = image(config(), g1=1.01 * 0.02 + 5e-4, g2=5e-4)
    assert np.abs(observed.data["image"] - expected).max() < 1e-12


@pytest.mark.parametrize(
    ("key", "scene"),
    [
        ("psf", {"psf": {"type": "Moffat", "sigma": 0.7, "beta": 3.0}}),
        ("gal", {"gal": {"type": "Gaussian"}}),
        ("gal", {"gal": {"type": "Sersic", "n": 2.0, "half_light_radius": 0.4}}),
        ("gal", {"gal": {"ellipticity": {"e1": 0.2, "e2": -0.1}}}),
    ],
)
def test_images_are_drawn_from_the_other_scene(key: str, scene: dict[str, Any]) -> None:
    """As if the model were that scene, too; the model stays as it is."""
    mixed = config(simulation=scene)
    assert np.array_equal(image(mixed, g1=0.02), image(config(**scene), g1=0.02))
    assert not np.array_equal(image(mixed, g1=0.02), image(config(), g1=0.02))
    assert (mixed.galaxy, mixed.psf) == (config().galaxy, config().psf)


def test_a_profile_does_not_inherit_what_another_owns() -> None:
    sersic = {"type": "Sersic", "n": 2.0}
    mixed = config(gal=sersic, simulation={"gal": {"type": "Exponential"}})
    assert "n" not in dict(mixed.simulated_galaxy.parameters)
    assert np.array_equal(image(mixed), image(config()))


def test_drawn_truths_follow_the_seed_and_are_shared_by_the_arms(write: Write) -> None:
    path = write(
        config__simulation={"truths": "drawn", "given": ["e1", "e2"]},
        config__gal__ellipticity=SHAPE,
        config__gal__flux={"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
        shear={"grid": [0.02, 0.05], "paired": True, "ring": True},
        realizations={"count": 2, "base_seed": 7},
    )
    campaign = load(path)
    members = [r.planned for r in campaign.plan.realizations]
    assert len(members) == 2 * 2 * 4
    by_seed = {seed: [m for m in members if m.seed == seed] for seed in {m.seed for m in members}}
    assert set(by_seed) == {7, 8, 9, 10}
    for arms in by_seed.values():
        assert len({m.truth["flux"] for m in arms}) == len({m.truth["x"] for m in arms}) == 1
        assert {m.run_id.endswith("_r90"): m.truth["e1"] for m in arms} == {
            False: arms[0].truth["e1"],
            True: -arms[0].truth["e1"],
        }
        assert sorted({m.truth["g1"] for m in arms}) == [-abs(arms[0].truth["g1"]), abs(arms[0].truth["g1"])]
    assert len({m.truth["flux"] for m in members}) == 4
    assert len({r.identity for r in campaign.plan.realizations}) == 16


def test_a_turned_galaxy_is_the_image_turned() -> None:
    """e → −e at no shear, on a square stamp: the image turned by 90° about the centre, to GalSim's own rounding."""
    parsed = config(gal={"ellipticity": SHAPE}, simulation={"given": ["e1", "e2"]})
    one, turned = image(parsed, e1=0.2, e2=0.1), image(parsed, e1=-0.2, e2=-0.1)
    assert np.abs(np.rot90(one) - turned).max() < 1e-9 * one.max()


def test_what_is_given_reaches_the_density_and_is_no_latent() -> None:
    """The density at the truth of an elliptical galaxy, with its shape given, is that of a model that fixes it."""
    single = {"method": "map", "precision": "float32"}
    parsed = config(gal={"ellipticity": SHAPE}, simulation={"given": ["e1", "e2"]}, inference=single)
    fixed = config(gal={"ellipticity": {"e1": 0.2, "e2": -0.1}}, inference=single)
    observed = family.observe(parsed, Single("m", 1, {"g1": 0.02, "g2": 0.0, "e1": 0.2, "e2": -0.1}))
    assert observed.data["given"].tolist() == [0.2, -0.1]
    problem, expected = family.problem(parsed), family.problem(fixed)
    assert problem.names == expected.names == ("g1", "g2", "x", "y")
    data, plain = problem.prepare(observed.data), expected.prepare({"image": observed.data["image"]})
    start = problem.start(data)
    density, other = (jax.jit(one.log_density) for one in (problem, expected))
    # The two may choose another grid, each as good as float32 is.
    assert float(density(start, data)) == pytest.approx(float(other(start, plain)), rel=1e-4)
    changed = {**data, "given": np.zeros(2, np.float32)}
    assert abs(float(density(start, changed)) / float(other(start, plain)) - 1) > 0.01


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"given": ["g1"]}, "simulation.given[0]", "g1 is what is inferred"),
        ({"given": ["shape"]}, "simulation.given[0]", "the model has no parameter 'shape'"),
        ({"given": ["e1"]}, "simulation.given[0]", "e1 is a number in the model; give it a prior"),
        ({"gal": {"type": "Sersic"}}, "simulation.gal", "expected the key 'n'"),
        ({"gal": {"n": 2.0}}, "simulation.gal.n", "type: Exponential has no n"),
        ({"gal": {"flux": -1.0}}, "simulation.gal.flux", "expected a number > 0"),
        ({"gal": {}}, "simulation.gal", "expected at least 1 key"),
        (
            {"psf": {"type": "Image", "file": "a.npy", "pixel_scale": 0.2}},
            "simulation.psf.type",
            "Gaussian or a Moffat",
        ),
        ({"psf": {"type": "Moffat"}}, "simulation.psf", "expected the key 'sigma'"),
        ({"bias": {"m": 3}}, "simulation.bias.m", "expected a number"),
        ({"truth": "drawn"}, "simulation.truth", "did you mean 'truths'?"),
    ],
)
def test_what_cannot_be_simulated_is_told(write: Write, changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load(write(config__simulation=changes))
    complaints = caught.value.complaints
    assert [complaint.field for complaint in complaints] == [f"config.{field}"], str(caught.value)
    assert message in complaints[0].message


@pytest.mark.parametrize(
    ("ellipticity", "message"),
    [
        ({"e1": 0.1, "e2": 0.0}, "a ring turns the galaxy, the config fixes e1"),
        ({"e1": 0.0, "e2": 0.0}, "the galaxy is round"),
    ],
)
def test_a_ring_needs_a_shape_that_the_model_does_not_hold(
    write: Write, ellipticity: dict[str, float], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        load(write(shear={"grid": [0.02], "ring": True}, config__gal__ellipticity=ellipticity))


@pytest.mark.slow
def test_an_exponential_fitted_by_a_gaussian_is_biased_as_computed_elsewhere(write: Write) -> None:
    """m = −0.0776 ± .001 of noise-free images at g = ±.02, a number from a computation of its own (NumPy).

    Half-light radius .5″ through a Gaussian PSF of FWHM .9″, .25″ a pixel.
    """
    free = {"type": "LogNormal", "mean": 1.0, "sigma": 0.5}
    scene = {
        "image": {"pixel_scale": 0.25, "size_x": 48, "size_y": 48, "noise": {"sigma": 1e-6, "simulated": False}},
        "psf": {"type": "Gaussian", "sigma": 0.9 / math.sqrt(8 * math.log(2))},
        "gal": {
            "type": "Gaussian",
            "flux": free,
            "half_light_radius": {**free, "mean": 0.5},
            "shear": {"g1": {**NORMAL, "sigma": 1.0}, "g2": 0.0},
        },
        "simulation": {"gal": {"type": "Exponential", "flux": 1.0, "half_light_radius": 0.5}},
        "inference": {"method": "map"},
    }
    campaign = load(write(config=scene, shear={"grid": [-0.02, 0.02]}, realizations={"count": 1}))
    assert campaign.run().all_ok
    g1 = campaign.summary.set_index("g1_true")["g1_mean"]
    assert (g1[0.02] - g1[-0.02]) / 0.04 - 1 == pytest.approx(-0.0776, abs=1e-3)


def test_the_oracle_draws_where_the_truth_lies() -> None:
    """A centre two pixels to the right moves GalSim's image by two pixels."""
    shifted, centred = image(config(), x=14.0, y=11.0), image(config())
    assert np.abs(np.roll(centred, (-1, 2), axis=(0, 1)) - shifted)[4:-4, 4:-4].max() < 1e-6 * centred.max()

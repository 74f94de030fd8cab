"""What a shear config says of galaxy and priors: parsed, or refused with a remedy."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import yaml
from numpyro.distributions import Distribution

from conftest import SCENE
from lanewise.families.shear import checks
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.priors import PRIORS, Prior, parameter
from lanewise.manifest import yaml_text

NORMAL = {"type": "Normal", "mean": 0.0, "sigma": 0.3}
BULGE_AND_DISC = {
    "type": "Sum",
    "half_light_radius": ...,
    "components": {
        "disc": {"type": "Exponential", "half_light_radius": 0.8},
        "bulge": {
            "type": "Sersic",
            "n": {"type": "Uniform", "min": 1, "max": 5},
            "half_light_radius": 0.3,
            "fraction": {"type": "Beta", "concentration1": 2, "concentration0": 6},
        },
    },
}


def scene(**gal: Any) -> dict[str, Any]:
    value = copy.deepcopy(SCENE)
    value["gal"] |= gal
    value["gal"] = {key: part for key, part in value["gal"].items() if part is not ...}
    return value


def complaints(value: Mapping[str, Any]) -> list[str]:
    return [str(one) for one in checks.check(yaml_text.parse(yaml.safe_dump(dict(value), sort_keys=False), "c.yaml"))]


def uniform(low: float, high: float) -> dict[str, Any]:
    return {"type": "Uniform", "min": low, "max": high}


def part(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """A bulge and a disc with one thing changed."""
    gal = copy.deepcopy(BULGE_AND_DISC)
    change(gal["components"])  # type: ignore[arg-type]
    return gal


@pytest.mark.parametrize(
    ("gal", "field", "says"),
    [
        ({"type": "Sersic"}, "gal", "expected the key 'n' (Index of the Sersic, a number or a prior between ½ and 6)"),
        ({"type": "Moffat"}, "gal", "expected the key 'beta'"),
        ({"type": "Sersic", "n": 8}, "gal.n", "expected a value from 0.5 to 6, got 8"),
        ({"type": "Sersic", "n": uniform(0.2, 4)}, "gal.n.min", "expected a value from 0.5 to 6, got 0.2"),
        ({"type": "Moffat", "beta": 1.5}, "gal.beta", "expected a value from 2 to 10, got 1.5"),
        ({"n": 2}, "gal.n", "type: Exponential has no n, which belongs to a Sersic; remove it or set type: Sersic"),
        ({"type": "Sersick"}, "gal.type", "did you mean 'Sersic'?"),
        ({"components": {}}, "gal.components", "expected at least 2 keys, got 0"),
        (part(lambda c: c.update(Bar=c["disc"])), "gal.components", "expected a name of small letters and digits"),
        ({"half_light_radius": ...}, "gal", "expected the key 'half_light_radius' (Half-light radius before shear"),
        (
            {"ellipticity": {"e1": NORMAL, "e2": 0.1, "disc_power": 2}},
            "gal.ellipticity.disc_power",
            "one of which is a number here; give both a prior",
        ),
        ({"position": {"x_min": 0.8}}, "gal.position.x_max", "expected more than x_min (19.2 px), got 16.8 px"),
        ({"position": {"sigma": 0.5}}, "gal.position.sigma", "type: Uniform has no sigma; remove it or set type: Norm"),
        ({"position": {"type": "Normal"}}, "gal.position", "expected the key 'sigma' (Standard deviation of x and of"),
        ({"position": {"type": "Normal", "sigma": 1, "y_max": 0.7}}, "gal.position.y_max", "type: Normal has no y_max"),
        (
            {"position": {"type": "Normal", "sigma": 1, "x_mean": 25}},
            "gal.position.x_mean",
            "inside the stamp of 24 px",
        ),
        (
            {"flux": {"type": "LogUniform", "min": 0, "max": 3}},
            "gal.flux.min",
            "expected a number > 0, got 0",
        ),
        (
            {"half_light_radius": {**uniform(2, 1), "type": "LogUniform"}},
            "gal.half_light_radius.max",
            "more than min (2)",
        ),
        ({"half_light_radius": uniform(-1, 3)}, "gal.half_light_radius.min", "expected a positive value, got -1"),
        ({"flux": {"type": "Normal", "mean": -1, "sigma": 1}}, "gal.flux", "expected a prior around a positive value"),
        (
            {"flux": {"type": "TruncatedNormal", "mean": 5, "sigma": 1, "min": 0, "max": 4}},
            "gal.flux.mean",
            "expected a mean between min (0) and max (4), got 5",
        ),
        ({"flux": {"type": "Gamma", "concentration": 2}}, "gal.flux", "expected the key 'rate'"),
        ({"flux": {"type": "Betta"}}, "gal.flux.type", "did you mean 'Beta'?"),
        ({**BULGE_AND_DISC, "half_light_radius": 1.0}, "gal.half_light_radius", "move it to gal.components"),
        ({"type": "Sum", "half_light_radius": ...}, "gal", "expected the key 'components'"),
        (part(lambda c: c["bulge"].pop("fraction")), "gal.components", "which takes the rest of the flux, got "),
        (part(lambda c: c["disc"].update(fraction=0.4)), "gal.components", "the rest of the flux, got none"),
        (part(lambda c: c["bulge"].update(fraction=1.0)), "gal.components", "a sum of 1"),
        (part(lambda c: c["disc"].update(n=1.0)), "gal.components.disc.n", "type: Exponential has no n"),
        (part(lambda c: c["bulge"].pop("n")), "gal.components.bulge", "expected the key 'n'"),
    ],
)
def test_a_galaxy_that_cannot_be_drawn_is_refused_with_its_remedy(gal: dict[str, Any], field: str, says: str) -> None:
    found = complaints(scene(**gal))
    assert len(found) == 1, found
    assert f": {field}: " in found[0]
    assert says in found[0]
    assert found[0].startswith("c.yaml:")


def test_the_published_fft_size_is_accepted_and_changes_nothing() -> None:
    without = shear_config.parse(SCENE)
    with_size = shear_config.parse({**SCENE, "image": {**SCENE["image"], "fft_size": 64}})
    assert with_size.content == without.content
    assert with_size.content["image"]["renderer"] == "fourier"
    assert (with_size.unused, without.unused) == (("image.fft_size",), ())


PRIOR_EXAMPLES: dict[str, dict[str, float]] = {
    "Normal": {"mean": 2.0, "sigma": 0.3},
    "LogNormal": {"mean": 2.0, "sigma": 0.3},
    "LogSkewNormal": {"location": 2.0, "sigma": 0.3, "skew": 4.0},
    "Uniform": {"min": 1.0, "max": 4.0},
    "LogUniform": {"min": 0.5, "max": 8.0},
    "TruncatedNormal": {"mean": 2.0, "sigma": 0.5, "min": 1.0, "max": 4.0},
    "HalfNormal": {"sigma": 2.0},
    "Gamma": {"concentration": 9.0, "rate": 4.0},
    "Beta": {"concentration1": 2.0, "concentration0": 3.0},
    "StudentT": {"df": 4.0, "mean": 2.0, "sigma": 0.3},
}


def _support(prior: Prior) -> tuple[float, float]:
    """Where the distribution lives, as NumPyro says."""
    support = prior.distribution().support
    return (
        float(getattr(support, "lower_bound", -np.inf)),
        float(getattr(support, "upper_bound", np.inf)),
    )


def test_every_prior_is_in_the_registry_the_schema_and_here() -> None:
    with open("schemas/shear-config.schema.json", encoding="utf-8") as file:
        definitions = json.load(file)["definitions"]
    branches = {branch.get("$ref", "").rsplit("/", 1)[-1] for branch in definitions["parameter"]["anyOf"]} - {""}
    assert set(PRIORS) == branches == set(PRIOR_EXAMPLES)
    for kind, row in PRIORS.items():
        assert {"type", *row.fields} == set(definitions[kind]["properties"])
    assert definitions["positive"]["anyOf"][1:] == definitions["parameter"]["anyOf"][1:]


@pytest.mark.long
@pytest.mark.parametrize("kind", PRIOR_EXAMPLES)
def test_a_prior_is_numpyros_and_its_centre_is_where_its_draws_are(kind: str) -> None:
    keys = PRIOR_EXAMPLES[kind]
    prior = parameter({"type": kind, **keys})
    assert not isinstance(prior, float)
    distribution = prior.distribution()
    assert isinstance(distribution, Distribution)
    low, high = (float(np.clip(bound, -20, 30)) for bound in _support(prior))
    x = np.linspace(low, high, 40002)[1:-1]
    density = np.exp(np.asarray(distribution.log_prob(x), float)) * (x[1] - x[0])
    below = np.interp([prior.centre, prior.high], x, np.cumsum(density))
    assert density.sum() == pytest.approx(1, abs=1e-2)
    # The centre is the mean, the median or the mid-point, and `high` one standard deviation above or the upper bound.
    assert 0.4 < below[0] < 0.62
    assert 0.75 < below[1] < 1.01
    assert complaints(scene(flux={"type": kind, **keys})) == []
    config = shear_config.parse(scene(flux={"type": kind, **keys}))
    assert config.content["gal"]["flux"] == {"type": kind, **keys}
    assert {pickle.loads(pickle.dumps(prior)), parameter({"type": kind, **keys})} == {prior}


def test_the_identity_of_a_config_is_what_it_was() -> None:
    assert shear_config.parse(SCENE).content["gal"] == {
        "type": "Exponential",
        "g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        "g2": {"type": "Normal", "mean": 0.0, "sigma": 0.2},
        "flux": 1.0,
        "half_light_radius": 0.5,
        "e1": 0.0,
        "e2": 0.0,
        "x": {"type": "Uniform", "min": pytest.approx(7.2), "max": pytest.approx(16.8)},
        "y": {"type": "Uniform", "min": pytest.approx(7.2), "max": pytest.approx(16.8)},
    }
    assert shear_config.parse(SCENE).content["psf"] == {"type": "Gaussian", "sigma": 0.4}


def test_a_sum_has_its_components_parameters_whatever_their_order_in_the_file() -> None:
    value = scene(**BULGE_AND_DISC)
    assert complaints(value) == []
    config = shear_config.parse(value)
    assert list(config.parameters) == [
        *("g1", "g2", "flux", "bulge_half_light_radius", "bulge_n", "bulge_fraction", "disc_half_light_radius"),
        *("e1", "e2", "x", "y"),
    ]
    turned = copy.deepcopy(value)
    turned["gal"]["components"] = dict(reversed(value["gal"]["components"].items()))
    assert shear_config.parse(turned) == config
    assert config.content["gal"]["components"] == {"bulge": "Sersic", "disc": "Exponential"}


def test_a_sum_is_the_sum_of_its_components() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    bulge = draw(scene(type="Sersic", n=3.0, half_light_radius=0.3), g1=0.1)
    disc = draw(scene(half_light_radius=0.8), g1=0.1)
    both = draw(scene(**BULGE_AND_DISC), g1=0.1, bulge_fraction=0.25)
    np.testing.assert_allclose(both, 0.25 * bulge + 0.75 * disc, rtol=0, atol=1e-12)


def test_a_normal_position_has_its_mean_in_fractions_or_pixels() -> None:
    parsed = shear_config.parse(scene(position={"type": "Normal", "sigma": 0.5, "x_mean": 0.25}))
    assert parsed.parameters["x"] == Prior("Normal", (6.0, 0.5))
    assert parsed.parameters["y"] == Prior("Normal", (12.0, 0.5))
    pixels = shear_config.parse(scene(position={"type": "Normal", "sigma": 0.5, "x_mean": 6, "y_mean": 12.5}))
    assert pixels.parameters["x"] == parsed.parameters["x"]
    # A central truth is the mean of a Normal, and the middle of the image for bounds.
    assert (pixels.central(pixels.galaxy)["x"], pixels.central(pixels.galaxy)["y"]) == (6.0, 12.5)
    bounded = shear_config.parse(scene(position={"x_min": 3, "x_max": 9}))
    assert bounded.central(bounded.galaxy)["x"] == 12.0


def test_a_power_of_zero_is_no_part_of_the_identity() -> None:
    shape = {"e1": NORMAL, "e2": NORMAL}
    plain, zero, two = (
        shear_config.parse(scene(ellipticity={**shape, **extra}))
        for extra in ({}, {"disc_power": 0}, {"disc_power": 2})
    )
    assert plain == zero
    assert "disc_power" not in plain.content["gal"]
    assert two.content["gal"] == {**plain.content["gal"], "disc_power": 2.0}
    numbers = shear_config.parse(scene(ellipticity={"e1": 0.1, "e2": 0.1, "disc_power": 0}))
    assert numbers.galaxy.disc_power == 0

"""Populations like the galaxies of a table: their density, their draws, and the shear that comes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import lanewise
from conftest import Write
from families.shear.population.test_populations import LOG_NORMAL, POPULATION
from families.shear.population.test_reduction import NODES, galaxy, reduced
from lanewise.errors import ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.ellipticity_table import Array
from lanewise.families.shear.galaxy_table import Catalogue
from lanewise.families.shear.population import ellipticity, free, galaxies, mixture, weights
from lanewise.families.shear.population_catalogue import Mixture
from lanewise.families.shear.priors import Prior
from lanewise.machine import device
from lanewise.manifest.plan import Single
from lanewise.storage import inputs

SMOOTHING = 0.15
COLUMNS = {"flux": "10 ** (-0.4 * (mag - 25))", "half_light_radius": "size"}
WIDE = {
    "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 1.0},
    "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.5},
}


def rows() -> pd.DataFrame:
    """Brighter galaxies are larger."""
    random = np.random.default_rng(4)
    mag = random.uniform(24.0, 26.0, 30)
    return pd.DataFrame({"mag": mag, "size": 0.5 * np.exp(-0.25 * (mag - 25) + 0.1 * random.normal(size=30))})


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows().to_csv(tmp_path / "galaxies.csv", index=False)
    return str(tmp_path / "galaxies.csv")


def scene(file: str, gal: dict[str, Any] = WIDE, **changes: Any) -> dict[str, Any]:
    """The population of a table; `changes` of its section."""
    table = {"file": file, "columns": COLUMNS, "smoothing": SMOOTHING}
    return {
        **POPULATION,
        "gal": {**POPULATION["gal"], **gal},
        "population": {**POPULATION["population"], "catalogue": table, **changes},
    }


def parsed(write: Write, config: dict[str, Any]) -> ShearConfig:
    return shear_config.of(lanewise.load(write(config=config)).manifest)


def drawn(config: ShearConfig, g1: float, name: str = "a") -> galaxies.Galaxies:
    """The galaxies of a realization."""
    found = galaxies.observe(config, Single(name, 7, {"g1": g1, "g2": 0.0})).members
    assert isinstance(found, galaxies.Galaxies)
    return found


def brute(values: Array) -> Array:
    """The density of galaxies (flux, size) by a product of LogNormals for each row, shape (n, 2) → (n,)."""
    table = rows()
    parts = [
        stats.lognorm.pdf(flux, SMOOTHING, scale=10 ** (-0.4 * (mag - 25)))
        * stats.lognorm.pdf(r, SMOOTHING, scale=size)
        for flux, r in values
        for mag, size in table.to_numpy()
    ]
    found: Array = np.reshape(parts, (len(values), len(table))).mean(axis=1)
    return found


def of_table(file: str) -> Mixture:
    return Mixture(Catalogue(inputs.pin(file), tuple(COLUMNS.items())), SMOOTHING)


def test_density_is_the_mean_of_log_normals_about_the_rows(file: str) -> None:
    device.prepare("cpu", "float64")
    values = np.random.default_rng(1).uniform(0.2, 1.5, (40, 2))
    found = mixture.log_density(jnp.asarray(values), of_table(file))
    np.testing.assert_allclose(found, np.log(brute(values)), rtol=1e-10)
    # Far from all rows every term underflows, the logarithm does not.
    far = float(mixture.log_density(jnp.array([1e9, 0.5]), of_table(file)))
    assert -1e5 < far < -1e3


def test_draws_follow_the_density(file: str) -> None:
    table, random, n = of_table(file), np.random.default_rng(2), 2000
    found = np.array([list(table.draw(random).values()) for _ in range(n)])
    read = rows()
    for at, centres in enumerate((10 ** (-0.4 * (read["mag"] - 25)), read["size"])):
        shares = [stats.lognorm.cdf(one, SMOOTHING, scale=centres).mean() for one in found[:, at]]
        assert stats.kstest(shares, "uniform").pvalue > 1e-4
    logs = np.stack([-0.4 * (read["mag"] - 25) * np.log(10), np.log(read["size"])])
    expected = np.cov(logs, ddof=0) + SMOOTHING**2 * np.eye(2)
    # Six standard errors of a covariance of 2000.
    np.testing.assert_allclose(np.cov(np.log(found.T)), expected, atol=6 * expected[0, 0] * np.sqrt(2 / n))


def test_pairs_and_rings_share_the_rows_and_the_steps(write: Write, file: str) -> None:
    config = parsed(write, scene(file))
    plus, minus, ring = (drawn(config, g, name) for g, name in ((0.02, "a"), (-0.02, "a"), (0.02, "a_r90")))
    for name in ("flux", "half_light_radius", "x", "y"):
        assert plus.truth(3)[name] == minus.truth(3)[name] == ring.truth(3)[name] != plus.truth(4)[name]
    assert plus.truth(3)["e1"] == minus.truth(3)["e1"] == -ring.truth(3)["e1"]


def test_what_simulation_says_comes_before_the_table(write: Write, file: str) -> None:
    config = {**scene(file), "simulation": {"gal": {"flux": 1.5}}}
    as_told, other = drawn(parsed(write, config), 0.02), drawn(parsed(write, scene(file)), 0.02)
    assert as_told.truth(3)["flux"] == 1.5
    assert as_told.truth(3)["half_light_radius"] == other.truth(3)["half_light_radius"]


def test_the_density_of_the_table_replaces_the_interim_priors(write: Write, file: str) -> None:
    """Weights by hand: of the ratio of both densities at every draw."""
    _, latents, log_weights = galaxy("Gaussian")
    values = jnp.exp(0.3 * jnp.stack([latents[:, 2], latents[::-1, 2]], axis=1))
    config = parsed(write, scene(file, ellipticity={"type": "Gaussian", "sigma": 0.2}))
    assert config.population is not None
    names = ("g1", "g2", "flux", "half_light_radius")
    interims = tuple(prior for name in names[2:] if isinstance(prior := config.parameters[name], Prior))
    draws = jnp.concatenate([latents[:, :2], values], axis=1)
    left = reduced(config.population, NODES, names, draws, log_weights, interims)
    ratio = jnp.log(brute(np.asarray(values)))
    for at, wide in enumerate(WIDE.values()):
        ratio -= stats.lognorm.logpdf(values[:, at], wide["sigma"], scale=wide["mean"])
    e, g = latents[:, :2], NODES.points[7]
    ratio += ellipticity.log_density(e, jnp.asarray(g), "Gaussian", 0.2) + jnp.sum(e**2, axis=1) / (2 * 0.3**2)
    expected = weights.log_likelihood(ratio[:, None], weights.smooth(log_weights)[0])[0]
    assert np.asarray(left["ln_l"]).ravel()[7] == pytest.approx(float(expected), abs=1e-9)


def test_a_free_width_is_inferred_beside_the_table(write: Write, file: str) -> None:
    """The table has no free parameters: its density and that of the interim priors change no sum over galaxies."""
    shape = {"type": "Gaussian", "sigma": 0.05}
    config = parsed(write, scene(file, ellipticity=shape, free={"ellipticity_sigma": {**LOG_NORMAL, "mean": 0.05}}))
    random = np.random.default_rng(1)
    names = ("g1", "g2", "flux", "half_light_radius")
    values = random.uniform(0.3, 1.0, (3, 20, 2))
    latents = np.concatenate([0.1 * random.normal(size=(3, 20, 2)), values], axis=-1)
    found = free.draws_of(config, names, latents, np.zeros((3, 20)))
    expected = -np.sum(latents[..., :2] ** 2, axis=-1) / (2 * 0.3**2) - np.log(brute(values.reshape(-1, 2))).reshape(
        3, 20
    )
    for at, prior in enumerate(WIDE.values()):
        expected += stats.lognorm.logpdf(values[..., at], prior["sigma"], scale=prior["mean"])
    np.testing.assert_allclose(found.log_interim, expected, rtol=1e-9)
    assert found.logs.shape == (3, 20, 0)


def test_content_has_the_table_and_the_smoothing(write: Write, file: str) -> None:
    content = parsed(write, scene(file)).content["population"]["catalogue"]
    assert set(content) == {"sha256", "columns", "cuts", "smoothing"}
    assert content["smoothing"] == SMOOTHING


FLUX = {"type": "LogNormal", "mean": 1.0, "sigma": 0.1}
SIZE = "half_light_radius"


@pytest.mark.parametrize(
    ("gal", "changes", "message"),
    [
        ({}, {"flux": FLUX}, "catalogue.columns.flux: population.flux is a distribution of the same"),
        ({}, {"selection": {"snr_min": 5.0}}, "catalogue: the probability of the cut is that of distributions"),
        ({}, {"free": {"flux_mean": FLUX}}, "free.flux_mean: flux is known by population.catalogue"),
        ({SIZE: 0.5}, {}, "columns.half_light_radius: half_light_radius is a number in gal; give it a prior"),
        ({"flux": {**FLUX, "sigma": 0.5}}, {}, "columns.flux: expected a prior in gal with sigma of at least 0.6"),
        ({"flux": {**FLUX, "mean": 2.0, "sigma": 0.8}}, {}, "columns.flux: expected a prior in gal with sigma of at"),
        (
            {SIZE: {"type": "Uniform", "min": 0.1, "max": 0.6}},
            {},
            "columns.half_light_radius: .* % of the galaxies are beyond the bounds of its prior in gal, 0.1 and 0.6",
        ),
    ],
)
def test_what_does_not_fit_is_told(
    write: Write, file: str, gal: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        lanewise.load(write(config=scene(file, {**WIDE, **gal}, **changes)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"e1": "mag"}, "columns.e1: the galaxies' ellipticities come from population.ellipticity"),
        ({"n": "mag"}, "columns.n: expected flux or a half-light radius"),
        ({"bulge_flux": "mag"}, "columns.bulge_flux: the galaxy of the model has no bulge_flux; it has"),
        ({"flux": "lum"}, "there is no column 'lum'; there are mag, size"),
    ],
)
def test_columns_that_do_not_fit_are_told(write: Write, file: str, columns: dict[str, str], message: str) -> None:
    config = scene(file)
    config["population"]["catalogue"]["columns"] = columns
    with pytest.raises(ManifestError, match=message):
        lanewise.load(write(config=config))


def test_a_table_of_single_galaxies_is_no_population(write: Write, file: str) -> None:
    config = {**POPULATION, "simulation": {"catalogue": {"file": file, "columns": COLUMNS}}}
    with pytest.raises(ManifestError, match=r"the catalogue of a population is population.catalogue; move it there"):
        lanewise.load(write(config=config))


@pytest.mark.long
def test_a_sum_takes_the_sizes_of_its_components_from_the_table(write: Write, file: str) -> None:
    size = WIDE[SIZE]
    parts = {
        "bulge": {"type": "DeVaucouleurs", SIZE: size, "fraction": 0.3},
        "disc": {"type": "Exponential", SIZE: size},
    }
    gal = {key: part for key, part in POPULATION["gal"].items() if key not in ("type", SIZE)}
    config = scene(file)
    config["gal"] = {**gal, "type": "Sum", "flux": WIDE["flux"], "components": parts}
    config["population"]["catalogue"]["columns"] = {"disc_half_light_radius": "size", "flux": COLUMNS["flux"]}
    config["population"]["galaxies"] = 4
    path = write(config=config, shear={"grid": [0.02]}, realizations__count=1)
    campaign = lanewise.load(path)
    assert campaign.run().all_ok
    truth = drawn(shear_config.of(campaign.manifest), 0.02).truth(0)
    assert truth["disc_half_light_radius"] != truth["bulge_half_light_radius"]


@pytest.mark.slow
def test_the_shear_of_a_population_like_a_table_is_calibrated(write: Write, file: str) -> None:
    """Stamps by GalSim, shears from the prior: ranks of g1 and g2 in populations of 30."""
    narrow = {**WIDE, SIZE: {"type": "LogNormal", "mean": 0.5, "sigma": 0.3}}
    shape = {"type": "BernsteinArmstrong", "sigma": 0.2}
    config = scene(file, narrow, galaxies=30, half_width=0.3, max_failed_frac=0.3, ellipticity=shape)
    config["inference"] = {"method": "importance", "importance_config": {"samples": 100}}
    config["image"] = {**config["image"], "noise": {"type": "Gaussian", "sigma": 3e-3}}
    path = write(kind="calibration", config=config, shear=..., realizations={"count": 448, "base_seed": 7})
    campaign = lanewise.load(path)
    campaign.run()
    results = campaign.aggregate()
    assert results.tally.n_used >= 440
    assert results.verdict.verdict == "PASS", results.verdict.reasons


@pytest.mark.slow
@pytest.mark.parametrize(("manifest", "verdict"), [("level2-catalogue", "PASS"), ("control-catalogue", "FAIL")])
def test_the_verdict_knows_a_wrong_density(manifest: str, verdict: str, tmp_path: Path) -> None:
    """Galaxies like those of cosmoDC2, and galaxies that are larger than the likelihood takes for granted."""
    loaded = lanewise.load(f"manifests/{manifest}.yaml", [f"output.url={tmp_path}"])
    assert loaded.run().all_ok
    loaded.aggregate()
    bias = json.loads((tmp_path / "stats" / "bias_results.json").read_text())
    m = bias["g1"]["m"]
    assert 3 * m["error"] < (0.005 if verdict == "PASS" else 0.01)  # small enough to decide, before it is asserted
    assert (abs(m["value"]) < 0.005) == (verdict == "PASS")
    assert bias["verdict"]["verdict"] == verdict, bias["verdict"]["reasons"]

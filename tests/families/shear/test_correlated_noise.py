"""Correlated noise: drawn by GalSim, and the likelihood against the covariance of all pixels by brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galsim
import jax
import numpy as np
import pytest

from conftest import SCENE, Write, load
from lanewise import api
from lanewise.errors import ManifestError
from lanewise.families.shear import brightness, correlation
from lanewise.families.shear import config as shear_config
from lanewise.families.shear.config import ShearConfig
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model import correlated
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.model.fourier import ModeLikelihood
from lanewise.families.shear.model.grid import GridRenderer
from lanewise.families.shear.model.likelihood import choose
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.families.shear.model.render import CAREFUL
from lanewise.machine import device
from lanewise.manifest.plan import Single

_SIGMA = 1e-3


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def blurred(width: float = 0.6, reach: int = 5) -> np.ndarray:
    """The correlation of noise blurred by a Gaussian of this width [pixel], with a tenth of white noise."""
    lag = np.arange(-reach, reach + 1)
    found = np.exp(-(lag[:, None] ** 2 + lag**2) / (4 * width**2))
    found[reach, reach] += 0.1
    return found


def scene(size: int = 24, *, correlation: str = "COSMOS", scale: float = 0.05, sizes: float = 1.0) -> dict[str, Any]:
    """A galaxy and a point-spread function whose sizes are multiples of a pixel."""
    noise = {"type": "Correlated", "sigma": _SIGMA, "correlation": correlation}
    image = {"pixel_scale": scale, "size_x": size, "size_y": size, "noise": noise}
    galaxy = {**SCENE["gal"], "half_light_radius": 1.6 * scale * sizes}
    return {**SCENE, "image": image, "psf": {"type": "Gaussian", "sigma": 1.4 * scale}, "gal": galaxy}


def by_galsim(config: ShearConfig) -> np.ndarray:
    """The covariance of the pixels from GalSim."""
    image = config.image
    noise = galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1)).withVariance(_SIGMA**2)
    if (known := image.noise.correlation) is not None and known.file is not None:
        table = galsim.ImageD(np.load(known.file.path))
        profile = galsim.InterpolatedImage(table, scale=image.pixel_scale, x_interpolant="linear", normalization="sb")
        noise = galsim.BaseCorrelatedNoise(galsim.BaseDeviate(1), profile).withVariance(_SIGMA**2)
    y, x = np.divmod(np.arange(image.size_y * image.size_x), image.size_x)
    size = 2 * max(image.size_y, image.size_x) + 1
    drawn = noise.drawImage(galsim.ImageD(size, size, scale=image.pixel_scale)).array
    return np.asarray(drawn[y[:, None] - y + size // 2, x[:, None] - x + size // 2])


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "lags.npy"
    np.save(path, blurred())
    return str(path)


@pytest.mark.long
def test_drawn_noise_has_the_covariance_of_the_likelihood(file: str) -> None:
    for source, scale in (("COSMOS", 0.03), (file, 0.263)):
        image = shear_config.parse(scene(6, correlation=source, scale=scale)).image
        n = 1000
        drawn = np.stack([correlation.draw(image, seed) for seed in range(1, n + 1)]).reshape(n, -1)
        expected = correlated.covariance(image)
        error = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / n)
        # 666 elements: beyond five errors once in 2600 tests.
        assert np.abs((drawn.T @ drawn / n - expected) / error).max() < 5
        assert abs(expected[0, 1]) > 0.3 * _SIGMA**2


def test_the_covariance_is_that_of_galsim(file: str) -> None:
    for source, scale in (("COSMOS", 0.03), ("COSMOS", 0.05), (file, 0.263)):
        config = shear_config.parse(scene(8, correlation=source, scale=scale))
        np.testing.assert_allclose(correlated.covariance(config.image), by_galsim(config), atol=1e-9 * _SIGMA**2)


@pytest.mark.long
@pytest.mark.parametrize(("sizes", "exact"), [(0.7, False), (2.0, True)])
def test_the_density_is_that_of_the_whole_covariance(file: str, sizes: float, exact: bool) -> None:
    config = shear_config.parse(scene(20, correlation=file, sizes=sizes))
    problem, inverse = ShearProblem(config), np.linalg.inv(by_galsim(config))
    assert (correlated.periodic_error(config) > correlated.TOLERANCE) == exact
    image = np.asarray(simulate(config, Single("r", 5, {"g1": 0.03, "g2": -0.02})).data["image"])
    data = problem.prepare({"image": image})
    likelihood = jax.jit(problem.log_likelihood)
    found, expected = [], []
    for g1 in (0.0, 0.4):
        values = {"g1": np.array(g1), "g2": np.array(-0.02), "x": np.array(10.1), "y": np.array(9.9)}
        residual = (image - np.asarray(draw(config, **values))).ravel()
        found.append(float(likelihood(values, data)))
        expected.append(-0.5 * residual @ inverse @ residual)
    assert abs(expected[1] - expected[0]) > 10
    # The periodic covariance is right to a fraction of a nat where it is chosen.
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-5, abs=0.0 if exact else 0.05)


@pytest.mark.long
def test_modes_and_drawn_images_have_the_same_likelihood(file: str) -> None:
    config = shear_config.parse(scene(40, correlation=file, sizes=0.7))
    modes = choose(config, ShearProblem(config).grid)
    assert isinstance(modes, ModeLikelihood)
    pixels = correlated.CorrelatedLikelihood(config, GridRenderer(config, CAREFUL), periodic=True)
    image = np.asarray(simulate(config, Single("r", 5, {"g1": 0.03, "g2": -0.02})).data["image"])
    values = []
    for likelihood in (modes, pixels):
        data = likelihood.prepare({"image": image})
        p = {**config.galaxy.centres, "x": 0.1, "y": -0.2, "g2": 0.0}
        values.append([float(likelihood.log_likelihood({**p, "g1": g1}, data)) for g1 in (0.0, 0.4)])
    assert abs(np.diff(values[0])) > 10
    # An image may be wrong by a millionth of its peak, a thousandth of the noise.
    assert np.diff(values[0]) == pytest.approx(np.diff(values[1]), abs=5e-3)


def test_the_error_of_a_periodic_covariance_is_that_of_brute_force(file: str) -> None:
    """Widths and scatter of the shear at the priors' centre, from the covariance of GalSim."""
    config = shear_config.parse(scene(16, correlation=file, sizes=2.0))
    n = config.image.size_x
    covariance = by_galsim(config)
    step, at = 1e-4, {"x": n / 2 + 0.3, "y": n / 2 + 0.4}
    slopes = []
    for name in config.latents:
        base = {**config.galaxy.centres, **at}
        above, below = (np.asarray(draw(config, **{**base, name: base[name] + side * step})) for side in (1, -1))
        slopes.append((above - below).ravel() / (2 * step))
    jacobian = np.stack(slopes, axis=1)
    first = covariance.reshape(n, n, n, n)[0, 0]
    periodic = np.roll(np.pad(blurred(), ((0, n - 11), (0, n - 11))), (-5, -5), (0, 1)) / 1.1 * _SIGMA**2
    assert periodic[:4, :4] == pytest.approx(first[:4, :4])
    weighted = np.fft.ifft2(np.fft.fft2(jacobian.T.reshape(-1, n, n)) / np.fft.fft2(periodic)).real.reshape(-1, n * n)
    prior = np.diag([(one.high - one.centre) ** -2.0 for one in config.latents.values()])
    claimed = np.linalg.inv(jacobian.T @ weighted.T + prior)
    scatter = claimed @ (weighted @ covariance @ weighted.T + prior) @ claimed
    error = np.abs(np.sqrt(np.diag(claimed) / np.diag(scatter)) - 1).max()
    assert error > correlated.TOLERANCE
    assert correlated.periodic_error(config) >= error * 0.999


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (blurred()[:, :-1], "expected an odd size, with lag 0 in the middle"),
        (np.where(np.indices((11, 11))[0] > 5, 0.0, blurred()), "the same value at a lag and at the opposite one"),
        (-blurred(), "whose largest value stands in the middle"),
        (np.full((11, 11), 1.0), "the smallest power of a mode is"),
        (blurred(1.5) - 0.1 * (np.indices((11, 11)).sum(axis=0) == 10), "the smallest power of a mode is"),
    ],
)
def test_what_is_no_correlation_of_noise_is_told(write: Write, tmp_path: Path, table: np.ndarray, message: str) -> None:
    np.save(tmp_path / "lags.npy", table)
    with pytest.raises(ManifestError, match=message) as caught:
        load(write(config=scene(correlation="lags.npy")))
    assert "image.noise.correlation" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": {"sigma": 1e-3, "correlation": "COSMOS"}}, "type: Gaussian has none; remove it"),
        ({"noise": {"type": "Correlated", "sigma": 1e-3}}, "expected the key 'correlation'"),
        ({"noise": {"type": "Correlated", "correlation": "COSMOS"}}, "expected the key 'sigma'"),
        ({"size_x": 81, "size_y": 81}, "at most 6400 pixels with Correlated noise"),
        ({"pixel_scale": 0.01}, "use larger pixels"),
    ],
)
def test_contradictions_are_told(write: Write, changes: dict[str, Any], message: str) -> None:
    config = scene()
    with pytest.raises(ManifestError, match=message):
        load(write(config={**config, "image": {**config["image"], **changes}}))


def test_a_population_has_independent_pixels(write: Write) -> None:
    population = {"galaxies": 12, "ellipticity": {"type": "BernsteinArmstrong", "sigma": 0.1}}
    with pytest.raises(ManifestError, match="a population's pixels are independent; expected Gaussian, got Correlated"):
        load(write(config={**scene(), "population": population}))


def test_white_noise_keeps_its_identity_and_a_correlation_counts_by_content(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "lags.npy", blurred())
    np.save(tmp_path / "same.npy", blurred())
    np.save(tmp_path / "other.npy", blurred(0.5))
    names = ("lags.npy", "same.npy", "other.npy", "COSMOS")
    found = [shear_config.of(load(write(config=scene(correlation=name))).manifest).content["image"] for name in names]
    assert found[0] == found[1] != found[2] != found[3]
    assert found[3]["noise"]["correlation"] == "COSMOS"
    plain = shear_config.of(load(write()).manifest).content["image"]
    assert plain["noise"] == {"sigma": 1e-3, "type": "Gaussian", "simulated": True}


def test_the_signal_to_noise_is_that_of_the_whole_covariance(file: str) -> None:
    config = shear_config.parse(scene(24, correlation=file))
    image = np.asarray(draw(config)).ravel()
    exact = np.sqrt(image @ np.linalg.solve(by_galsim(config), image))
    assert brightness.signal_to_noise(config.image, config.psf, config.galaxy) == pytest.approx(exact, rel=0.1)


@pytest.mark.long
def test_good_images_are_no_misfits(write: Write, file: str) -> None:
    """The residual is whitened by the exact covariance: 24 p-values, below 1e-3 once in 40 tests."""
    changes = {"shear": {"grid": [0.02]}, "realizations": {"count": 24}, "batch": {"size": 24, "width": 4}}
    good = load(write(config=scene(20, correlation=file, sizes=0.7), **changes))
    assert good.run().all_ok
    p = good.summary["misfit_p"].astype(float)
    assert (p < 0.5).any()
    assert (p > 1e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "verdict"), [("Correlated", "PASS"), ("Gaussian", "FAIL")])
def test_posteriors_are_calibrated_unless_the_noise_is_taken_for_white(
    write: Write, file: str, tmp_path: Path, model: str, verdict: str
) -> None:
    content = scene(24, correlation=file)
    correlated_noise = content["image"]["noise"]
    if model == "Gaussian":
        content["image"] = {**content["image"], "noise": {"type": "Gaussian", "sigma": _SIGMA}}
        content["simulation"] = {"noise": correlated_noise}
    prior = {"type": "LogNormal", "sigma": 0.1}
    content["gal"] |= {
        "flux": {**prior, "mean": 1.0},
        "half_light_radius": {**prior, "mean": content["gal"]["half_light_radius"]},
        # Not Uniform: that cuts the posteriors of galaxies within five widths of its bounds, whose weights then fail.
        "position": {"type": "Normal", "sigma": 0.5},
    }
    content["inference"] = {"method": "importance"}
    path = write(kind="calibration", config=content, realizations__count=640, shear=..., batch={"size": 128})
    loaded = api.load(path)
    assert loaded.run().all_ok
    results = loaded.aggregate()
    assert results.verdict.verdict == verdict, results.verdict.reasons

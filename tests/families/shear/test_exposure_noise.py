"""Exposures whose noise is correlated, each in its own way: GalSim draws it, brute force has the covariance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import SCENE, Write, load
from lanewise.api import Campaign
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.machine import device

N, SCALE, REACH = 24, 0.3, 4
NOISE = {"type": "Correlated", "correlation": "PerExposure"}
# Widths by which the noise of the exposures is blurred along x and y [pixel], and their standard deviations.
BLURS, SIGMAS = ((0.5, 0.5), (0.3, 0.8)), (2e-3, 1e-3)
TRUTH = {"g1": 0.05, "g2": -0.03}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def covariance(number: int) -> np.ndarray:
    """Of the noise of an exposure, at whole-pixel lags [flux²]: blurred white noise, and a tenth of white noise."""
    (blur_x, blur_y), lag = BLURS[number], np.arange(-REACH, REACH + 1)
    found = np.exp(-((lag[:, None] / blur_y) ** 2 + (lag / blur_x) ** 2) / 4)
    found[REACH, REACH] += 0.1
    return np.asarray(SIGMAS[number] ** 2 * found / found.max())


def power(number: int, n: int) -> np.ndarray:
    """The same as a power spectrum of fft2 with n × n modes, summed term by term."""
    lag = np.arange(-REACH, REACH + 1)
    wave = np.exp(-2j * np.pi * np.outer(np.fft.fftfreq(n), lag))
    found: np.ndarray = (wave @ covariance(number) @ wave.T).real
    return found


def galaxy() -> np.ndarray:
    shape = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(**TRUTH)
    seen = galsim.Convolve([shape, galsim.Gaussian(sigma=SCENE["psf"]["sigma"])])
    image: np.ndarray = seen.drawImage(nx=N, ny=N, scale=SCALE, dtype=float).array
    return image


def noise(number: int, count: int, seed: int) -> np.ndarray:
    """Stamps of noise by GalSim, shape (count, N, N)."""
    profile = galsim.InterpolatedImage(
        galsim.ImageD(covariance(number)), scale=SCALE, x_interpolant="linear", normalization="sb"
    )
    source = galsim.BaseCorrelatedNoise(galsim.BaseDeviate(seed), profile, galsim.PixelScale(SCALE))
    # GalSim's noise is periodic: of a larger image a part is kept.
    found = []
    for _ in range(count):
        drawn = galsim.ImageD(N + 2 * REACH, N + 2 * REACH, scale=SCALE)
        drawn.addNoise(source)
        found.append(drawn.array[:N, :N].copy())
    return np.stack(found)


def scene(**changes: Any) -> dict[str, Any]:
    image = {"pixel_scale": SCALE, "size_x": N, "size_y": N, "noise": NOISE}
    narrow = {"type": "Normal", "sigma": 0.5}
    return {**SCENE, "image": image, "gal": {**SCENE["gal"], "position": narrow}, **changes}


def campaign_of(write: Write, tmp_path: Path, count: int, config: dict[str, Any], **keys: Any) -> Campaign:
    """Objects of two exposures each, one with a covariance and one with a power spectrum."""
    clean = galaxy()
    for number in (0, 1):
        np.savez(
            tmp_path / f"{number}.npz",
            image=clean + noise(number, count, 10 + number),
            correlation=covariance(number),
            power=power(number, 32),
        )
    told = ({"correlation": "0.npz#correlation"}, {"noise_power": "1.npz#power"})
    rows = [
        {"id": at, "image": f"{number}.npz#image", "index": at, **told[number]}
        for at in range(count)
        for number in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    asked = {"shear": ..., "realizations": ..., "observations": {"table": "t.csv"}, "config": config}
    return load(write(**{**asked, "batch": {"size": 64, "width": 8}, **keys}))


def test_the_likelihood_is_that_of_the_covariance_of_each_exposure(write: Write, tmp_path: Path) -> None:
    campaign = campaign_of(write, tmp_path, 1, scene())
    config = shear_config.of(campaign.manifest)
    problem = ShearProblem(config)
    seen = family.observe(config, campaign.plan.realizations[0].planned).data
    data = problem.prepare(seen)
    y, x = np.divmod(np.arange(N * N), N)
    dy, dx = y[:, None] - y, x[:, None] - x
    near = (abs(dy) <= REACH) & (abs(dx) <= REACH)
    inverses = [
        np.linalg.inv(np.where(near, covariance(n)[np.where(near, dy, 0) + REACH, np.where(near, dx, 0) + REACH], 0))
        for n in (0, 1)
    ]
    likelihood = jax.jit(problem.log_likelihood)
    found: list[float] = []
    expected: list[float] = []
    for g1 in (0.0, 0.3):
        values = {"g1": np.array(g1), "g2": np.array(-0.03), "x": np.array(N / 2), "y": np.array(N / 2)}
        found.append(float(likelihood(values, data)))
        model = problem.image(jnp.array([values[name] for name in problem.names]), problem.seen(seen))
        residuals = (np.asarray(seen["image"] - model, np.float64)).reshape(2, -1)
        expected.append(-0.5 * sum(float(r @ inverse @ r) for r, inverse in zip(residuals, inverses, strict=True)))
    assert abs(expected[1] - expected[0]) > 50
    # The covariance of the stamp is taken for periodic, and the model is drawn in float32 here.
    assert found[1] - found[0] == pytest.approx(expected[1] - expected[0], rel=1e-3)


def test_a_covariance_and_its_power_spectrum_are_one_noise(write: Write, tmp_path: Path) -> None:
    """Of spectra with an even and an odd number of modes; the second exposure has less than half the first's width."""
    np.save(tmp_path / "a.npy", galaxy())
    np.savez(tmp_path / "n.npz", c=covariance(1), even=power(1, 32), odd=power(1, 27))
    told = [{"correlation": "n.npz#c"}, {"noise_power": "n.npz#even"}, {"noise_power": "n.npz#odd"}]
    pd.DataFrame([{"id": at, "image": "a.npy", **one} for at, one in enumerate(told)]).to_csv(tmp_path / "t.csv")
    asked = {"shear": ..., "realizations": ..., "observations": {"table": "t.csv"}, "config": scene()}
    campaign = load(write(**asked))
    config = shear_config.of(campaign.manifest)
    first, *others = (family.observe(config, one.planned).data["power"][0] for one in campaign.plan.realizations)
    assert first.mean() == pytest.approx(SIGMAS[1] ** 2, rel=0.05)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-9)


def test_one_covariance_may_serve_all_exposures(write: Write, tmp_path: Path) -> None:
    """With that of the config, an object of one exposure has the likelihood of the same image without a table."""
    np.save(tmp_path / "a.npy", galaxy() + noise(0, 1, 3)[0])
    np.save(tmp_path / "lags.npy", covariance(0))
    pd.DataFrame([{"id": 1, "image": "a.npy"}]).to_csv(tmp_path / "t.csv")
    known = {"type": "Correlated", "sigma": SIGMAS[0], "correlation": "lags.npy"}
    found = []
    for observations in ({"images": "a.npy"}, {"table": "t.csv"}):
        content = scene(image={**scene()["image"], "noise": known})
        campaign = load(write(shear=..., realizations=..., observations=observations, config=content))
        config = shear_config.of(campaign.manifest)
        problem = ShearProblem(config)
        data = problem.prepare(family.observe(config, campaign.plan.realizations[0].planned).data)
        at = [dict(zip(("g1", "g2", "x", "y"), jnp.array([g, 0.0, 12.2, 11.9]), strict=True)) for g in (0.0, 0.3)]
        found.append(np.diff([float(problem.log_likelihood(one, data)) for one in at]))
    assert abs(found[0]) > 10
    assert found[0] == pytest.approx(found[1], rel=1e-9)


@pytest.mark.long
def test_good_objects_are_no_misfits(write: Write, tmp_path: Path) -> None:
    """48 p-values of χ² are uniform, although pixels at the edge are not white after the filter."""
    campaign = campaign_of(write, tmp_path, 48, scene(inference={"method": "map"}))
    assert campaign.run().all_ok
    chi2, dof = (campaign.summary[name].astype(float) for name in ("chi2", "dof"))
    assert dof.median() > 2 * 14**2
    assert stats.kstest(stats.chi2.sf(chi2, dof), "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("model", ["PerExposure", "white"])
def test_posteriors_are_calibrated_unless_the_noise_is_taken_for_white(
    write: Write, tmp_path: Path, model: str
) -> None:
    """Pulls of g1 and g2 of 256 objects of two exposures have variance 1; control: white noise of the same widths."""
    count = 256
    campaign = campaign_of(write, tmp_path, count, scene(inference={"method": "map"}))
    if model == "white":
        np.save(tmp_path / "rms0.npy", np.full((N, N), SIGMAS[0]))
        np.save(tmp_path / "rms1.npy", np.full((N, N), SIGMAS[1]))
        table = pd.read_csv(tmp_path / "t.csv").drop(columns=["correlation", "noise_power"])
        table["rms"] = ["rms0.npy", "rms1.npy"] * count
        table.to_csv(tmp_path / "t.csv", index=False)
        image = {**scene()["image"], "noise": {"type": "PerPixel"}}
        keys = {"observations": {"table": "t.csv"}, "convergence": {"misfit_p_min": 0}, "batch": {"size": 64}}
        content = scene(image=image, inference={"method": "map"})
        campaign = load(write(shear=..., realizations=..., config=content, **keys))
    campaign.run()
    summary = campaign.summary
    assert len(summary) == count
    pulls = np.stack([(summary[f"{g}_mean"] - TRUTH[g]) / summary[f"{g}_std"] for g in TRUTH])
    # χ² of 512 pulls.
    p = stats.chi2.sf(float((pulls**2).sum()), pulls.size)
    assert (p > 1e-3) == (model == "PerExposure"), p


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"correlation": "n.npz#c", "noise_power": "n.npz#p"}, "expected one of the columns .*, got both"),
        ({}, "expected one of the columns correlation and noise_power, got neither"),
        ({"correlation": "n.npz#even"}, "column correlation: /.*n.npz: expected an odd size, with lag 0 in the middle"),
        ({"correlation": "n.npz#far"}, "correlated too far for a stamp of 24 × 24 pixels: errors would be wrong by"),
        ({"noise_power": "n.npz#aside"}, "expected the same power of a mode and of the opposite one"),
        ({"noise_power": "n.npz#none"}, "the smallest power of a mode is"),
    ],
)
def test_what_is_no_noise_of_an_exposure_is_told(
    write: Write, tmp_path: Path, row: dict[str, str], message: str
) -> None:
    lag = np.arange(-40, 41)
    far = np.exp(-(lag[:, None] ** 2 + lag**2) / 100)
    far[40, 40] += 0.1
    far *= SIGMAS[0] ** 2
    wave = np.linspace(1, 2, 8)
    none = np.where(power(0, 32) > 1e-6, 1.0, 0.0)
    found = {"c": covariance(0), "even": covariance(0)[:-1], "far": far, "p": power(0, 32), "none": none}
    np.savez(tmp_path / "n.npz", aside=np.add.outer(wave, wave), **found)  # type: ignore[arg-type]
    np.save(tmp_path / "a.npy", galaxy())
    rows = [{"id": 1, "image": "a.npy", **row}, {"id": 2, "image": "a.npy", "correlation": "n.npz#c"}]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv")
    campaign = load(
        write(shear=..., realizations=..., observations={"table": "t.csv"}, config=scene(inference={"method": "map"}))
    )
    with pytest.raises(DataError, match=f"t.csv, row 1.*{message}"):
        family.observe(shear_config.of(campaign.manifest), campaign.plan.realizations[0].planned)


@pytest.mark.parametrize(
    ("noise", "columns", "message"),
    [
        (NOISE, {}, "add a column 'correlation' or 'noise_power'"),
        ({**NOISE, "sigma": 1e-3}, {"correlation": "n.npy"}, "the table tells the noise of each exposure; remove it"),
        (
            {"type": "Gaussian", "sigma": 1e-3},
            {"noise_power": "n.npy"},
            "the column 'noise_power' needs image.noise: {type: Correlated, correlation: PerExposure}",
        ),
        (NOISE, {"correlation": "n.npy", "weight": "n.npy"}, "the column 'weight' needs image.noise: {type: PerPixel}"),
    ],
)
def test_columns_and_config_agree(
    write: Write, tmp_path: Path, noise: dict[str, Any], columns: dict[str, str], message: str
) -> None:
    np.save(tmp_path / "a.npy", galaxy())
    np.save(tmp_path / "n.npy", covariance(0))
    pd.DataFrame([{"id": 1, "image": "a.npy", **columns}]).to_csv(tmp_path / "t.csv")
    image = {**scene()["image"], "noise": noise}
    with pytest.raises(ManifestError) as caught:
        load(write(shear=..., realizations=..., observations={"table": "t.csv"}, config=scene(image=image)))
    assert message in str(caught.value)


def test_images_without_a_table_have_no_noise_of_their_own(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", galaxy())
    for keys in ({}, {"shear": ..., "realizations": ..., "observations": {"images": "a.npy"}}):
        with pytest.raises(ManifestError, match=r"config.image.noise.correlation.*\n?.*observations.table"):
            load(write(config=scene(), **keys))

"""Exposures in several bands: flux ratios that are fixed or latent, and a bulge and a disc with colours of their own.

The oracle of the posterior is brute force over a grid of the latents on images that GalSim draws; the images are linear
in the fluxes of the components.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import SCENE, Write, load
from lanewise.api import Campaign
from lanewise.errors import ManifestError
from lanewise.families.shear import family
from lanewise.families.shear.model.render import STAMP

N, SCALE = 24, 0.3
# Point-spread functions differ from band to band, as they do [arcsec].
PSF = {"r": 0.40, "g": 0.46, "z": 0.36}
FRACTION = 0.4
RADIUS = {"bulge": 0.35, "disc": 0.8}
EXACT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9)
NARROW = {"type": "Normal", "sigma": 1e-4}


def lognormal(mean: float, sigma: float) -> dict[str, Any]:
    return {"type": "LogNormal", "mean": mean, "sigma": sigma}


def component(name: str, g1: float, band: str) -> np.ndarray:
    """The image of a component of unit flux in a band."""
    kind = {"bulge": galsim.Gaussian, "disc": galsim.Exponential}[name]
    galaxy = kind(half_light_radius=RADIUS[name], gsparams=EXACT).shear(g1=g1, g2=0.0)
    seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=PSF[band], gsparams=EXACT)], gsparams=EXACT)
    image: np.ndarray = seen.drawImage(nx=N, ny=N, scale=SCALE, dtype=float).array
    return image


def drawn(g1: float, flux: float, band: str, ratios: Mapping[str, float]) -> np.ndarray:
    """The galaxy in a band."""
    shares = {"bulge": FRACTION, "disc": 1 - FRACTION}
    return np.asarray(sum(flux * shares[name] * ratios[name] * component(name, g1, band) for name in shares))


def config(bands: dict[str, Any], **changes: Any) -> dict[str, Any]:
    gal = {
        "type": "Sum",
        "components": {
            "bulge": {"type": "Gaussian", "half_light_radius": RADIUS["bulge"], "fraction": FRACTION},
            "disc": {"type": "Exponential", "half_light_radius": RADIUS["disc"]},
        },
        "flux": lognormal(1.0, 0.3),
        "shear": {"g1": {"type": "Normal", "mean": 0.0, "sigma": 0.2}, "g2": 0.0},
        "position": NARROW,
        "bands": bands,
    }
    return {
        "image": {"pixel_scale": SCALE, "size_x": N, "size_y": N, "noise": {"type": "PerPixel"}},
        "psf": {"type": "PerExposure", "fwhm": 0.95, "pixel_scale": SCALE / 2},
        "gal": gal,
        "inference": {"method": "map", "precision": "float64"},
        **changes,
    }


def campaign_of(
    write: Write, tmp_path: Path, images: list[dict[str, np.ndarray]], sigma: float, scene: dict[str, Any], **keys: Any
) -> Campaign:
    """Objects with an image for each band."""
    for band, width in PSF.items():
        psf = galsim.Gaussian(sigma=width).drawImage(nx=49, ny=49, scale=SCALE / 2, method="no_pixel", dtype=float)
        np.save(tmp_path / f"psf_{band}.npy", psf.array)
    rows = []
    for band in images[0]:
        np.savez(tmp_path / f"{band}.npz", image=np.stack([one[band] for one in images]))
        np.savez(tmp_path / "noise.npz", variance=np.full((N, N), sigma**2))
        named = {"image": f"{band}.npz#image", "variance": "noise.npz#variance", "psf": f"psf_{band}.npy"}
        rows += [{"id": at, "band": band, "index": at, **named} for at in range(len(images))]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    asked = {"shear": ..., "realizations": ..., "observations": {"table": "t.csv"}, "config": scene}
    return load(write(**{**asked, "batch": {"size": 256, "width": 4}, **keys}))


def draws_of(campaign: Campaign, at: int = 0) -> dict[str, np.ndarray]:
    posterior = campaign.posterior(campaign.plan.realizations[at].run_id)["posterior"]
    return {str(name): posterior[name].to_numpy().ravel() for name in posterior}


RATIOS = {"r": {"bulge": 1.0, "disc": 1.0}, "g": {"bulge": 0.3, "disc": 0.9}, "z": {"bulge": 1.6, "disc": 1.1}}
LATENT = {"flux_ratios": {"bulge": lognormal(0.5, 0.5), "disc": lognormal(0.7, 0.5)}}
BANDS = {"r": {"flux_ratio": 1.0}, "g": LATENT, "z": {"flux_ratios": RATIOS["z"]}}


@pytest.mark.slow
def test_truths_are_recovered_without_noise(write: Write, tmp_path: Path) -> None:
    """Bulge, disc and shear; and with the ratios of another band, which are fixed there, they are not."""
    images = [{band: drawn(0.06, 1.2, band, ratios) for band, ratios in RATIOS.items()}]
    swapped = [{**images[0], "z": images[0]["g"], "g": images[0]["z"]}]
    keys = {"convergence": {"misfit_p_min": 0}}
    found: list[dict[str, float]] = []
    for seen in (images, swapped):
        campaign = campaign_of(
            write, tmp_path, seen, 1e-6, config(BANDS), output__url=str(tmp_path / f"{len(found)}"), **keys
        )
        campaign.run()
        found.append({name: float(values[0]) for name, values in draws_of(campaign).items()})
    truth = {"g1": 0.06, "flux": 1.2, "g_bulge_flux_ratio": 0.3, "g_disc_flux_ratio": 0.9}
    for name, value in truth.items():
        assert found[0][name] == pytest.approx(value, abs=2e-4), name
    assert abs(found[1]["g_bulge_flux_ratio"] - 0.3) > 0.3


@pytest.mark.slow
def test_the_joint_posterior_is_that_of_brute_force(write: Write, tmp_path: Path) -> None:
    """Of g1, flux, and the ratios of bulge and disc in g, from images in three bands."""
    sigma, truth_g1 = 0.004, 0.06
    noise = np.random.default_rng(5)
    seen = {
        band: drawn(truth_g1, 1.2, band, ratios) + noise.normal(scale=sigma, size=(N, N))
        for band, ratios in RATIOS.items()
    }
    hmc = {"method": "hmc", "precision": "float64", "hmc_config": {"samples": 4000, "chains": 4}}
    campaign = campaign_of(write, tmp_path, [seen], sigma, config(BANDS, inference=hmc))
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok"]
    ours = draws_of(campaign)

    def spanned(name: str, n: int) -> np.ndarray:
        mean, reach = float(ours[name].mean()), 5.5 * float(ours[name].std())
        return np.linspace(mean - reach, mean + reach, n)

    axes = {name: spanned(name, n) for name, n in (("g1", 45), ("flux", 35))}
    axes |= {f"g_{name}_flux_ratio": spanned(f"g_{name}_flux_ratio", 41) for name in RADIUS}
    flux, bulge, disc = np.meshgrid(*list(axes.values())[1:], indexing="ij")
    prior = stats.lognorm(0.3, scale=1.0).logpdf(flux)
    prior += stats.lognorm(0.5, scale=0.5).logpdf(bulge) + stats.lognorm(0.5, scale=0.7).logpdf(disc)
    log_density = []
    for g1 in axes["g1"]:
        total = prior + stats.norm(0, 0.2).logpdf(g1)
        for band, ratios in RATIOS.items():
            b, d = (component(name, float(g1), band).ravel() for name in ("bulge", "disc"))
            of_b, of_d = (bulge, disc) if band == "g" else (ratios["bulge"], ratios["disc"])
            amount_b, amount_d = flux * FRACTION * of_b, flux * (1 - FRACTION) * of_d
            y = seen[band].ravel()
            chi2 = amount_b**2 * (b @ b) + 2 * amount_b * amount_d * (b @ d) + amount_d**2 * (d @ d)
            total = total - (chi2 - 2 * (amount_b * (b @ y) + amount_d * (d @ y))) / (2 * sigma**2)
        log_density.append(total)
    weight = np.exp(np.array(log_density) - np.max(log_density))
    weight /= weight.sum()
    grids = np.meshgrid(*axes.values(), indexing="ij")
    for name, values in zip(axes, grids, strict=True):
        mean = float(np.sum(weight * values))
        width = float(np.sqrt(np.sum(weight * (values - mean) ** 2)))
        # Of 16 000 draws, more than 4000 effective ones: .016 σ and 1.1 %.
        assert abs(ours[name].mean() - mean) < 0.07 * width, name
        assert ours[name].std() == pytest.approx(width, rel=0.05), name
    one, other = (values - np.sum(weight * values) for values in grids[2:])
    together = np.sum(weight * one * other) / np.sqrt(np.sum(weight * one**2) * np.sum(weight * other**2))
    names = list(axes)[2:]
    assert np.corrcoef(ours[names[0]], ours[names[1]])[0, 1] == pytest.approx(float(together), abs=0.07)
    # What a band adds: the ratios are known better than their priors say.
    assert ours["g_disc_flux_ratio"].std() < 0.5 * stats.lognorm(0.5, scale=0.7).std()


@pytest.mark.slow
def test_ranks_of_ratios_and_shear_are_uniform(write: Write, tmp_path: Path) -> None:
    """The calibration of 64 objects whose truths are drawn from the priors."""
    noise, truths, images = np.random.default_rng(6), [], []
    n, sigma, bands = 64, 0.004, {"r": {"flux_ratio": 1.0}, "g": LATENT}
    for _ in range(n):
        truth = {"g1": 0.2 * noise.normal(), "flux": np.exp(0.3 * noise.normal())}
        truth |= {
            f"g_{name}_flux_ratio": middle * np.exp(0.5 * noise.normal())
            for name, middle in (("bulge", 0.5), ("disc", 0.7))
        }
        ratios = {"r": RATIOS["r"], "g": {name: truth[f"g_{name}_flux_ratio"] for name in RADIUS}}
        images.append(
            {
                band: drawn(truth["g1"], truth["flux"], band, ratios[band]) + noise.normal(scale=sigma, size=(N, N))
                for band in bands
            }
        )
        truths.append(truth)
    hmc = {"method": "hmc", "precision": "float64", "hmc_config": {"samples": 1000, "chains": 2}}
    campaign = campaign_of(write, tmp_path, images, sigma, config(bands, inference=hmc))
    campaign.run()
    assert (campaign.summary["status"] == "ok").mean() > 0.97
    for name in truths[0]:
        ranks = np.array([np.mean(draws_of(campaign, at)[name] < truths[at][name]) for at in range(n)])
        # Of four tests of a right program, one in 250 campaigns has a p below this.
        assert stats.kstest(ranks, "uniform").pvalue > 1e-3, name
    # The control: with a truth that is not the object's own the test fails.
    shifted = [
        np.mean(draws_of(campaign, at)["g_disc_flux_ratio"] < truths[at - 1]["g_disc_flux_ratio"]) for at in range(n)
    ]
    assert stats.kstest(shifted, "uniform").pvalue < 1e-3


def plain(bands: dict[str, Any]) -> dict[str, Any]:
    gal = {**SCENE["gal"], "flux": lognormal(1.0, 0.3), "position": NARROW, "bands": bands}
    return {**SCENE, "gal": gal}


@pytest.mark.slow
def test_a_galaxy_of_one_profile_has_a_ratio_for_each_band(write: Write, tmp_path: Path) -> None:
    """Latent in g, fixed in r; by modes, as the noise has one width."""

    def image(flux: float) -> np.ndarray:
        galaxy = galsim.Exponential(half_light_radius=0.5, flux=flux, gsparams=EXACT).shear(g1=0.03, g2=-0.02)
        seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4, gsparams=EXACT)], gsparams=EXACT)
        found: np.ndarray = seen.drawImage(nx=N, ny=N, scale=SCALE, dtype=float).array
        return found

    np.save(tmp_path / "images.npy", np.stack([image(1.1), image(1.1 * 0.4)]))
    rows = [{"id": 1, "image": "images.npy", "index": at, "band": band} for at, band in enumerate("rg")]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    scene = plain({"r": {"flux_ratio": 1}, "g": {"flux_ratio": lognormal(1.0, 1.0)}})
    # Little noise, or the prior pulls the flux by more than 1e-4.
    scene["image"] = {**SCENE["image"], "noise": {"sigma": 3e-4}}
    campaign = load(write(shear=..., realizations=..., observations={"table": "t.csv"}, config=scene))
    campaign.run()
    (run_id,) = (one.run_id for one in campaign.plan.realizations)
    told = json.loads((tmp_path / "results" / run_id / "convergence.json").read_text())
    assert told["model_used"] == str(STAMP)
    found = {name: float(values[0]) for name, values in draws_of(campaign).items()}
    assert found["flux"] == pytest.approx(1.1, abs=1e-4)
    assert found["g_flux_ratio"] == pytest.approx(0.4, abs=1e-4)
    assert [found["g1"], found["g2"]] == pytest.approx([0.03, -0.02], abs=1e-4)


ONE = {"r": {"flux_ratio": 1}, "g": {"flux_ratio": 0.5}}


@pytest.mark.parametrize(
    ("rows", "bands", "message"),
    [
        (["r", "i"], ONE, "the config has the bands g, r (gal.bands), the column 'band' has 'i'"),
        (["r", ""], ONE, "the config has the bands g, r (gal.bands), the column 'band' has none"),
        ([None, None], ONE, "the config has the bands g, r (gal.bands), the column 'band' has none"),
        (["r", "g"], None, "the column 'band' needs gal.bands in the config"),
        (["r", "g"], {"r": {}}, "gal.bands.r"),
        (["r", "g"], {"r": {"flux_ratio": 1, "flux_ratios": {"a": 1, "b": 1}}}, "give one of the two"),
        (["r", "g"], {"r": {"flux_ratios": {"a": 1, "b": 1}}}, "the galaxy has no components; give flux_ratio"),
        (["r", "g"], {"r": {"flux_ratio": 0}}, "gal.bands.r.flux_ratio"),
        (
            ["r", "g"],
            {"r": {"flux_ratio": {"type": "Normal", "mean": -1, "sigma": 1}}, "g": {"flux_ratio": 1}},
            "expected a prior around a positive value",
        ),
        (["r", "g"], {"my_r": {"flux_ratio": 1}}, "a name of letters and digits"),
    ],
)
def test_bands_that_do_not_fit_are_refused(
    write: Write, tmp_path: Path, rows: list[str | None], bands: dict[str, Any] | None, message: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((N, N)))
    listed = [{"id": 1, "image": "a.npy", **({} if band is None else {"band": band})} for band in rows]
    pd.DataFrame(listed).to_csv(tmp_path / "t.csv", index=False)
    scene = SCENE if bands is None else plain(bands)
    with pytest.raises(ManifestError) as caught:
        load(write(shear=..., realizations=..., observations={"table": "t.csv"}, config=scene))
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"shear": ..., "realizations": ..., "observations": {"images": "a.npy"}}])
def test_bands_need_a_table(write: Write, tmp_path: Path, changes: dict[str, Any]) -> None:
    np.save(tmp_path / "a.npy", np.zeros((N, N)))
    with pytest.raises(ManifestError, match=r"config.gal.bands: .*observations.table"):
        load(write(config=plain(ONE), **changes))


def test_ratios_that_are_all_latent_are_remarked_on(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((N, N)))
    pd.DataFrame([{"id": 1, "image": "a.npy", "band": "r"}]).to_csv(tmp_path / "t.csv", index=False)
    told = []
    for ratio in (1, lognormal(1.0, 0.1)):
        scene = plain({"r": {"flux_ratio": ratio}, "g": {"flux_ratio": lognormal(1.0, 0.1)}})
        campaign = load(write(shear=..., realizations=..., observations={"table": "t.csv"}, config=scene))
        told.append([one for one in family.remarks(campaign.manifest) if "only their products are measured" in one])
    assert (told[0], len(told[1])) == ([], 1)

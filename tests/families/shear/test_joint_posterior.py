"""Four exposures of one galaxy: the posterior against NumPyro's own sampler on images that JAX-GalSim draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import galsim
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
import pytest
from jax import random
from numpyro import distributions as dist

import jax_galsim_renderer  # noqa: F401  # sets up JAX-GalSim for its import
from conftest import Write, load

SCALE, N, SIGMA = 0.263, 32, 2e-3
TRUTH = {"g1": 0.05, "g2": -0.04, "flux": 1.0, "half_light_radius": 0.5}
PLACE = (0.06, -0.03)
TURN = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
# Jacobian, dither [pixel], and the point-spread function: its width [arcsec], g1 and g2.
EXPOSURES = (
    (SCALE * np.eye(2), (0.0, 0.0), (0.36, 0.02, 0.0)),
    (SCALE * np.diag([-1.0, 1.0]), (0.3, -0.4), (0.40, -0.01, 0.03)),
    (SCALE * TURN, (-0.25, 0.1), (0.44, 0.0, -0.02)),
    (SCALE * np.diag([1.05, 1 / 1.05]) @ TURN.T, (0.5, 0.5), (0.38, 0.03, 0.01)),
)
PRIORS: dict[str, Any] = {
    "g1": dist.Normal(0.0, 0.3),
    "g2": dist.Normal(0.0, 0.3),
    "flux": dist.LogNormal(0.0, 0.3),
    "half_light_radius": dist.LogNormal(np.log(0.5), 0.2),
    "x": dist.Normal(N / 2, 0.5),
    "y": dist.Normal(N / 2, 0.5),
}


def drawn(module: Any, p: dict[str, Any], at: int) -> Any:
    """An exposure by GalSim or by JAX-GalSim."""
    jacobian, offset, (width, psf_g1, psf_g2) = EXPOSURES[at]
    how = {"gsparams": module.GSParams(minimum_fft_size=128, maximum_fft_size=128)} if module is not galsim else {}
    galaxy = module.Exponential(flux=p["flux"], half_light_radius=p["half_light_radius"], **how)
    galaxy = galaxy.shear(g1=p["g1"], g2=p["g2"]).shift(SCALE * (p["x"] - N / 2), SCALE * (p["y"] - N / 2))
    psf = module.Gaussian(sigma=width, **how).shear(g1=psf_g1, g2=psf_g2)
    wcs = module.JacobianWCS(*(float(one) for one in jacobian.ravel()))
    image = module.Convolve([galaxy, psf], **how).drawImage(
        nx=N, ny=N, wcs=wcs, offset=module.PositionD(*offset), dtype=float
    )
    return image.array


@pytest.mark.slow
def test_the_posterior_of_four_exposures_is_that_of_the_joint_likelihood(write: Write, tmp_path: Path) -> None:
    truth = TRUTH | {name: N / 2 + at / SCALE for name, at in zip("xy", PLACE, strict=True)}
    noise = np.random.default_rng(8)
    images = [drawn(galsim, truth, at) + noise.normal(scale=SIGMA, size=(N, N)) for at in range(4)]
    rows = []
    for at, (jacobian, offset, (width, psf_g1, psf_g2)) in enumerate(EXPOSURES):
        np.save(tmp_path / f"image{at}.npy", images[at])
        psf = galsim.Gaussian(sigma=width).shear(g1=psf_g1, g2=psf_g2)
        fine = galsim.JacobianWCS(*(jacobian / 2).ravel())
        image = psf.drawImage(nx=61, ny=61, wcs=fine, method="no_pixel", dtype=float).array
        np.save(tmp_path / f"psf{at}.npy", image)
        place = {"x": N / 2 + offset[0], "y": N / 2 + offset[1]}
        named = dict(zip(("dudx", "dudy", "dvdx", "dvdy"), jacobian.ravel(), strict=True))
        rows.append({"image": f"image{at}.npy", "psf": f"psf{at}.npy", **place, **named})
    # All together, and each by itself.
    listed = [{"id": "all", **row} for row in rows] + [{"id": at, **row} for at, row in enumerate(rows)]
    pd.DataFrame(listed).to_csv(tmp_path / "t.csv", index=False)
    normal = {"type": "Normal", "mean": 0.0, "sigma": 0.3}
    config = {
        "image": {"pixel_scale": SCALE, "size_x": N, "size_y": N, "noise": {"sigma": SIGMA}},
        "psf": {"type": "PerExposure", "fwhm": 0.9, "pixel_scale": SCALE / 2},
        "gal": {
            "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 0.3},
            "half_light_radius": {"type": "LogNormal", "mean": 0.5, "sigma": 0.2},
            "shear": {"g1": normal, "g2": normal},
            "position": {"type": "Normal", "sigma": 0.5},
        },
        "inference": {"method": "hmc", "precision": "float64", "hmc_config": {"samples": 2000, "chains": 2}},
    }
    campaign = load(write(config=config, shear=..., realizations=..., observations={"table": "t.csv"}))
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok"] * 5
    draws = [
        {name: campaign.posterior(one.run_id)["posterior"][name].to_numpy().ravel() for name in PRIORS}
        for one in campaign.plan.realizations
    ]

    import jax_galsim

    def model() -> None:
        p = {name: numpyro.sample(name, prior) for name, prior in PRIORS.items()}
        for at, image in enumerate(images):
            shown = jnp.asarray(drawn(jax_galsim, p, at))
            numpyro.sample(f"image{at}", dist.Normal(shown, SIGMA).to_event(2), obs=image)

    start = numpyro.infer.init_to_value(values=truth)
    mcmc = numpyro.infer.MCMC(
        numpyro.infer.NUTS(model, init_strategy=start, dense_mass=True),
        num_warmup=500,
        num_samples=2000,
        num_chains=2,
        chain_method="sequential",
        progress_bar=False,
    )
    mcmc.run(random.key(4))
    theirs = {name: np.asarray(values) for name, values in mcmc.get_samples().items()}
    # The standard error of a mean of 1000 effective draws is .03 σ, of a width 2.2 %.
    for name, values in theirs.items():
        assert abs(draws[0][name].mean() - values.mean()) < 0.1 * values.std(), name
        assert draws[0][name].std() == pytest.approx(values.std(), rel=0.05), name
    prior = np.diag([0.3, 0.3, 0.3, 0.2, 0.5, 0.5]) ** 2

    def information(one: dict[str, np.ndarray]) -> np.ndarray:
        logarithms = {name: np.log(v) if name in ("flux", "half_light_radius") else v for name, v in one.items()}
        return np.linalg.inv(np.cov(np.stack([logarithms[name] for name in PRIORS]))) - np.linalg.inv(prior)

    summed = np.linalg.inv(sum(information(one) for one in draws[1:]) + np.linalg.inv(prior))
    joint = np.linalg.inv(information(draws[0]) + np.linalg.inv(prior))
    assert np.sqrt(np.diag(joint)[:2] / np.diag(summed)[:2]) == pytest.approx([1, 1], abs=0.1)

"""One frame for x and y: pixels from the lower left corner of the stamp, where the first pixel's centre is at .5."""

from __future__ import annotations

import json
from pathlib import Path

import galsim
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import SCENE, Write, load
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.model.problem import ShearProblem
from lanewise.families.shear.report import gallery
from lanewise.machine import device
from lanewise.manifest.plan import Single

STAMP = {"pixel_scale": 0.3, "size_x": 28, "size_y": 20, "noise": {"sigma": 1e-5, "simulated": False}}
POSITION = {"x_min": 16, "x_max": 18, "y_min": 0.35, "y_max": 0.45}  # y: pixels 7 to 9


def by_galsim(truth: dict[str, float]) -> np.ndarray:
    """In GalSim's own coordinates, where the centre of the first pixel is at 1."""
    galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(g1=truth["g1"], g2=truth["g2"])
    seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4)])
    place = galsim.PositionD(truth["x"] + 0.5, truth["y"] + 0.5)
    image: np.ndarray = seen.drawImage(galsim.ImageD(28, 20), scale=0.3, center=place).array
    return image


@pytest.mark.long
def test_truth_posterior_bounds_and_tables_agree(write: Write, tmp_path: Path) -> None:
    scene = {**SCENE, "image": STAMP, "gal": {**SCENE["gal"], "position": POSITION}}
    campaign = load(write("a.yaml", config={**scene, "simulation": {"truths": "drawn"}}))
    campaign.run()
    config, images, truths = shear_config.of(campaign.manifest), [], []
    for realization in campaign.plan.realizations:
        truth = json.loads((tmp_path / "results" / realization.run_id / "truth.json").read_text())
        assert 16 < truth["x"] < 18
        assert 7 < truth["y"] < 9
        image = family.observe(config, realization.planned).data["image"]
        assert np.abs(image - by_galsim(truth)).max() < 1e-12
        mean = campaign.posterior(realization.run_id)["posterior"].mean()
        # Without noise, and with GalSim's errors of 2e-5 of the peak, whose slope is above a tenth of it per pixel.
        assert [float(mean["x"]), float(mean["y"])] == pytest.approx([truth["x"], truth["y"]], abs=1e-3)
        images.append(image)
        truths.append({name: truth[name] for name in ("g1", "g2", "x", "y")})
    np.save(tmp_path / "stamps.npy", np.stack(images))
    files = {"images": "stamps.npy", "truths": truths}
    read = load(write("b.yaml", str(tmp_path / "read"), config=scene, shear=..., realizations=..., observations=files))
    read.run()
    for run_id in (realization.run_id for realization in campaign.plan.realizations):
        ours, theirs = (one.posterior(run_id)["posterior"] for one in (campaign, read))
        assert ours.equals(theirs)
        assert json.loads((tmp_path / "read" / run_id / "truth.json").read_text())["x"] == truths.pop(0)["x"]
    # The report draws the posterior's galaxy over the image.
    run_id = campaign.plan.realizations[0].run_id
    shown = gallery.stamps(campaign.record, *gallery.results_of(campaign.record, [run_id])[run_id])
    assert np.abs(shown.data - shown.model).max() < 1e-4 * shown.model.max()


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_given_centre_is_that_of_the_latents(precision: str) -> None:
    device.prepare("cpu", precision)
    stamp = {**STAMP, "noise": {"sigma": 1e-3, "simulated": False}}
    scene = {**SCENE, "image": stamp, "gal": {**SCENE["gal"], "position": POSITION}}
    scene["inference"] = {**SCENE["inference"], "precision": precision}
    free = shear_config.parse(scene)
    given = shear_config.parse({**scene, "simulation": {"given": ["x", "y"]}})
    truth = {"g1": 0.02, "g2": 0.0, "x": 17.3, "y": 7.6}
    data = family.observe(given, Single("r", 1, truth)).data
    assert data["given"].tolist() == [17.3, 7.6]
    latents = {name: jnp.asarray(value) for name, value in truth.items()}
    shear = {name: latents[name] for name in ("g1", "g2")}
    problem, other = ShearProblem(free), ShearProblem(given)
    found = float(jax.jit(problem.log_likelihood)(latents, problem.prepare(data)))
    # χ² of the noise-free image at its truth; a centre that is a pixel off has thousands.
    assert abs(found) < 1e-2
    assert float(jax.jit(other.log_likelihood)(shear, other.prepare(data))) == pytest.approx(found, abs=1e-2)

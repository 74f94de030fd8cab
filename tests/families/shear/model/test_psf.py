"""Point-spread functions: elliptical ones, and images of them from files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pytest
from astropy.io import fits

from conftest import SCENE, Write, load
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import psf_image, stamp_files
from lanewise.families.shear.image_simulator import simulate
from lanewise.families.shear.model.draw import draw
from lanewise.families.shear.model.grid import GridRenderer
from lanewise.families.shear.model.render import STAMP
from lanewise.families.shear.point_spread import PsfImage
from lanewise.machine import device
from lanewise.manifest.plan import Single

TIGHT = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-7, kvalue_accuracy=1e-9, maximum_fft_size=16384)
AT = {"g1": 0.05, "g2": -0.02, "x": 24.3, "y": 23.6}


@pytest.fixture(autouse=True)
def _float64() -> None:
    device.prepare("cpu", "float64")


def scene(psf: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SCENE), "psf": psf, "image": {**SCENE["image"], "size_x": 48, "size_y": 48, **image}}


def drawn(psf: galsim.GSObject) -> np.ndarray:
    galaxy = galsim.Exponential(half_light_radius=0.5, gsparams=TIGHT).shear(g1=0.05, g2=-0.02)
    image: np.ndarray = (
        galsim.Convolve([galaxy, psf], gsparams=TIGHT)
        .drawImage(nx=48, ny=48, scale=0.3, offset=(0.3, -0.4), dtype=np.float64)
        .array
    )
    return image


def image_of_a_psf(scale: float, size: int) -> np.ndarray:
    """Asymmetric, as the sum of an elliptical Gaussian and another beside it."""
    psf = galsim.Gaussian(sigma=0.35).shear(e1=0.2, e2=0.1) + 0.2 * galsim.Gaussian(sigma=0.25).shift(0.3, -0.2)
    image: np.ndarray = psf.drawImage(nx=size, ny=size, scale=scale, method="no_pixel", dtype=np.float64).array
    return image


@pytest.mark.parametrize("kind", ["Gaussian", "Moffat"])
def test_elliptical_psfs_equal_galsims(kind: str) -> None:
    round_one = (
        galsim.Gaussian(sigma=0.4, gsparams=TIGHT)
        if kind == "Gaussian"
        else galsim.Moffat(beta=2.5, fwhm=0.9, gsparams=TIGHT)
    )
    expected = drawn(round_one.shear(e1=0.1, e2=-0.05))
    psf = {"type": kind, "sigma": 0.4 if kind == "Gaussian" else 0.9, "ellipticity": {"e1": 0.1, "e2": -0.05}}
    np.testing.assert_allclose(draw(scene(psf), **AT), expected, rtol=0, atol=1e-7 * expected.max())
    simulated = simulate(shear_config.parse(scene(psf, noise={"sigma": 1.0, "simulated": False})), Single("r", 1, AT))
    np.testing.assert_allclose(simulated.data["image"], expected, rtol=0, atol=2e-4 * expected.max())


@pytest.mark.long
@pytest.mark.parametrize(("scale", "size"), [(0.1, 48), (0.1, 49), (0.3, 17)])
def test_an_image_of_a_psf_is_galsims_quintic_interpolated_image(scale: float, size: int, tmp_path: Path) -> None:
    image = image_of_a_psf(scale, size)
    path = str(tmp_path / "psf.npy")
    np.save(path, 3 * image)
    # GalSim interpolates the transform too, with more padding more finely; and for a coarse image it leaves out what
    # the interpolation has beyond the image's band, 2e-4 of the peak, unless it is told not to look.
    whole = {"calculate_maxk": scale < 0.3, "pad_factor": 16, "gsparams": TIGHT}
    expected = drawn(galsim.InterpolatedImage(galsim.Image(image), scale=scale, flux=1.0, **whole))
    psf = {"type": "Image", "file": path, "pixel_scale": scale}
    found = np.asarray(draw(scene(psf), **AT))
    np.testing.assert_allclose(found, expected, rtol=0, atol=(1e-8 if scale < 0.3 else 1e-5) * expected.max())


def test_an_image_of_a_psf_may_include_the_pixel_of_the_stamp(tmp_path: Path) -> None:
    """In the model, and where images are simulated of it."""
    psf = galsim.Gaussian(sigma=0.4, gsparams=TIGHT).shear(e1=0.1, e2=-0.05)
    expected, scale = drawn(psf), 0.3
    whole = galsim.Convolve([psf, galsim.Pixel(scale)], gsparams=TIGHT)
    image = whole.drawImage(nx=61, ny=61, scale=scale / 3, method="no_pixel", dtype=np.float64).array
    np.save(tmp_path / "psf.npy", image)
    how = {"type": "Image", "file": str(tmp_path / "psf.npy"), "pixel_scale": scale / 3, "pixel": "included"}
    # GalSim's default accuracy; ours is that of the interpolation.
    within = 1e-4 * expected.max()
    np.testing.assert_allclose(draw(scene(how), **AT), expected, rtol=0, atol=0.1 * within)
    simulated = simulate(shear_config.parse(scene(how, noise={"sigma": 1.0, "simulated": False})), Single("r", 1, AT))
    np.testing.assert_allclose(simulated.data["image"], expected, rtol=0, atol=within)
    assert np.abs(np.asarray(draw(scene({**how, "pixel": "apart"}), **AT)) - expected).max() > 100 * within


def test_modes_and_grid_agree_for_an_image_of_a_psf(tmp_path: Path) -> None:
    import jax
    import jax.numpy as jnp

    from lanewise.families.shear.model.fourier import ModeLikelihood

    np.save(tmp_path / "psf.npy", image_of_a_psf(0.1, 64))
    config = shear_config.parse(scene({"type": "Image", "file": str(tmp_path / "psf.npy"), "pixel_scale": 0.1}))
    p = {name: jnp.asarray(value) for name, value in {**config.fixed, **AT}.items()}
    likelihood = ModeLikelihood(config, 1e-3)
    render = jax.jit(GridRenderer(config, STAMP))
    image = np.asarray(render(p))
    data = likelihood.prepare({"image": image})
    assert float(likelihood.log_likelihood(p, data)) == pytest.approx(0.0, abs=1e-4)
    other = {**p, "g1": jnp.asarray(0.1)}
    expected = -0.5 * np.sum((image - np.asarray(render(other))) ** 2) / 1e-6
    assert float(likelihood.log_likelihood(other, data)) == pytest.approx(expected, rel=1e-3)


def test_a_psf_image_is_read_beside_the_config_and_pinned_by_its_content(write: Write, tmp_path: Path) -> None:
    (tmp_path / "psfs").mkdir()
    fits.writeto(tmp_path / "psfs" / "psf.fits", image_of_a_psf(0.1, 32))
    config = {**SCENE, "psf": {"type": "Image", "file": "psfs/psf.fits", "pixel_scale": 0.1}}
    manifest = load(write(config=config)).manifest
    content = json.dumps(manifest.config.content)
    psf = shear_config.of(manifest).psf
    assert isinstance(psf, PsfImage)
    assert str(tmp_path) not in content
    assert manifest.config.content["psf"]["sha256"] == psf.file.sha256
    again = load(write("again.yaml", config={**config, "psf": manifest.content["config"]["psf"]})).manifest
    assert again.config == manifest.config
    fits.writeto(tmp_path / "psfs" / "psf.fits", image_of_a_psf(0.1, 33), overwrite=True)
    assert load(write(config=config)).manifest.config.content != manifest.config.content
    psf_image.read.cache_clear()
    stamp_files.load.cache_clear()
    with pytest.raises(DataError, match="has changed"):
        simulate(shear_config.of(again), Single("r", 1, AT))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (None, "no such file"),
        (np.full((8, 8), np.nan), "64 pixels are not finite"),
        (np.zeros((8, 8)), "the pixels sum to 0"),
        (np.ones((2, 8, 8)), "expected one image, got 2"),
    ],
)
def test_a_file_that_holds_no_psf_is_refused(image: np.ndarray | None, says: str, write: Write, tmp_path: Path) -> None:
    if image is not None:
        np.save(tmp_path / "psf.npy", image)
    config = {**SCENE, "psf": {"type": "Image", "file": "psf.npy", "pixel_scale": 0.1}}
    with pytest.raises(ManifestError, match=rf"config\.psf\.file: .*{says}"):
        load(write(config=config))


def test_keys_of_another_kind_of_psf_are_refused(write: Write) -> None:
    with pytest.raises(ManifestError, match=r"psf\.file: type: Gaussian has no file"):
        load(write(config={**SCENE, "psf": {"sigma": 0.4, "file": "psf.npy"}}))
    with pytest.raises(ManifestError, match=r"psf: expected the key 'file' \(The image of the point-spread function\)"):
        load(write(config={**SCENE, "psf": {"type": "Image", "pixel_scale": 0.1}}))
    with pytest.raises(ManifestError, match=r"psf\.ellipticity: expected a size below 1"):
        load(write(config={**SCENE, "psf": {"sigma": 0.4, "ellipticity": {"e1": 0.9, "e2": 0.9}}}))

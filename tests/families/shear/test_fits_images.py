"""FITS files as astropy and GalSim write them: the right image, the right size of a pixel, or the sentence."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pytest
from astropy.io import fits

from conftest import SCENE, Write, load
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import stamp_files

SIDE = 24
PIXELS = np.arange(SIDE * SIDE, dtype=np.float64).reshape(SIDE, SIDE)
SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
ARCSEC = {"CUNIT1": "arcsec", "CUNIT2": "arcsec"}
DEGREE = 1 / 3600
ROTATED = {"PC1_1": 0.6, "PC1_2": -0.8, "PC2_1": 0.8, "PC2_2": 0.6}


def written(keys: dict[str, Any], pixels: np.ndarray = PIXELS) -> bytes:
    """A file of one image, as astropy writes it."""
    buffer = io.BytesIO()
    fits.PrimaryHDU(pixels, fits.Header(keys)).writeto(buffer)
    return buffer.getvalue()


def by_galsim(path: Path, wcs: galsim.BaseWCS | None) -> bytes:
    galsim.fits.write(galsim.Image(PIXELS, wcs=wcs), str(path))
    return path.read_bytes()


def several() -> bytes:
    """No image at 0, SCI at 1, a table at 2, two images named TWIN at 3 and 4."""
    buffer = io.BytesIO()
    table = fits.BinTableHDU.from_columns([fits.Column("id", "J", array=np.arange(3))], name="CAT")
    images = [fits.ImageHDU(PIXELS + n, name=name) for n, name in enumerate(("SCI", "TWIN", "TWIN"))]
    fits.HDUList([fits.PrimaryHDU(), images[0], table, *images[1:]]).writeto(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("keys", "scale"),
    [
        ({}, None),
        (SKY, None),
        ({"CD1_1": 0.2, "CD2_2": 0.2}, None),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CD1_1": 1.0, "CD2_2": 1.0}, None),
        ({"CDELT1": 0.2, "CDELT2": 0.2, "CUNIT1": "pixel", "CUNIT2": "pixel"}, None),
        ({**SKY, "CD1_1": -0.2 * DEGREE, "CD2_2": 0.2 * DEGREE}, 0.2),
        ({**SKY, "CD1_2": 0.2 * DEGREE, "CD2_1": 0.2 * DEGREE}, 0.2),
        ({**SKY, "CDELT1": -0.2 * DEGREE, "CDELT2": 0.2 * DEGREE}, 0.2),
        ({**SKY, **ARCSEC, "CDELT1": -0.2, "CDELT2": 0.2}, 0.2),
        ({**SKY, **ROTATED, "CDELT1": -0.2 * DEGREE, "CDELT2": 0.2 * DEGREE}, 0.2),
        ({**ARCSEC, "CDELT1": 0.2, "CDELT2": 0.2}, 0.2),
        ({**ARCSEC, **ROTATED, "CDELT1": 0.2, "CDELT2": 0.2}, 0.2),
        ({"CUNIT1": "deg", "CUNIT2": "deg", "CD1_1": 0.2 * DEGREE, "CD2_2": 0.2 * DEGREE}, 0.2),
        ({"GS_SCALE": 0.2}, 0.2),
    ],
)
def test_a_header_states_the_size_of_a_pixel_or_nothing(keys: dict[str, Any], scale: float | None) -> None:
    found = stamp_files.read(written(keys), "a.fits").pixel_scale
    assert found == (scale if scale is None else pytest.approx(scale, rel=1e-9))


@pytest.mark.parametrize(
    ("wcs", "scale"),
    [
        (None, None),
        (galsim.PixelScale(0.263), 0.263),
        (galsim.OffsetWCS(0.263, galsim.PositionD(3, 3)), 0.263),
        (galsim.JacobianWCS(0.0, 0.263, -0.263, 0.0), 0.263),
        (galsim.ShearWCS(0.263, galsim.Shear(g1=0.004)), 0.263),
        (
            galsim.TanWCS(
                galsim.AffineTransform(0.263, 0, 0, 0.263),
                galsim.CelestialCoord(1 * galsim.degrees, 2 * galsim.degrees),
            ),
            0.263,
        ),
    ],
)
def test_what_galsim_writes_is_read(tmp_path: Path, wcs: galsim.BaseWCS | None, scale: float | None) -> None:
    stamps = stamp_files.read(by_galsim(tmp_path / "a.fits", wcs), "a.fits")
    assert np.array_equal(stamps.values, PIXELS[None])
    assert stamps.pixel_scale == (scale if scale is None else pytest.approx(scale, rel=1e-9))


def test_a_file_that_galsim_compressed_is_read(tmp_path: Path) -> None:
    stamps = stamp_files.read(by_galsim(tmp_path / "a.fits.gz", galsim.PixelScale(0.263)), "a.fits.gz")
    assert np.array_equal(stamps.values, PIXELS[None])
    assert stamps.pixel_scale == pytest.approx(0.263, rel=1e-9)


@pytest.mark.parametrize(("name", "added"), [("SCI", 0), ("sci", 0), ("1", 0), ("4", 2)])
def test_an_extension_is_chosen_by_name_or_number(name: str, added: int) -> None:
    assert np.array_equal(stamp_files.read(several(), "a.fits", name).values, PIXELS[None] + added)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("7", "has no images '7'"),
        ("0", "has no images '0'"),
        ("CAT", "has no images 'CAT'"),
        ("ERR", "has no images 'ERR'"),
        ("TWIN", "has 2 images 'TWIN'"),
        ("", "has 3 images"),
    ],
)
def test_an_extension_that_is_not_there_is_told_with_those_that_are(name: str, asked: str) -> None:
    there = "it has 1 (SCI, 24 × 24), 3 (TWIN, 24 × 24), 4 (TWIN, 24 × 24); name one of them: a.fits#NUMBER or #NAME"
    with pytest.raises(DataError, match=re.escape(f"a.fits: {asked}; {there}")):
        stamp_files.read(several(), "a.fits", name)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (gzip.compress(written({}))[:200], "a.fits.gz"),
        (b"\x1f\x8bnothing", "a.fits.gz"),
        (written({})[:4000], "a.fits"),
        (b"PK\x03\x04nothing", "a.npz"),
    ],
)
def test_a_damaged_file_is_told(raw: bytes, path: str) -> None:
    with pytest.raises(DataError, match=f"{path}: cannot be read: "):
        stamp_files.read(raw, path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {**ARCSEC, "CDELT1": 0.2, "CDELT2": 0.25},
            "the header's pixels are 0.2 × 0.25 arcsec, a ratio of 1.25; the model has square pixels: resample",
        ),
        (
            {**ARCSEC, "CDELT1": 0.2, "CDELT2": 0.2, "GS_SCALE": 0.263},
            "GS_SCALE says 0.263 arcsec per pixel, the coordinates 0.2; correct one",
        ),
    ],
)
def test_a_header_that_contradicts_itself_or_the_model_is_told(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"a.fits: {message}")):
        stamp_files.read(written(keys), "a.fits")


@pytest.mark.parametrize("role", ["images", "psf"])
@pytest.mark.parametrize("off", [0.989, 0.991, 1.009, 1.011])
def test_a_pixel_of_the_header_and_of_the_config_agree_within_a_percent(
    write: Write, tmp_path: Path, role: str, off: float
) -> None:
    # The config's pixels are 0.3 arcsec.
    by_galsim(tmp_path / "a.fits", galsim.PixelScale(0.3 * off))
    config: dict[str, Any] = {**SCENE}
    manifest: dict[str, Any] = {}
    if role == "images":
        manifest = {"shear": ..., "realizations": ..., "observations": {"images": "a.fits"}}
    else:
        config["psf"] = {"type": "Image", "file": "a.fits", "pixel_scale": 0.3}
    path = write(config=config, **manifest)
    if abs(off - 1) < 0.01:
        load(path)
        return
    with pytest.raises(ManifestError) as caught:
        load(path)
    field, key = {
        "images": ("observations.images", "image.pixel_scale"),
        "psf": ("config.psf.file", "psf.pixel_scale"),
    }[role]
    assert [one.field for one in caught.value.complaints] == [field]
    stated = f"the header says {0.3 * off:.5g} arcsec per pixel, the config's {key} is 0.3; correct one"
    assert stated in caught.value.complaints[0].message


@pytest.mark.long
def test_an_image_beyond_those_of_the_file_fails_with_what_is_there(write: Write, tmp_path: Path) -> None:
    """A pinned shape is taken as it stands; the file is read later."""
    np.save(tmp_path / "a.npy", np.stack([PIXELS, PIXELS]))
    digest = hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    pinned = {"path": str(tmp_path / "a.npy"), "sha256": digest, "name": "", "shape": [3, SIDE, SIDE]}
    campaign = load(write(shear=..., realizations=..., observations={"images": [pinned]}))
    campaign.run()
    reason = campaign.summary["reason"][2]
    assert "a.npy: has 2 images, expected image 2 (from 0) of the shape that the manifest pins" in reason

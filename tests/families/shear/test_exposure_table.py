"""Objects of a table of exposures: planes in files of every format, and errors that name row, file and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import galsim
import h5py
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from conftest import SCENE, Write, load
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.manifest.problem import Observation

SCALE = 0.3
N = 24
PER_PIXEL = {"type": "PerPixel"}
BROAD = {"x_min": 9, "x_max": 15, "y_min": 9, "y_max": 15}


def drawn(g1: float = 0.02, g2: float = -0.01, **how: Any) -> np.ndarray:
    galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(g1=g1, g2=g2)
    asked = {"nx": N, "ny": N, "wcs": galsim.PixelScale(SCALE), **how}
    image: np.ndarray = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4)]).drawImage(**asked, dtype=float).array
    return image


def observed(write: Write, **changes: Any) -> list[Observation]:
    campaign = load(write(shear=..., realizations=..., **changes))
    config = shear_config.of(campaign.manifest)
    return [family.observe(config, one.planned) for one in campaign.plan.realizations]


def table(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
    return {"table": name}


# Each writes a stamp and says what the table calls it.
def _plain(path: Path, image: np.ndarray) -> str:
    fits.PrimaryHDU(image.astype(">f4")).writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits"


def _named(path: Path, image: np.ndarray) -> str:
    parts = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)), name="OTHER"), fits.ImageHDU(image, name="SCI")]
    fits.HDUList(parts).writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits#sci"


def _numbered(path: Path, image: np.ndarray) -> str:
    fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2))), fits.ImageHDU(image)]).writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits#1"


def _scaled(path: Path, image: np.ndarray) -> str:
    unit = fits.PrimaryHDU(image.copy())
    unit.scale("int32", bscale=1e-9, bzero=0.1)
    unit.writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits"


def _blank(path: Path, image: np.ndarray) -> str:
    """Integers, of which the first is not a value."""
    whole = np.round(image / 1e-9).astype(">i4")
    whole[0, 0] = -99
    unit = fits.PrimaryHDU(whole)
    unit.header["BLANK"] = -99
    unit.header["BSCALE"] = 1e-9
    unit.writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits"


def _unsigned(path: Path, image: np.ndarray) -> str:
    """Whole numbers with BZERO = 32768; GalSim's image is in units of 1e-5."""
    fits.PrimaryHDU(np.round(image * 1e5).astype("u2")).writeto(path.with_suffix(".fits"))
    return f"{path.name}.fits"


def _gzipped(path: Path, image: np.ndarray) -> str:
    fits.PrimaryHDU(image).writeto(path.with_suffix(".fits.gz"))
    return f"{path.name}.fits.gz"


def _compressed(path: Path, image: np.ndarray) -> str:
    unit = fits.CompImageHDU(image, compression_type="GZIP_1", quantize_level=0)
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path.with_suffix(".fits.fz"))
    return f"{path.name}.fits.fz"


def _nan(path: Path, image: np.ndarray) -> str:
    spoilt = image.copy()
    spoilt[0, 0] = np.nan
    fits.PrimaryHDU(spoilt).writeto(path.with_suffix(".fit"))
    return f"{path.name}.fit"


def _npz(path: Path, image: np.ndarray) -> str:
    np.savez(path, stamp=image, weight=np.ones(3))
    return f"{path.name}.npz#stamp"


def _hdf5(path: Path, image: np.ndarray) -> str:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["deep/stamp"] = image
        file["other"] = np.zeros(3)
    return f"{path.name}.h5#deep/stamp"


DIALECTS: tuple[Callable[[Path, np.ndarray], str], ...] = (
    _plain,
    _named,
    _numbered,
    _scaled,
    _blank,
    _unsigned,
    _gzipped,
    _compressed,
    _nan,
    _npz,
    _hdf5,
)


def test_stamps_in_every_dialect_are_read_as_they_were_drawn(write: Write, tmp_path: Path) -> None:
    images = [drawn(g1=0.05 * np.cos(at), g2=0.05 * np.sin(at)) for at in range(4 * len(DIALECTS))]
    kinds = [DIALECTS[at % len(DIALECTS)] for at in range(len(images))]
    rows = [
        {"id": f"star {at}", "image": kind(tmp_path / f"s{at}", image), "flux_factor": 1e5 if kind is _unsigned else 1}
        for at, (kind, image) in enumerate(zip(kinds, images, strict=True))
    ]
    noise = {**PER_PIXEL, "sigma": 1e-3}
    found = observed(write, observations=table(tmp_path, "t.csv", rows), config__image__noise=noise)
    assert len(found) == len(images) >= 44
    for kind, one, image in zip(kinds, found, images, strict=True):
        read, weight = one.data["image"][0] / one.data["flux_factor"][0], one.data["weight"][0]
        # What a 16-bit, a 32-bit and a single-precision file keep.
        within = 0.51e-5 if kind is _unsigned else 1e-8 if kind is _plain else 1e-9
        counted = weight > 0
        assert (counted.size - counted.sum()) == (kind in (_blank, _nan))
        assert np.abs(read - image)[counted].max() < within, kind.__name__
        assert set(weight[counted]) == {1e6}
        np.testing.assert_array_equal(one.data["jacobian"], [SCALE * np.eye(2)])
        np.testing.assert_array_equal(one.data["offset"], [[0, 0]])


def _parquet_with_lists(path: Path, frame: pd.DataFrame) -> None:
    frame.groupby("id", sort=False).agg(list).reset_index().to_parquet(path)


def _fits_table(path: Path, frame: pd.DataFrame) -> None:
    Table.from_pandas(frame).write(path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("t.csv.gz", lambda path, frame: frame.to_csv(path, index=False)),
        ("t.parquet", lambda path, frame: frame.to_parquet(path)),
        ("lists.parquet", _parquet_with_lists),
        ("t.fits", _fits_table),
    ],
)
def test_tables_of_every_format_are_read_alike(
    write: Write, tmp_path: Path, name: str, save: Callable[[Path, pd.DataFrame], None]
) -> None:
    (tmp_path / "planes").mkdir()
    np.save(tmp_path / "planes" / "cube.npy", np.stack([drawn(), 2 * drawn(), 3 * drawn()]))
    np.savez(tmp_path / "planes" / "rest.npz", bits=np.arange(N * N).reshape(N, N) % 8, sky=np.full((N, N), 0.5))
    frame = pd.DataFrame(
        {
            "id": ["a", "a", "b"],
            "image": ["planes/cube.npy"] * 3,
            "index": [0, 2, 1],
            "mask": ["planes/rest.npz#bits"] * 3,
            "mask_bits": [4, 4, 1],
            "background": ["planes/rest.npz#sky"] * 3,
            "dudx": [0.3, 0.29, 0.3],
            "dudy": [0.0, 0.01, 0.0],
            "dvdx": [0.0, -0.01, 0.0],
            "dvdy": [0.3, 0.31, -0.3],
            "x": [12.5, 12.0, 11.0],
            "y": [12.0, 12.25, 12.0],
        }
    )
    save(tmp_path / name, frame)
    noise = {**PER_PIXEL, "sigma": 1e-3}
    first, second = observed(write, observations={"table": name}, config__image__noise=noise)
    counted = (np.arange(N * N).reshape(N, N) & 4) == 0
    np.testing.assert_array_equal(first.data["weight"] > 0, [counted] * 2)
    expected = [np.where(counted, number * drawn() - 0.5, 0) for number in (1, 3)]
    np.testing.assert_allclose(first.data["image"], expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(first.data["jacobian"], [[[0.3, 0], [0, 0.3]], [[0.29, 0.01], [-0.01, 0.31]]])
    np.testing.assert_array_equal(first.data["offset"], [[0.5, 0], [0, 0.25]])
    np.testing.assert_array_equal(second.data["jacobian"], [[[0.3, 0], [0, -0.3]]])
    assert (first.sizes, second.sizes) == ((2,), (1,))


PER_EXPOSURE = {"type": "PerExposure", "fwhm": 0.95, "pixel_scale": SCALE}


def test_a_file_of_psfs_has_an_order_of_its_own(write: Write, tmp_path: Path) -> None:
    """Tiles of a field: several objects share one, and it is not that of their stamps."""
    tiles = np.random.default_rng(1).uniform(0.5, 1, size=(3, 9, 9))
    np.save(tmp_path / "tiles.npy", tiles)
    np.save(tmp_path / "stamps.npy", np.stack([drawn(), drawn(), drawn(), drawn()]))
    named = {"image": "stamps.npy", "psf": "tiles.npy"}
    rows = [{"id": at, **named, "index": at, "psf_index": tile} for at, tile in enumerate((2, 0, 0, 1))]
    rows += [{"id": 4, **named, "index": 1}]
    found = observed(write, observations=table(tmp_path, "t.csv", rows), config__psf=PER_EXPOSURE)
    for one, tile in zip(found, (2, 0, 0, 1, 1), strict=True):
        np.testing.assert_allclose(one.data["psf"][0], tiles[tile] / tiles[tile].sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"psf_index": 3}, "column psf_index: /.*psf.npy: has 3 images, expected 0 to 2"),
        ({}, r"give one in the column psf_index \(or"),
    ],
)
def test_a_psf_that_is_not_there_is_told(write: Write, tmp_path: Path, place: dict[str, int], message: str) -> None:
    np.save(tmp_path / "a.npy", drawn())
    np.save(tmp_path / "psf.npy", np.ones((3, 5, 5)))
    rows = [{"id": 1, "image": "a.npy", "psf": "psf.npy", **place}]
    with pytest.raises(DataError, match=message):
        observed(write, observations=table(tmp_path, "t.csv", rows), config__psf=PER_EXPOSURE)


@pytest.mark.slow
def test_objects_of_one_or_more_exposures_are_inferred_and_reported(write: Write, tmp_path: Path) -> None:
    """The posterior narrows with the exposures; the truths are in the frame of the sky."""
    flip, noise = np.diag([-SCALE, SCALE]), np.random.default_rng(3)
    rows, truths = [], []
    for object_, n in enumerate((1, 2, 2, 1)):
        g1, g2 = 0.03, 0.02 * (-1) ** object_
        truths.append({"g1": g1, "g2": g2})
        for at in range(n):
            wcs = galsim.JacobianWCS(*(flip if at % 2 else SCALE * np.eye(2)).ravel())
            stamp = drawn(g1, g2, wcs=wcs, offset=(0.25 * at, -0.5)) + noise.normal(scale=1e-3, size=(N, N))
            np.save(tmp_path / f"{object_}{at}.npy", stamp)
            jacobian = dict(zip(("dudx", "dudy", "dvdx", "dvdy"), wcs.getMatrix().ravel(), strict=True))
            place = {"x": N / 2 + 0.25 * at, "y": N / 2 - 0.5}
            rows.append({"id": object_, "image": f"{object_}{at}.npy", **jacobian, **place})
    asked = {**table(tmp_path, "t.csv", rows), "truths": truths}
    campaign = load(write(shear=..., realizations=..., observations=asked, config__gal__position=BROAD))
    campaign.run()
    summary = campaign.summary
    assert list(summary["status"]) == ["ok"] * 4
    pull = (summary[["g1_mean", "g2_mean"]].to_numpy() - [list(one.values()) for one in truths]) / summary["g1_std"][0]
    assert np.abs(pull).max() < 4
    widths = summary["g1_std"].to_numpy()
    # A flip, other places in the pixels and the prior change it by less than a tenth.
    assert widths[1] / widths[0] == pytest.approx(0.5**0.5, rel=0.1)
    assert summary["dof"].to_numpy() == pytest.approx(np.array([1, 2, 2, 1]) * N * N - 4)
    campaign.aggregate()
    assert "stamps_" in (tmp_path / "results" / "report.html").read_text()
    # The plan does not need the files.
    (tmp_path / "t.csv").unlink()
    assert len(load(str(tmp_path / "results")).plan.realizations) == 4


@pytest.mark.long
def test_an_object_is_cut_out_of_an_image_by_its_place_in_the_sky(write: Write, tmp_path: Path) -> None:
    """Of an image with celestial coordinates, near a corner; the file's Jacobian is that of GalSim's galaxy."""
    affine = galsim.AffineTransform(0.28, 0.03, -0.02, 0.31, origin=galsim.PositionD(40, 30))
    wcs = galsim.TanWCS(affine, galsim.CelestialCoord(120 * galsim.degrees, -30 * galsim.degrees))
    image = galsim.ImageD(90, 70, wcs=wcs)
    place = galsim.PositionD(8.3, 61.6)
    galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(g1=0.05, g2=-0.03)
    seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4)])
    seen.drawImage(image, center=place)
    image.write(str(tmp_path / "field.fits"))
    sky = wcs.toWorld(place)
    # A row of the image that is not to be used.
    weight = np.full((70, 90), 1e10)
    weight[57] = 0
    np.save(tmp_path / "weight.npy", weight)
    row = {"id": 1, "image": "field.fits", "weight": "weight.npy", "ra": sky.ra / galsim.degrees}
    # As two exposures.
    rows = [{**row, "dec": sky.dec / galsim.degrees}] * 2
    config = {**SCENE, "image": {**SCENE["image"], "noise": PER_PIXEL}, "gal": {**SCENE["gal"], "position": BROAD}}
    campaign = load(write(shear=..., realizations=..., observations=table(tmp_path, "t.csv", rows), config=config))
    data = family.observe(shear_config.of(campaign.manifest), campaign.plan.realizations[0].planned).data
    local = wcs.jacobian(place)
    np.testing.assert_allclose(data["jacobian"][0], local.getMatrix(), rtol=0, atol=1e-7)
    # From GalSim's pixels, of which the first has its centre at 1, to ours.
    expected = [8.3 - 0.5 + 4 - 12, 61.6 - 0.5 - 49 - 12]
    np.testing.assert_allclose(data["offset"][0], expected, atol=1e-5)
    assert not data["weight"][0, 57 - 49].any()
    assert not data["weight"][0, :, :4].any()
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok"]
    found = campaign.summary[["g1_mean", "g2_mean"]].to_numpy()[0]
    # GalSim's default accuracy.
    assert found == pytest.approx([0.05, -0.03], abs=2e-5)


def test_smaller_stamps_are_filled_up_and_masked(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", drawn()[2:, 3:-2])
    rows = [{"id": 1, "image": "a.npy", "x": 9.0, "y": 10.0}]
    noise = {**PER_PIXEL, "sigma": 1e-3}
    (found,) = observed(write, observations=table(tmp_path, "t.csv", rows), config__image__noise=noise)
    inside = found.data["weight"][0] > 0
    expected = np.zeros((N, N))
    expected[1:23, 2:21] = drawn()[2:, 3:-2]
    np.testing.assert_array_equal(found.data["image"][0], expected)
    assert (inside[1:23, 2:21].all(), inside.sum()) == (True, 22 * 19)
    np.testing.assert_array_equal(found.data["offset"], [[-1, -1]])


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([{"id": 1, "image": "absent.npy"}], {}, "t.csv, row 1, column image: /"),
        ([{"id": 1, "image": "a.npy"}, {"id": 1}], {}, "t.csv, row 2, column image: is missing"),
        ([{"ID": 1, "image": "a.npy"}], {}, "has no column 'id'; known are ID, image"),
        ([{"id": 1, "image": "a.npy", "x": "left", "y": 1}], {}, "row 1, column x: expected a number, got 'left'"),
        ([{"id": 1, "image": "a.npy", "x": 1}], {}, "row 1: has x, but not y; give all of x, y"),
        ([{"id": 1, "image": "a.npy", "flux_factor": 0}], {}, "column flux_factor: expected a positive number, got 0"),
        (
            [{"id": 1, "image": "a.npy", "weight": "a.npy"}],
            {},
            "the column 'weight' needs image.noise: {type: PerPixel}",
        ),
        ([{"id": 1, "image": "a.npy", "psf": "a.npy"}], {}, "the column 'psf' needs psf: {type: PerExposure}"),
        (
            [{"id": 1, "image": "a.npy"}],
            {"config__image__noise": PER_PIXEL},
            "add a column 'weight', 'variance' or 'rms'",
        ),
        (
            [{"id": 1, "image": "a.npy"}],
            {"config__psf": {"type": "PerExposure", "fwhm": 0.9, "pixel_scale": 0.3}},
            "the config's psf.type is PerExposure; add the column 'psf' to the table",
        ),
        (
            [{"id": 1, "image": "a.npy"}],
            {"config__image__noise": {"type": "Correlated", "correlation": "PerExposure"}},
            "the config's noise.correlation is PerExposure; add a column 'correlation' or 'noise_power'",
        ),
        ([{"id": 1, "image": "a.npy"}], {"observations__mask": "a.npy"}, "names the files of each exposure"),
        ([{"id": 1, "image": "a.npy"}], {"observations__images": "a.npy"}, "expected 'images' (one for each object)"),
    ],
)
def test_what_a_plan_can_tell_of_a_table_is_told_with_row_and_column(
    write: Write, tmp_path: Path, rows: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    np.save(tmp_path / "a.npy", drawn())
    asked = table(tmp_path, "t.csv", rows)
    with pytest.raises(ManifestError) as caught:
        load(write(**{"shear": ..., "realizations": ..., "observations": asked, **changes}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weight": "small.npy"}, "row 1, column weight: /.*small.npy: 20 × 20 pixels, the image has 24 × 24"),
        ({"weight": "bad.fits"}, "row 1, column weight: /.*bad.fits: cannot be read"),
        ({"weight": "two.npz"}, "row 1, column weight: /.*two.npz: has 2 arrays"),
        ({"weight": "cube.npy"}, "row 1, column weight: /.*cube.npy: has 3 images; give one in the column index"),
        ({"weight": "cube.npy", "index": 3}, "row 1, column index: /.*cube.npy: has 3 images, expected 0 to 2, got 3"),
        ({"weight": "negative.npy"}, "row 1, column weight: /.*: 576 pixels with a weight that is negative"),
        ({"mask": "ones.npy"}, r"t.csv: every pixel of object 7 is masked \(rows 1\)"),
        ({"image": "large.npy"}, "row 1, column image: /.*: 40 × 24 pixels, the config's stamp has 24 × 24; give the"),
        (
            {"image": "sky.fits", "dudx": 0.305, "dudy": 0, "dvdx": 0, "dvdy": 0.305},
            "row 1, column dudx: /.*sky.fits: its header has pixels of 0.3 arcsec, the table's Jacobian 0.305; correct",
        ),
        ({"ra": 1, "dec": 2}, "row 1, column ra: /.*: its header has no celestial coordinates; give x and y"),
        (
            {"dudx": 0.1, "dudy": 0, "dvdx": 0, "dvdy": 0.1},
            "row 1: the Jacobian's pixels have 0.1 arcsec, the config's image.pixel_scale is 0.3; set it",
        ),
    ],
)
def test_what_files_contradict_is_told_with_row_file_and_column(
    write: Write, tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    ones = np.ones((N, N))
    for name, array in {
        "ones": ones,
        "small": np.ones((20, 20)),
        "cube": np.ones((3, N, N)),
        "negative": -ones,
        "large": np.ones((N, 40)),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  =")
    wcs = galsim.TanWCS(
        galsim.AffineTransform(0.3, 0, 0, 0.3), galsim.CelestialCoord(0 * galsim.degrees, 0 * galsim.degrees)
    )
    galsim.Image(ones, wcs=wcs).write(str(tmp_path / "sky.fits"))
    np.savez(tmp_path / "two.npz", a=ones, b=ones)
    rows = [{"id": 7, "image": "ones.npy", **columns}]
    with pytest.raises(DataError, match=message):
        observed(
            write,
            observations=table(tmp_path, "t.csv", rows),
            config__image__noise={**PER_PIXEL, "sigma": 1.0},
        )


def test_columns_without_a_meaning_are_told(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", drawn())
    asked = table(tmp_path, "t.csv", [{"id": 1, "image": "a.npy", "wieght": 1}])
    campaign = load(write(shear=..., realizations=..., observations=asked))
    (remark,) = family.remarks(campaign.manifest)
    assert "no column with a meaning: 'wieght'" in remark


@pytest.mark.slow
def test_exposures_with_psf_images_and_weights_of_their_own_and_a_cosmic_ray_in_one(
    write: Write, tmp_path: Path
) -> None:
    """PSF images of different sizes, off their middle; what a model lacks is told with its exposure."""
    noise, rows = np.random.default_rng(11), []
    for at, (width, size, shift) in enumerate(((0.4, 31, 0.0), (0.45, 34, 0.5))):
        psf = galsim.Gaussian(sigma=width)
        shown = psf.drawImage(nx=size, ny=size - 1, scale=SCALE, offset=(shift, 0), method="no_pixel", dtype=float)
        fits.PrimaryHDU(shown.array).writeto(tmp_path / f"psf{at}.fits")
        centre = {"psf_x": size / 2 + shift, "psf_y": (size - 1) / 2}
        galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(g1=0.02, g2=-0.01)
        seen = galsim.Convolve([galaxy, psf]).drawImage(nx=N, ny=N, scale=SCALE, dtype=float).array
        # The second exposure is deeper below, where the noise is less.
        sigma = np.where(np.arange(N)[:, None] < 12 * at, 0.5e-3, 1e-3) * np.ones((N, N))
        stamps = seen + sigma * noise.normal(size=(2, N, N))
        stamps[1, 5, 17] += 0.03 * at
        np.savez(tmp_path / f"{at}.npz", stamps=stamps, variance=sigma**2)
        rows.append({"image": f"{at}.npz#stamps", "variance": f"{at}.npz#variance", "psf": f"psf{at}.fits", **centre})
    listed = [{"id": name, "index": index, **row} for index, name in enumerate(("good", "ray")) for row in rows]
    config = {
        **SCENE,
        "image": {**SCENE["image"], "noise": {**PER_PIXEL, "sigma": 1e-3}},
        "psf": PER_EXPOSURE,
        "gal": {**SCENE["gal"], "position": BROAD},
    }
    asked = table(tmp_path, "t.csv", listed)
    campaign = load(write(config=config, shear=..., realizations=..., observations=asked))
    campaign.run()
    summary = campaign.summary
    assert list(summary["status"]) == ["ok", "misfit"]
    assert "a single pixel at x = 17.5, y = 5.5 of exposure 1" in summary["reason"][1]
    pull = (summary[["g1_mean", "g2_mean"]].to_numpy()[0] - (0.02, -0.01)) / summary["g1_std"][0]
    assert np.abs(pull).max() < 4
    listed[1]["psf"] = ""
    lacking = load(write(config=config, shear=..., realizations=..., observations=table(tmp_path, "l.csv", listed)))
    with pytest.raises(DataError, match="row 2, column psf: is missing; with psf"):
        family.observe(shear_config.of(lacking.manifest), lacking.plan.realizations[0].planned)

"""Point-spread functions of a field: the nearest tile to the object, and what the wrong one would do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from conftest import SCENE, Write, load
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family

N, SCALE, TILE = 24, 0.3, 9
FIELD = (90, 120)  # ny, nx
# Places of 2 by 3 tiles that cover the field evenly.
EVENLY = [(x, y) for y in (22.5, 67.5) for x in (20.0, 60.0, 100.0)]
PSF = {"type": "PerExposure", "fwhm": 0.95, "pixel_scale": SCALE}


def tiled(tiles: np.ndarray) -> np.ndarray:
    """Tiles of shape (n_y, n_x, size, size) side by side in one plane, the first in the lower left corner."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in tiles], axis=0)


@pytest.fixture
def tiles(tmp_path: Path) -> np.ndarray:
    """Six tiles of noise, in a plane, and as a cube with their places."""
    made = np.random.default_rng(1).uniform(0.5, 1, size=(2, 3, TILE, TILE))
    np.save(tmp_path / "plane.npy", tiled(made))
    np.savez(tmp_path / "cube.npz", psf=made.reshape(6, TILE, TILE), places=EVENLY, few=EVENLY[:5])
    np.save(tmp_path / "field.npy", np.zeros(FIELD))
    np.save(tmp_path / "stamp.npy", np.zeros((N, N)))
    found: np.ndarray = (made / made.sum(axis=(2, 3), keepdims=True)).reshape(6, TILE, TILE)
    return found


def seen(write: Write, tmp_path: Path, rows: list[dict[str, Any]], psf: dict[str, Any]) -> list[np.ndarray]:
    """The point-spread function of each row's object."""
    listed = [{"id": at, "image": "field.npy", "psf": "plane.npy", **row} for at, row in enumerate(rows)]
    pd.DataFrame(listed).to_csv(tmp_path / "t.csv", index=False)
    changes = {"config__image__noise": {"type": "PerPixel", "sigma": 1e-3}, "config__psf": {**PSF, **psf}}
    asked = {"shear": ..., "realizations": ..., "observations": {"table": "t.csv"}}
    campaign = load(write(**asked, **changes))
    config = shear_config.of(campaign.manifest)
    found = [family.observe(config, one.planned) for one in campaign.plan.realizations]
    return [one.data["psf"][0] for one in found]


def test_an_object_has_the_tile_nearest_to_its_place_in_the_image(
    write: Write, tmp_path: Path, tiles: np.ndarray
) -> None:
    """Halfway between two tiles it changes; in a corner of the field it is the tile of the corner."""
    places = [(39.9, 44.9), (40.1, 44.9), (39.9, 45.1), (0, 0), (120, 90), (-5, 50)]
    rows = [{"x": x, "y": y} for x, y in places]
    for one, tile in zip(seen(write, tmp_path, rows, {"tiles": {"size": TILE}}), (0, 1, 3, 0, 5, 3), strict=True):
        np.testing.assert_allclose(one, tiles[tile], rtol=1e-12)


def test_the_config_says_where_tiles_are_and_the_table_where_a_stamp_was(
    write: Write, tmp_path: Path, tiles: np.ndarray
) -> None:
    where = {"size": TILE, "first_x": 100, "first_y": 200, "step_x": 1000, "step_y": 500}
    rows = [{"image": "stamp.npy", "tile_x": x, "tile_y": y} for x, y in ((599, 449), (601, 449), (2100, 451))]
    # A number wins over the place.
    rows.append({**rows[0], "psf_index": 4})
    found = seen(write, tmp_path, rows, {"tiles": where})
    for one, tile in zip(found, (0, 1, 5, 4), strict=True):
        np.testing.assert_allclose(one, tiles[tile], rtol=1e-12)


def test_images_of_a_cube_may_have_places_of_their_own(write: Write, tmp_path: Path, tiles: np.ndarray) -> None:
    rows = [{"psf": "cube.npz#psf", "psf_places": "cube.npz#places", "x": x + 3, "y": y - 4} for x, y in EVENLY]
    for one, tile in zip(seen(write, tmp_path, rows, {}), tiles, strict=True):
        np.testing.assert_allclose(one, tile, rtol=1e-12)
    # Of tiles in a plane, too.
    rows = [{**row, "psf": "plane.npy"} for row in rows]
    for one, tile in zip(seen(write, tmp_path, rows, {"tiles": {"size": TILE}}), tiles, strict=True):
        np.testing.assert_allclose(one, tile, rtol=1e-12)


IN_FIELD = {"x": 60, "y": 40}


@pytest.mark.parametrize(
    ("row", "psf", "message"),
    [
        (IN_FIELD, {"tiles": {"size": 10}}, "27 × 18 pixels are no whole number of tiles of 10 × 10"),
        ({**IN_FIELD, "psf": "cube.npz#psf"}, {"tiles": {"size": TILE}}, "has 6 images, expected one plane of tiles"),
        ({"image": "stamp.npy"}, {"tiles": {"size": TILE}}, "tiles cover the image evenly, which is but a stamp here"),
        (
            {"image": "stamp.npy"},
            {"tiles": {"size": TILE, "first_x": 1, "first_y": 1, "step_x": 1, "step_y": 1}},
            "the image is but a stamp, .* give it in the columns tile_x and tile_y",
        ),
        (
            {**IN_FIELD, "psf": "cube.npz#psf", "psf_places": "cube.npz#few"},
            {},
            r"column psf_places: /.*cube.npz: expected x and y of each image of .* shape \(6, 2\), got \(5, 2\)",
        ),
        (
            {**IN_FIELD, "psf_index": 6},
            {"tiles": {"size": TILE}},
            "column psf_index: /.*plane.npy: has 6 images, expected 0 to 5, got 6",
        ),
        ({**IN_FIELD, "tile_x": 3}, {"tiles": {"size": TILE}}, "has tile_x, but not tile_y"),
        ({**IN_FIELD, "tile_x": 3, "tile_y": 3, "psf_index": 0}, {}, "need psf.tiles in the config, or a column"),
        (IN_FIELD, {"tiles": {"size": TILE, "step_x": 3}}, "has step_x, but not first_x, first_y, step_y"),
    ],
)
@pytest.mark.usefixtures("tiles")
def test_tiles_that_cannot_be_told_apart_are_refused(
    write: Write, tmp_path: Path, row: dict[str, Any], psf: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, ManifestError), match=message):
        seen(write, tmp_path, [row], psf)


# As in the MER PSF products of Euclid: the plane tells the size of its stamps, and a table in the same file where each
# belongs: x, y and RA, Dec in the mosaic, x_center, y_center in the plane. Five of six slots are filled, in any order.
ORDER = (4, 0, 3, 2, 1)


def mer_file(tmp_path: Path, tiles: np.ndarray, **changes: Any) -> None:
    slots = np.array([divmod(slot, 3)[::-1] for slot in ORDER])
    columns = {
        "RA": 150 + np.array([EVENLY[at][0] for at in ORDER]) / 3600,
        "Dec": 2 + np.array([EVENLY[at][1] for at in ORDER]) / 3600,
        "x": [EVENLY[at][0] + 0.5 for at in ORDER],
        "y": [EVENLY[at][1] + 0.5 for at in ORDER],
        "x_center": slots[:, 0] * TILE + (TILE + 1) / 2,
        "y_center": slots[:, 1] * TILE + (TILE + 1) / 2,
        "gal_id": np.arange(5),
        **changes,
    }
    listed = [fits.Column(name, "E", array=values) for name, values in columns.items() if values is not None]
    plane = fits.ImageHDU(tiled(tiles.reshape(2, 3, TILE, TILE)).astype(">f4"), name="PSF")
    plane.header["STMPSIZE"] = TILE
    units = [fits.PrimaryHDU(), plane, fits.BinTableHDU.from_columns(listed, name="PLACES")]
    fits.HDUList(units).writeto(tmp_path / "mer.fits", overwrite=True)


MER = {"psf": "mer.fits#1", "psf_places": "mer.fits#2"}


@pytest.mark.parametrize("origin", [0, 1])
def test_a_table_in_the_file_says_where_tiles_belong_and_its_header_their_size(
    write: Write, tmp_path: Path, tiles: np.ndarray, origin: int
) -> None:
    """By x and y, whether the table counts the pixels of the plane from 0 or from 1; the sixth tile is in no row."""
    slots = np.array([divmod(slot, 3)[::-1] for slot in ORDER])
    centres = dict(zip(("x_center", "y_center"), (slots * TILE + (TILE - 1) / 2 + origin).T, strict=True))
    mer_file(tmp_path, tiles, **centres)
    rows = [{**MER, "x": x, "y": y} for x, y in [*EVENLY[:5], (119.0, 89.0)]]
    for one, tile in zip(seen(write, tmp_path, rows, {"tiles": {}}), (0, 1, 2, 3, 4, 4), strict=True):
        np.testing.assert_allclose(one, tiles[tile], rtol=1e-6)


def test_a_table_in_the_file_may_say_it_by_the_sky(write: Write, tmp_path: Path, tiles: np.ndarray) -> None:
    """Then a stamp needs no other place; across 0° of RA, too."""
    mer_file(tmp_path, tiles, x=None, y=None)
    image = fits.ImageHDU(np.zeros((N, N)), name="SCI")
    image.header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 12, "CRPIX2": 12})
    for ra, name in ((150.0, "plain"), (0.0, "around")):
        degrees = SCALE / 3600
        image.header.update({"CRVAL1": ra, "CRVAL2": 2.0, "CD1_1": -degrees, "CD2_2": degrees})
        fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / f"{name}.fits")
    rows = [
        {**MER, "image": "plain.fits#1", "ra": 150 + x / 3600, "dec": 2 + y / 3600} for x, y in ((60, 67), (21, 22))
    ]
    for one, tile in zip(seen(write, tmp_path, rows, {"tiles": {}}), (4, 0), strict=True):
        np.testing.assert_allclose(one, tiles[tile], rtol=1e-6)
    mer_file(tmp_path, tiles, RA=np.array([0.001, 359.99, 0.01, 0.02, 0.03]), Dec=np.full(5, 2.0))
    rows = [{**MER, "image": "around.fits#1", "ra": 359.9999, "dec": 2.0}]
    np.testing.assert_allclose(seen(write, tmp_path, rows, {"tiles": {}})[0], tiles[4], rtol=1e-6)


def test_without_a_name_the_image_of_a_file_is_meant_and_not_a_table_beside_it(
    write: Write, tmp_path: Path, tiles: np.ndarray
) -> None:
    places = fits.PrimaryHDU(np.array(EVENLY))
    beside = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[0.0])])
    fits.HDUList([places, beside]).writeto(tmp_path / "places.fits")
    rows = [{"psf": "cube.npz#psf", "psf_places": "places.fits", "x": x, "y": y} for x, y in EVENLY]
    for one, tile in zip(seen(write, tmp_path, rows, {}), tiles, strict=True):
        np.testing.assert_allclose(one, tile, rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, {"size": 10}, "its header has STMPSIZE 9, the config psf.tiles.size 10; correct one"),
        ({"x": None}, {}, r"column psf_places: /.*mer.fits: expected columns x and y, or ra and dec"),
        ({"x_center": None}, {}, "has 5 rows for 6 images; add columns x_center, y_center"),
        ({"x_center": np.full(5, 300.0)}, {}, "row 2 has its tile outside the plane of 3 × 2 tiles"),
        ({"x": np.full(5, np.nan)}, {}, "no row has a place"),
    ],
)
def test_a_table_of_places_that_is_none_is_told(
    write: Write, tmp_path: Path, tiles: np.ndarray, changes: dict[str, Any], size: dict[str, int], message: str
) -> None:
    mer_file(tmp_path, tiles, **changes)
    with pytest.raises(DataError, match=f"t.csv, row 1, .*{message}"):
        seen(write, tmp_path, [{**MER, "x": EVENLY[0][0], "y": EVENLY[0][1]}], {"tiles": size})


def test_a_plane_without_the_size_of_its_tiles_is_told(write: Write, tmp_path: Path, tiles: np.ndarray) -> None:
    del tiles
    with pytest.raises(DataError, match=r"plane.npy: its header has no STMPSIZE; give .* psf.tiles.size"):
        seen(write, tmp_path, [IN_FIELD], {"tiles": {}})


@pytest.mark.slow
def test_the_shear_is_right_with_the_nearest_tile_and_wrong_with_another(write: Write, tmp_path: Path) -> None:
    """A quadrant as Euclid's: RMS and flags, a mask bit, and a PSF that changes from tile to tile."""
    widths = np.array([[0.34, 0.38, 0.42], [0.36, 0.40, 0.44]])
    stretched = [[galsim.Gaussian(sigma=s).shear(g1=0.2 * (s - 0.39)) for s in row] for row in widths]
    drawn = [
        [one.drawImage(nx=21, ny=21, scale=SCALE, method="no_pixel", dtype=float).array for one in row]
        for row in stretched
    ]
    np.save(tmp_path / "psf.npy", tiled(np.array(drawn)))
    truth, field, rows = {"g1": 0.03, "g2": -0.02}, np.zeros(FIELD), []
    grid = itertools.product(range(2), range(3))
    for at, (row, column) in enumerate(grid):
        # Off the middle of its tile, but nearer to it than to any other.
        x, y = EVENLY[at][0] + 3.25, EVENLY[at][1] - 2.5
        galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(**truth)
        image = galsim.ImageD(FIELD[1], FIELD[0], scale=SCALE)
        seen = galsim.Convolve([galaxy, stretched[row][column]])
        seen.drawImage(image, center=galsim.PositionD(x + 0.5, y + 0.5))
        field += image.array
        rows.append({"image": "field.npy", "rms": "rms.npy", "mask": "flags.npy", "mask_bits": 1, "x": x, "y": y})
    flags = np.zeros(FIELD, int)
    field[20, 25], flags[20, 25] = 7.0, 3
    flags[30, 30] = 2  # another bit, which does not mask
    for name, array in (("field", field), ("rms", np.full(FIELD, 1e-4)), ("flags", flags)):
        np.save(tmp_path / f"{name}.npy", array)
    listed = [{"id": f"{at}", "psf": "psf.npy", **row} for at, row in enumerate(rows)]
    listed += [{**row, "id": f"wrong {at}", "psf_index": (at + 1) % 6} for at, row in enumerate(listed)]
    pd.DataFrame(listed).to_csv(tmp_path / "t.csv", index=False)
    noise = {"type": "PerPixel"}
    config = {
        **SCENE,
        "image": {**SCENE["image"], "noise": noise},
        "psf": {**PSF, "tiles": {"size": 21}},
        "gal": {**SCENE["gal"], "position": {"type": "Normal", "sigma": 0.5}},
    }
    asked = {"table": "t.csv", "truths": [truth] * 12}
    changes = {"config": config, "batch": {"size": 12, "width": 4}, "convergence": {"misfit_p_min": 0}}
    campaign = load(write(shear=..., realizations=..., observations=asked, **changes))
    campaign.run()
    summary = campaign.summary
    assert list(summary["status"]) == ["ok"] * 12
    off = np.abs(summary[["g1_mean", "g2_mean"]].to_numpy() - list(truth.values())).max(axis=1)
    # GalSim's default accuracy; the wings of the neighbours, and of the PSF beyond its tile.
    assert off[:6].max() < 2e-4
    assert off[6:].min() > 20 * off[:6].max()


def test_rms_is_the_root_of_the_variance(write: Write, tmp_path: Path) -> None:
    rms = np.random.default_rng(2).uniform(1e-3, 2e-3, size=(N, N))
    np.save(tmp_path / "a.npy", np.zeros((N, N)))
    np.savez(tmp_path / "noise.npz", rms=rms, variance=rms**2, negative=-rms)
    asked = {"shear": ..., "realizations": ..., "config__image__noise": {"type": "PerPixel"}}
    rows = [
        {"id": 0, "rms": "noise.npz#rms", "image": "a.npy"},
        {"id": 1, "rms": "noise.npz#negative", "image": "a.npy"},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    campaign = load(write(observations={"table": "t.csv"}, **asked))
    config, (good, bad) = shear_config.of(campaign.manifest), campaign.plan.realizations
    np.testing.assert_allclose(family.observe(config, good.planned).data["weight"][0], rms**-2, rtol=1e-12)
    with pytest.raises(DataError, match=r"column rms: /.*noise.npz: 576 pixels without a positive variance"):
        family.observe(config, bad.planned)
    pd.DataFrame([{**rows[0], "variance": "noise.npz#variance"}]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ManifestError, match="'rms' and 'variance' say the same"):
        load(write(observations={"table": "t.csv"}, **asked))

"""Images from files: the same posterior as the same image simulated, and files that do not belong together."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jsonschema
import numpy as np
import pytest
from astropy.io import fits

from conftest import Write, load, tree
from lanewise.errors import DataError, ManifestError, UsageError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family, stamp_files
from lanewise.manifest import schema
from lanewise.operations import extend
from lanewise.report.tables import to_json

TRUTHS = "g1,g2\n0.01,0\n0.01,0\n0.02,0\n0.02,0\n"


def simulated(write: Write, tmp_path: Path) -> tuple[Any, np.ndarray]:
    """The campaign of conftest, run, and its images."""
    campaign = load(write("simulated.yaml", url=str(tmp_path / "simulated")))
    campaign.run()
    images = [
        family.observe(shear_config.of(campaign.manifest), r.planned).data["image"] for r in campaign.plan.realizations
    ]
    return campaign, np.stack(images)


def _fits(path: Path, images: np.ndarray) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(images.astype(">f8"), name="SCI")]).writeto(path)


def _gzipped(path: Path, images: np.ndarray) -> None:
    fits.PrimaryHDU(images).writeto(path)


def _npz(path: Path, images: np.ndarray) -> None:
    np.savez(path, stamps=images)


def _hdf5(path: Path, images: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["deep/stamps"] = images
        file["other"] = np.zeros(3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "named", "save"),
    [
        ("stamps.fits", "stamps.fits", _fits),
        ("stamps.fits", "stamps.fits#SCI", _fits),
        ("stamps.fits.gz", "stamps.fits.gz", _gzipped),
        ("stamps.npz", "stamps.npz", _npz),
        ("stamps.npy", "stamps.npy", np.save),
        ("stamps.h5", "stamps.h5#deep/stamps", _hdf5),
    ],
)
def test_an_image_from_a_file_gives_the_posterior_of_the_same_image_simulated(
    write: Write, tmp_path: Path, file: str, named: str, save: Callable[[Path, np.ndarray], None]
) -> None:
    _, images = simulated(write, tmp_path)
    save(tmp_path / file, images)
    (tmp_path / "truths.csv").write_text(TRUTHS)
    observed = load(write(shear=..., realizations=..., observations={"images": named, "truths": "truths.csv"}))
    observed.run()
    observed.aggregate()
    expected, found = tree(tmp_path / "simulated"), tree(tmp_path / "results")
    posteriors = [name for name in expected if name.endswith("posterior.nc")]
    assert len(posteriors) == 4
    for name in posteriors:
        assert found[name] == expected[name]
    truth = json.loads(found[posteriors[0].replace("posterior.nc", "truth.json")])
    assert truth == {"run_id": posteriors[0].partition("/")[0], "seed": 42, "g1": 0.01, "g2": 0.0}


def test_a_file_for_each_image_without_truths(write: Write, tmp_path: Path) -> None:
    whole, images = simulated(write, tmp_path)
    for index, image in enumerate(images):
        np.save(tmp_path / f"stamp{index}.npy", image)
    campaign = load(write(shear=..., realizations={"base_seed": 7}, observations={"images": "stamp*.npy"}))
    assert [r.run_id for r in campaign.plan.realizations] == [f"obs_0000{n}_s{7 + n}" for n in range(4)]
    campaign.run(0)
    partly = json.loads(to_json(campaign.aggregate()))
    jsonschema.Draft7Validator(schema.load("bias_results")).validate(partly)
    assert [one["g1"] for one in partly["missing"]] == [None, None]
    campaign.run()
    assert list(campaign.summary["g1_mean"]) == pytest.approx(list(whole.summary["g1_mean"]), abs=0)
    assert campaign.summary["g1_true"].isna().all()
    results = campaign.aggregate()
    assert results.verdict.headline == "No true shear is known, so there is no bias to judge."
    # From the output alone, without the images.
    for path in tmp_path.glob("stamp*.npy"):
        path.unlink()
    again = load(str(tmp_path / "results"))
    assert again.plan == campaign.plan
    with pytest.raises(UsageError, match=r"add files to observations\.images"):
        extend.write(campaign.record, 2)


@pytest.mark.long
def test_variance_and_mask_stand_in_for_sigma(write: Write, tmp_path: Path) -> None:
    whole, images = simulated(write, tmp_path)
    spoilt = images.copy()
    spoilt[:, 0, 0] = np.nan
    mask = np.zeros((24, 24), int)
    mask[0, 0] = 1
    np.savez(tmp_path / "stamps.npz", images=spoilt, variance=np.full((24, 24), 1e-6), mask=mask)
    asked = {role: f"stamps.npz#{role}" for role in ("images", "variance", "mask")}
    noise = {"type": "PerPixel"}
    campaign = load(write(shear=..., realizations=..., observations=asked, config__image__noise=noise))
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok"] * 4
    # One pixel of a corner says nothing of g.
    shift = campaign.summary["g1_mean"].to_numpy() - whole.summary["g1_mean"].to_numpy()
    assert np.all(np.abs(shift) < 0.02 * whole.summary["g1_std"].to_numpy())
    del asked["mask"]
    unmasked = load(write(shear=..., realizations=..., observations=asked, config__image__noise=noise))
    assert unmasked.plan.realizations[0].identity != campaign.plan.realizations[0].identity


def _noise_of(write: Write, tmp_path: Path, **roles: np.ndarray) -> Any:
    """The first image of a campaign with these arrays, as it is inferred."""
    np.savez(tmp_path / "stamps.npz", images=np.ones((2, 24, 24)), **roles)  # type: ignore[arg-type]
    asked = {role: f"stamps.npz#{role}" for role in ("images", *roles)}
    campaign = load(write(shear=..., realizations=..., observations=asked, config__image__noise={"type": "PerPixel"}))
    return family.observe(shear_config.of(campaign.manifest), campaign.plan.realizations[0].planned).data


def test_a_weight_is_an_inverse_variance_and_masks_where_it_is_zero(write: Write, tmp_path: Path) -> None:
    variance = np.random.default_rng(5).uniform(1e-6, 2e-6, (24, 24))
    mask = np.zeros((24, 24), int)
    mask[3, 4] = 1
    weight = np.where(mask, 0.0, 1 / variance)
    expected = _noise_of(write, tmp_path, variance=variance, mask=mask)
    assert expected["weight"][3, 4] == expected["image"][3, 4] == 0
    for roles in (
        {"weight": weight},
        {"weight": 1 / variance, "mask": mask},
        {"weight": 1.009 * weight, "variance": np.where(mask, np.nan, variance)},
    ):
        found = _noise_of(write, tmp_path, **roles)
        assert {name: array.tolist() for name, array in found.items()} == {
            name: array.tolist() for name, array in expected.items()
        }


@pytest.mark.parametrize(
    ("weight", "variance", "message"),
    [
        (1.011e6, 1e-6, "the weight of 576 pixels is not 1 / variance (e.g. 1.011e+06 for 1e-06, variance in "),
        (1e-6, 1e-6, "the weight of 576 pixels is not 1 / variance (e.g. 1e-06 for 1e-06, variance in "),
        (-1.0, None, "576 pixels with a weight that is negative or not finite; mask them"),
        (np.nan, None, "576 pixels with a weight that is negative or not finite; mask them"),
        (0.0, None, "every pixel is masked"),
    ],
)
def test_a_weight_that_cannot_be_is_told(
    write: Write, tmp_path: Path, weight: float, variance: float | None, message: str
) -> None:
    roles = {"weight": np.full((24, 24), weight)} | (
        {} if variance is None else {"variance": np.full((24, 24), variance)}
    )
    with pytest.raises(DataError, match=re.escape(f"stamps.npz: {message}")):
        _noise_of(write, tmp_path, **roles)


def test_identity_follows_the_content_not_the_path(write: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 24, 24))
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes())

    def identities(*names: str) -> list[str]:
        plan = load(write(shear=..., realizations=..., observations={"images": list(names)})).plan
        return [r.identity for r in plan.realizations]

    assert identities("a.npy") == identities("c.npy")
    assert identities("a.npy", "b.npy")[:1] == identities("a.npy")
    assert identities("b.npy") != identities("a.npy")


def test_a_file_that_changes_after_planning_fails_its_realizations_alone(write: Write, tmp_path: Path) -> None:
    _, images = simulated(write, tmp_path)
    for index, image in enumerate(images):
        np.save(tmp_path / f"stamp{index}.npy", image)
    campaign = load(write(shear=..., realizations=..., observations={"images": "stamp*.npy"}))
    stamp_files.load.cache_clear()
    np.save(tmp_path / "stamp1.npy", images[0] + 1)
    campaign.run()
    assert list(campaign.summary["status"]) == ["ok", "failed", "ok", "ok"]
    assert "has changed: SHA-256" in campaign.summary["reason"][1]


@pytest.mark.parametrize(
    ("files", "asked", "field", "message"),
    [
        ({}, {"images": "absent.npy"}, "observations.images", "no such file; check the path"),
        ({}, {"images": "*.npy"}, "observations.images", "no file matches"),
        ({"a.txt": b"x"}, {"images": "a.txt"}, "observations.images", "expected a file that ends in .fits"),
        ({"a.npy": b"x"}, {"images": "a.npy"}, "observations.images", "a.npy: cannot be read"),
        ({"a.npy": np.zeros(5)}, {"images": "a.npy"}, "observations.images", "got float64 of shape (5,)"),
        ({"a.npy": np.zeros((2, 20, 24))}, {"images": "a.npy"}, "observations.images", "24 × 20 pixels, the config's"),
        (
            {"a.npy": np.zeros((3, 24, 24)), "v.npy": np.ones((2, 24, 24))},
            {"images": "a.npy", "variance": "v.npy"},
            "observations.variance",
            "expected one for all images or 3, one each, got 2",
        ),
        (
            {"a.npy": np.zeros((3, 24, 24)), "t.csv": b"g1,g2\n0,0\n0,0\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "expected a row for each of 3 images, got 2",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g2\n0,zero\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "t.csv: line 2: could not convert string to float: 'zero'",
        ),
        (
            {"a.npy": np.zeros((2, 24, 24)), "t.csv": b"g1,g2\n0,0\n0\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "t.csv: line 3: expected 2 values, one for each column, got 1",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g2\n0,0,0\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "t.csv: line 2: expected 2 values, one for each column, got 3",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g1\n0,0\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "t.csv: line 1: the column 'g1' appears twice; keep one",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,fluxx\n0,1\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "the galaxy has no parameter 'fluxx'; did you mean 'flux'?",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g2\n0.8,0.8\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "expected |g| < 1, got (0.8, 0.8) for image 0",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g2,x\n0,0,-0.3\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "x: expected pixels from the lower left corner of the stamp, 0 to 24, got -0.3 for image 0",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "t.csv": b"g1,g2\n0,nan\n"},
            {"images": "a.npy", "truths": "t.csv"},
            "observations.truths",
            "t.csv: line 2: expected a finite number for g2, got nan",
        ),
        (
            {"a.npy": np.zeros((24, 24)), "v.npy": np.ones((24, 24))},
            {"images": "a.npy", "variance": "v.npy"},
            "observations",
            "need image.noise: {type: PerPixel}",
        ),
    ],
)
def test_files_that_do_not_fit_are_told_with_their_key(
    write: Write, tmp_path: Path, files: dict[str, Any], asked: dict[str, Any], field: str, message: str
) -> None:
    for name, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            np.save(tmp_path / name, content)
    with pytest.raises(ManifestError) as caught:
        load(write(shear=..., realizations=..., observations=asked))
    assert [c.field for c in caught.value.complaints] == [field]
    assert message in caught.value.complaints[0].message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shear": ...}, "expected 'shear' (true shears, of which images are simulated) or 'observations'"),
        ({"observations": {"images": "a.npy"}}, "keep one of the two"),
        ({"shear": ..., "observations": {"images": "a.npy"}}, "the number of images says how many; remove this key"),
    ],
)
def test_images_are_either_simulated_or_read(write: Write, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)):
        load(write(**changes))


@pytest.mark.parametrize(
    ("arrays", "name", "message"),
    [
        ({"a": np.zeros((4, 4)), "b": np.zeros((4, 4))}, "", r"has 2 arrays \(a, b\); name one of them: x.npz#NAME"),
        ({"a": np.zeros((4, 4))}, "c", "has no array 'c'; it has a"),
        ({"a": np.array([["x"]])}, "", "expected numbers of shape"),
    ],
)
def test_an_array_is_chosen_by_name(arrays: dict[str, np.ndarray], name: str, message: str) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # NumPy's types take any name for allow_pickle
    with pytest.raises(DataError, match=message):
        stamp_files.read(buffer.getvalue(), "x.npz", name)


def test_images_that_share_noise_are_one_group(write: Write, tmp_path: Path) -> None:
    """They get one seed, by which errors cluster and ±g are a pair; a second image at one shear gets another name."""
    _, images = simulated(write, tmp_path)
    np.save(tmp_path / "stamps.npy", images)
    (tmp_path / "truths.csv").write_text("g1,g2,group\n0.01,0,7\n-0.01,0,7\n0.01,0,3\n0.01,0,3\n")
    files = {"images": "stamps.npy", "truths": "truths.csv"}
    found = load(write(shear=..., realizations=..., observations=files))
    planned = [realization.planned for realization in found.plan.realizations]
    assert [one.seed for one in planned] == [42, 42, 43, 43]
    assert [one.run_id.partition("_s")[2] for one in planned] == ["42", "42", "43", "43_i3"]
    assert all("group" not in one.truth for one in planned)


def test_a_group_is_given_for_every_image_or_none(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((2, 24, 24)))
    truths = [{"g1": 0.01, "g2": 0.0, "group": 1}, {"g1": 0.02, "g2": 0.0}]
    with pytest.raises(ManifestError, match="1 images have no group; give it for all"):
        load(write(shear=..., realizations=..., observations={"images": "stamps.npy", "truths": truths}))


def test_repeated_galaxies_without_a_group_are_remarked(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((3, 24, 24)))
    rows = [{"g1": g, "g2": 0.0, "flux": flux} for g, flux in ((0.01, 1.0), (-0.01, 1.0), (0.01, 1.2))]
    for extra, expected in ({}, 1), ({"group": 1}, 0):
        truths = [{**row, **extra} for row in rows]
        files = {"images": "stamps.npy", "truths": truths}
        found = load(write(shear=..., realizations=..., observations=files))
        assert sum("3 images show 2 galaxies" in remark for remark in found.remarks) == expected


NORMAL_POSITION = {"type": "Normal", "sigma": 0.4}


def _off_centre(write: Write, tmp_path: Path) -> tuple[Any, np.ndarray, list[dict[str, float]]]:
    """Simulated galaxies at 9 to 15 px, their images in a file, and their centres to half a pixel."""
    place = {"x_min": 9, "x_max": 15, "y_min": 9, "y_max": 15}
    scene = {"config__gal__position": place, "config__simulation": {"truths": "drawn"}}
    campaign = load(write("simulated.yaml", url=str(tmp_path / "simulated"), **scene))
    planned = [realization.planned for realization in campaign.plan.realizations]
    images = np.stack([family.observe(shear_config.of(campaign.manifest), one).data["image"] for one in planned])
    np.save(tmp_path / "stamps.npy", images)
    centres = [{axis: round(2 * one.truth[axis]) / 2 for axis in "xy"} for one in planned]
    assert len({one["x"] for one in centres}) > 1
    return campaign, images, centres


@pytest.mark.long
def test_each_image_has_the_prior_of_its_own_centre(write: Write, tmp_path: Path) -> None:
    """As campaigns of one image each, whose config has that centre as its mean; posteriors count from the corner."""
    _, images, centres = _off_centre(write, tmp_path)
    (tmp_path / "centres.csv").write_text("x,y\n" + "".join(f"{one['x']},{one['y']}\n" for one in centres))
    # S/N 10: the prior on the centre weighs as much as the image.
    faint = {"config__image__noise__sigma": 2e-2, "shear": ..., "realizations": ..., "batch": {"width": 1}}
    files = {"images": "stamps.npy", "centres": "centres.csv"}
    campaign = load(write(**faint, config__gal__position=NORMAL_POSITION, observations=files))
    campaign.run()
    # Each config of a centre compiles a program of its own: two will do.
    for index, (realization, centre) in enumerate(list(zip(campaign.plan.realizations, centres, strict=True))[:2]):
        np.save(tmp_path / "one.npy", images[index])
        position = {**NORMAL_POSITION, "x_mean": centre["x"], "y_mean": centre["y"]}
        alone = load(
            write(
                "alone.yaml",
                str(tmp_path / f"alone{index}"),
                **faint,
                config__gal__position=position,
                observations={"images": "one.npy"},
            )
        )
        alone.run()
        ours = campaign.posterior(realization.run_id)["posterior"].mean()
        theirs = alone.posterior(alone.plan.realizations[0].run_id)["posterior"].mean()
        for name in ("g1", "g2", "x", "y"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-6)
        assert abs(float(ours["x"]) - centre["x"]) < 2


def test_a_centre_is_part_of_the_identity(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((2, 24, 24)))
    centres = [{"x": 12.0, "y": 12.0}, {"x": 11.0, "y": 13.0}]

    def identities(**extra: Any) -> list[str]:
        files = {"images": "stamps.npy", **extra}
        path = write(shear=..., realizations=..., observations=files, config__gal__position=NORMAL_POSITION)
        return [one.identity for one in load(path).plan.realizations]

    plain, given, moved = identities(), identities(centres=centres), identities(centres=[centres[0], centres[0]])
    assert len({*plain, *given}) == 4
    assert (moved[0] == given[0], moved[1] == given[1]) == (True, False)


@pytest.mark.parametrize(
    ("centres", "position", "field", "message"),
    [
        ("x,y\n12,12\n", NORMAL_POSITION, "observations.centres", "expected a row for each of 2 images, got 1"),
        ("x,g1\n1,0\n1,0\n", NORMAL_POSITION, "observations.centres", "expected the columns x and y, got x, g1"),
        (
            [{"x": 1, "y": 1}, {"x": -1, "y": 1}],
            NORMAL_POSITION,
            "observations.centres",
            "x: expected pixels from the lower left corner of the stamp, 0 to 24, got -1 for image 1",
        ),
        (
            "x,y\n12,12\n12,12\n",
            {"x_min": 0.4, "x_max": 0.6},
            "observations.centres",
            "set gal.position: {type: Normal, sigma: …} in the config",
        ),
        (
            "x,y\n12,12\n12,12\n",
            {**NORMAL_POSITION, "x_mean": 11},
            "config.gal.position.x_mean",
            "observations.centres has the mean of x for each image; remove this key",
        ),
    ],
)
def test_centres_that_do_not_fit_are_told(
    write: Write, tmp_path: Path, centres: Any, position: dict[str, Any], field: str, message: str
) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((2, 24, 24)))
    if isinstance(centres, str):
        (tmp_path / "centres.csv").write_text(centres)
        centres = "centres.csv"
    files = {"images": "stamps.npy", "centres": centres}
    with pytest.raises(ManifestError) as caught:
        load(write(shear=..., realizations=..., observations=files, config__gal__position=position))
    assert [one.field for one in caught.value.complaints] == [field]
    assert message in caught.value.complaints[0].message

"""Populations of the user's own stamps: the same bits as the same galaxies simulated, and files that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from pyarrow import parquet

from conftest import MANIFEST, Lanewise, Write, load
from families.shear.population.test_populations import POPULATION, changed, committed
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.errors import InputUnreachable, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family, stamp_files
from lanewise.manifest.status import LaneStatus
from lanewise.statistics.numbers import number, with_error
from lanewise.statistics.verdict import Verdict

K = POPULATION["population"]["galaxies"]
TRUTHS = "g1,g2,group\n0.02,0,1\n-0.02,0,1\n"


def stamps_of(campaign: Campaign) -> np.ndarray:
    """Every galaxy of a simulated campaign, population by population, shape (n, ny, nx)."""
    config = shear_config.of(campaign.manifest)
    seen = [family.observe(config, one.planned) for one in campaign.plan.realizations]
    return np.stack([data["image"] for one in seen for data in one.members if data is not None])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Result], np.ndarray]:
    """A pair of populations from the simulator, carried out, and its images."""
    folder = tmp_path_factory.mktemp("simulated")
    shear = {"grid": [0.02], "paired": True}
    content = {**MANIFEST, "config": POPULATION, "shear": shear, "output": {"url": str(folder / "results")}}
    content["realizations"] = {"count": 1}
    path: Path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(content))
    campaign = load(str(path))
    campaign.run()
    return committed(campaign), stamps_of(campaign)


def observed(write: Write, config: dict[str, Any] | None = None, **files: Any) -> Campaign:
    return load(write(config=config or POPULATION, shear=..., realizations=..., observations=files))


def same(found: Result, expected: Result) -> bool:
    """Every bit of members and posterior."""
    assert found.members is not None
    assert expected.members is not None
    ours, theirs = found.members.record, expected.members.record
    return all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs) and all(
        found.posterior[name].tobytes() == expected.posterior[name].tobytes() for name in expected.posterior
    )


def _fits(path: Path, images: np.ndarray) -> None:
    fits.PrimaryHDU(images.astype(">f8")).writeto(path)


def _npz(path: Path, images: np.ndarray) -> None:
    np.savez(path, stamps=images)


@pytest.mark.long
@pytest.mark.parametrize(("file", "save"), [("stamps.fits", _fits), ("stamps.npz", _npz)])
def test_stamps_from_a_file_give_the_bits_of_the_same_galaxies_simulated(
    simulated: tuple[dict[str, Result], np.ndarray],
    write: Write,
    tmp_path: Path,
    file: str,
    save: Callable[[Path, np.ndarray], None],
) -> None:
    expected, images = simulated
    save(tmp_path / file, images)
    (tmp_path / "truths.csv").write_text(TRUTHS)
    campaign = observed(write, images=file, truths="truths.csv")
    campaign.run()
    found = committed(campaign)
    assert set(found) == set(expected)
    assert all(same(found[run_id], one) for run_id, one in expected.items())
    # The files are the same, but a galaxy of another place in them is another one.
    save(tmp_path / f"turned{Path(file).suffix}", images[::-1])
    turned = observed(write, images=f"turned{Path(file).suffix}", truths="truths.csv")
    assert turned.plan.realizations[0].identity != campaign.plan.realizations[0].identity


@pytest.mark.long
def test_without_truths_the_campaign_ends_with_g_and_no_verdict(
    simulated: tuple[dict[str, Result], np.ndarray], write: Write, tmp_path: Path, lanewise: Lanewise
) -> None:
    expected, images = simulated
    np.save(tmp_path / "stamps.npy", images[:K])
    path = write(config=POPULATION, shear=..., realizations=..., observations={"images": "stamps.npy"})
    outputs = {}
    for command in (("plan",), ("run",), ("aggregate",), ("status",), ("catalogue",)):
        code, outputs[command[0]], told = lanewise(*command, path)
        assert code == 0, (command, told)
    campaign = load(path)
    (found,) = committed(campaign).values()
    plus = expected["g1_+0.0200_g2_+0.0000_s42"]
    assert found.run_id == "obs_00000_s42"
    assert same(found, plus)
    results = campaign.aggregate()
    assert results.verdict.headline == "No true shear is known, so there is no bias to judge."
    assert results.verdict.verdict is Verdict.INCONCLUSIVE
    (row,) = campaign.summary.to_dict("records")
    assert row["g1_mean"] == pytest.approx(plus.posterior["g1"].mean(), rel=1e-12)
    assert np.isnan(row["g1_true"])
    assert row["g1_jackknife"] > 0
    rows = parquet.read_table(tmp_path / "results" / "catalogue.parquet").to_pydict()
    assert plus.members is not None
    assert rows["ln_l_1_2"] == list(plus.members.record["ln_l"][:, 0, 1, 2])
    page = (tmp_path / "results" / "report.html").read_text()
    (told,) = re.findall(r">12 of 12<.*>g1<.*\n.*>([^<]*)</td>.*>([^<]*)</td>.*>([^<]*)</td>", page)
    assert told == (
        with_error(row["g1_mean"], row["g1_std"]),
        with_error(row["g1_lik_mean"], row["g1_lik_std"]),
        number(row["g1_jackknife"], ".2g"),
    )
    assert "scatter of galaxies, g1" in page


@pytest.mark.long
def test_a_stamp_that_is_not_finite_fails_alone(
    simulated: tuple[dict[str, Result], np.ndarray], write: Write, tmp_path: Path
) -> None:
    expected, images = simulated
    spoilt = images[:K].copy()
    spoilt[5, 0, 0] = np.nan
    np.save(tmp_path / "stamps.npy", spoilt)
    lenient = changed(max_failed_frac=0.1)
    files = {"images": "stamps.npy"}
    (found,) = _run(observed(write, lenient, **files))
    assert found.members is not None
    assert found.members.counts == {"ok": K - 1, "non_finite": 1}
    assert found.status is LaneStatus.OK
    plus = expected["g1_+0.0200_g2_+0.0000_s42"].members
    assert plus is not None
    others = np.arange(K) != 5
    assert found.members.record["ln_l"][others].tobytes() == plus.record["ln_l"][others].tobytes()
    assert np.isnan(found.members.record["ln_l"][5]).all()
    path = write(
        "strict.yaml", str(tmp_path / "strict"), config=POPULATION, shear=..., realizations=..., observations=files
    )
    (strict,) = _run(load(path))
    assert strict.status is LaneStatus.FAILED


def _run(campaign: Campaign) -> list[Result]:
    campaign.run()
    return list(committed(campaign).values())


@pytest.mark.long
def test_weights_and_masks_of_each_stamp_reach_its_likelihood(
    simulated: tuple[dict[str, Result], np.ndarray], write: Write, tmp_path: Path
) -> None:
    """Equal variances give what sigma gives; a spoilt pixel of a corner is ignored."""
    expected, images = simulated
    variance = np.full_like(images[:K], 1e-6)
    mask = np.zeros(images[:K].shape, int)
    mask[:, 0, 0] = 1
    spoilt = np.where(mask, np.nan, images[:K])
    np.savez(tmp_path / "stamps.npz", images=spoilt, variance=variance, mask=mask)
    files = {role: f"stamps.npz#{role}" for role in ("images", "variance", "mask")}
    config = {**POPULATION, "image": {**POPULATION["image"], "noise": {"type": "PerPixel"}}}
    (found,) = _run(observed(write, config, **files))
    plus = expected["g1_+0.0200_g2_+0.0000_s42"]
    assert found.status is LaneStatus.OK
    width = plus.width("g1")
    assert width is not None
    assert abs(found.posterior["g1"].mean() - plus.posterior["g1"].mean()) < 0.05 * width
    assert found.width("g1") == pytest.approx(width, rel=0.05)


@pytest.mark.long
def test_a_cut_leaves_out_the_stamps_that_the_simulator_would(write: Write, tmp_path: Path) -> None:
    bright = changed(selection={"snr_min": 105.0})
    campaign = load(write(config=bright, shear={"grid": [0.02]}, realizations={"count": 1}))
    campaign.run()
    (expected,) = committed(campaign).values()
    whole = load(write("whole.yaml", config=POPULATION, shear={"grid": [0.02]}, realizations={"count": 1}))
    np.save(tmp_path / "stamps.npy", stamps_of(whole))
    files = {"images": "stamps.npy"}
    path = write("own.yaml", str(tmp_path / "own"), config=bright, shear=..., realizations=..., observations=files)
    (found,) = _run(load(path))
    n = int(found.groups["population"]["n_selected"][0])
    assert 0 < n < K
    assert same(found, expected)


def test_a_file_that_is_gone_ends_the_run_and_not_the_galaxy(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((K, 24, 24)))
    campaign = observed(write, images="stamps.npy")
    (tmp_path / "stamps.npy").unlink()
    stamp_files.load.cache_clear()
    with pytest.raises(InputUnreachable):
        campaign.run()
    assert committed(campaign) == {}


ROW = {"g1": 0.02, "g2": 0.0}
PER_PIXEL = {**POPULATION, "image": {**POPULATION["image"], "noise": {"type": "PerPixel"}}}


@pytest.mark.parametrize(
    ("config", "shape", "asked", "field", "message"),
    [
        (POPULATION, (K + 3, 24, 24), {}, "observations.images", f"multiple of config.population.galaxies ({K}), got"),
        (POPULATION, (K - 1, 24, 24), {}, "observations.images", f"got {K - 1} images; correct one of the two"),
        (POPULATION, (K, 24, 20), {}, "observations.images", "20 × 24 pixels, the config's stamp has 24 × 24"),
        (PER_PIXEL, (K, 24, 24), {}, "observations", "PerPixel without sigma; add 'variance' or 'weight' here"),
        (
            POPULATION,
            (2 * K, 24, 24),
            {"truths": [ROW]},
            "observations.truths",
            f"a row for each of 2 populations of {K} images, got 1",
        ),
        (
            POPULATION,
            (K, 24, 24),
            {"truths": [{**ROW, "flux": 1.0}]},
            "observations.truths",
            "share g1 and g2 alone; remove flux",
        ),
        (
            POPULATION,
            (K, 24, 24),
            {"truths": [{"g1": 0.25, "g2": 0.0}]},
            "config.population.half_width",
            "for shears of 0.25, got 0.2",
        ),
        (
            {**changed(selection={"snr_min": 9.0}), "image": PER_PIXEL["image"]},
            (K, 24, 24),
            {"variance": "v.npy"},
            "config.population.selection",
            "noise of one width, without masks",
        ),
        (
            changed(selection={"snr_min": 9.0}),
            (K, 24, 24),
            {"centres": [{"x": 12.0, "y": 12.0}] * K},
            "config.population.selection",
            "in the middle of the stamp, not at observations.centres",
        ),
        (
            {**POPULATION, "simulation": {"psf": {"type": "Gaussian", "sigma": 0.5}}},
            (K, 24, 24),
            {},
            "config.simulation",
            "images come from files here",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(
    write: Write,
    tmp_path: Path,
    config: dict[str, Any],
    shape: tuple[int, ...],
    asked: dict[str, Any],
    field: str,
    message: str,
) -> None:
    np.save(tmp_path / "stamps.npy", np.ones(shape))
    np.save(tmp_path / "v.npy", np.ones(shape))
    with pytest.raises(ManifestError) as caught:
        observed(write, config, images="stamps.npy", **asked)
    assert [c.field for c in caught.value.complaints] == [field]
    assert message in caught.value.complaints[0].message


def test_stamps_of_two_shapes_are_refused(write: Write, tmp_path: Path) -> None:
    for at, side in enumerate((24, 20)):
        np.save(tmp_path / f"stamp{at}.npy", np.ones((K // 2, side, side)))
    with pytest.raises(ManifestError, match="20 × 20 pixels, the config's stamp has 24 × 24"):
        observed(write, images="stamp*.npy")


def test_each_stamp_has_its_own_centre(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((2 * K, 24, 24)))
    centres = [{"x": 12.0 + 0.1 * at, "y": 11.0} for at in range(2 * K)]
    campaign = observed(write, images="stamps.npy", centres=centres)
    second = campaign.plan.realizations[1]
    members = family.observe(shear_config.of(campaign.manifest), second.planned).members
    assert len(members) == K
    data = members[3]
    assert data is not None
    np.testing.assert_allclose(data["centre"], [12.0 + 0.1 * (K + 3), 11.0])

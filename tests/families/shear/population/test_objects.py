"""Populations of objects with exposures: what one image of each would give, and tables that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from conftest import Lanewise, Write, load
from families.shear.population.test_populations import POPULATION, changed, committed
from families.shear.population.test_stamps import PER_PIXEL, ROW, K, observed
from lanewise.api import Campaign
from lanewise.engine.results import Result
from lanewise.errors import ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.population import galaxies
from lanewise.manifest.plan import Single
from lanewise.manifest.status import LaneStatus

VARIANCE = 1e-6


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two populations, shape (2 K, 24, 24)."""
    config = shear_config.parse(POPULATION)
    seen = [galaxies.observe(config, Single("a", seed, {"g1": 0.02, "g2": 0.0})) for seed in (42, 43)]
    return np.stack([data["image"] for one in seen for data in one.members if data is not None])


def table(tmp_path: Path, rows: list[dict[str, Any]], name: str = "objects.csv") -> str:
    pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
    return name


def ran(campaign: Campaign) -> list[Result]:
    campaign.run()
    return list(committed(campaign).values())


def log_likelihoods(found: Result) -> np.ndarray:
    """Of each galaxy at the nodes, less that at the first one."""
    assert found.members is not None
    values: np.ndarray = found.members.record["ln_l"][:, 0]
    return np.asarray(values - values[:, :1, :1])


@pytest.mark.long
def test_one_exposure_of_each_object_gives_what_its_image_gives(
    images: np.ndarray, write: Write, tmp_path: Path
) -> None:
    """To rounding: exposures have a Jacobian each, and another program."""
    np.save(tmp_path / "stamps.npy", images)
    rows = [{"id": f"galaxy {at}", "image": "stamps.npy", "index": at} for at in range(2 * K)]
    found = ran(observed(write, table=table(tmp_path, rows), truths=[ROW, ROW]))
    path = write(
        "images.yaml",
        str(tmp_path / "images"),
        config=POPULATION,
        shear=...,
        realizations=...,
        observations={"images": "stamps.npy", "truths": [ROW, ROW]},
    )
    expected = ran(load(path))
    assert [one.run_id for one in found] == [one.run_id for one in expected]
    assert len(found) == 2
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.status is LaneStatus.OK
        np.testing.assert_allclose(log_likelihoods(ours), log_likelihoods(theirs), atol=1e-6)
        np.testing.assert_allclose(ours.posterior["g1"], theirs.posterior["g1"], atol=1e-8)


@pytest.mark.long
def test_two_exposures_of_half_the_information_give_what_one_of_all_of_it_gives(
    images: np.ndarray, write: Write, tmp_path: Path
) -> None:
    """Objects with one exposure, with two, and with two of which the first is masked, in one population."""
    variance = np.stack([np.full((24, 24), VARIANCE), np.full((24, 24), 2 * VARIANCE)])
    np.savez(tmp_path / "all.npz", images=images, whole=variance[0], half=variance[1], mask=np.ones((24, 24), int))
    single, several = [], []
    for at in range(K):
        row = {"id": at, "image": "all.npz#images", "index": at}
        single.append({**row, "variance": "all.npz#whole"})
        if at % 3 == 0:
            several += [{**row, "variance": "all.npz#half"}] * 2
        else:
            masked = {**row, "variance": "all.npz#half", "mask": "all.npz#mask"}
            several += [*([masked] if at % 3 == 1 else []), single[-1]]
    (expected,) = ran(observed(write, PER_PIXEL, table=table(tmp_path, single)))
    path = write(
        "several.yaml",
        str(tmp_path / "several"),
        config=PER_PIXEL,
        shear=...,
        realizations=...,
        observations={"table": table(tmp_path, several, "several.csv")},
    )
    campaign = load(path)
    seen = family.observe(shear_config.of(campaign.manifest), campaign.plan.realizations[0].planned)
    assert list(seen.sizes) == [2, 2, 1] * (K // 3)
    (found,) = ran(campaign)
    assert found.status is LaneStatus.OK
    np.testing.assert_allclose(log_likelihoods(found), log_likelihoods(expected), atol=1e-6)
    # Twice the information must not pass for once.
    assert found.width("g1") == pytest.approx(expected.width("g1"), rel=1e-6)


@pytest.mark.long
def test_an_object_whose_file_is_broken_fails_alone(
    images: np.ndarray, write: Write, tmp_path: Path, lanewise: Lanewise
) -> None:
    np.save(tmp_path / "stamps.npy", images[:K])
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =  no such file")
    rows = [{"id": f"galaxy {at}", "image": "stamps.npy", "index": at} for at in range(K)]
    whole = observed(write, changed(max_failed_frac=0.1), table=table(tmp_path, rows))
    (expected,) = ran(whole)
    spoilt = [{**row, "image": "broken.fits"} if at == 5 else row for at, row in enumerate(rows)]
    path = write(
        "broken.yaml",
        str(tmp_path / "broken"),
        config=changed(max_failed_frac=0.1),
        shear=...,
        realizations=...,
        observations={"table": table(tmp_path, spoilt, "broken.csv")},
    )
    (found,) = ran(load(path))
    assert found.members is not None
    assert found.members.counts == {"ok": K - 1, "failed": 1}
    assert "broken.csv, row 6, column image" in found.members.reasons[5]
    assert found.status is LaneStatus.OK
    assert expected.members is not None
    others = np.arange(K) != 5
    assert found.members.record["ln_l"][others].tobytes() == expected.members.record["ln_l"][others].tobytes()
    for command in ("aggregate", "catalogue"):
        code, _, told = lanewise(command, path)
        assert code == 0, (command, told)
    catalogue = parquet.read_table(tmp_path / "broken" / "catalogue.parquet").to_pydict()
    assert catalogue["id"] == [row["id"] for row in rows]
    assert catalogue["galaxy"] == [*range(K)]


@pytest.mark.parametrize(
    ("config", "n", "asked", "field", "message"),
    [
        (POPULATION, K + 1, {}, "observations.table", f"config.population.galaxies ({K}), got {K + 1} objects"),
        (POPULATION, K, {"truths": [ROW] * 2}, "observations.truths", f"1 populations of {K} objects, got 2"),
        (changed(selection={"snr_min": 9.0}), K, {}, "config.population.selection", "give observations.images"),
        (
            {**POPULATION, "image": {**POPULATION["image"], "sizes": [24, 32]}},
            K,
            {},
            "config.image.sizes",
            "stamps of one size",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_told(
    write: Write, tmp_path: Path, config: dict[str, Any], n: int, asked: dict[str, Any], field: str, message: str
) -> None:
    np.save(tmp_path / "a.npy", np.ones((24, 24)))
    name = table(tmp_path, [{"id": at, "image": "a.npy"} for at in range(n)])
    with pytest.raises(ManifestError) as caught:
        observed(write, config, table=name, **asked)
    assert [c.field for c in caught.value.complaints] == [field]
    assert message in caught.value.complaints[0].message


def test_every_array_of_an_object_has_a_row_for_each_exposure(write: Write, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", image=np.ones((24, 24)), psf=np.eye(5))
    row = {"image": "all.npz#image", "psf": "all.npz#psf", "band": "r"}
    name = table(tmp_path, [{**row, "id": at // 2} for at in range(2 * K)])
    config = {
        **PER_PIXEL,
        "image": {**PER_PIXEL["image"], "noise": {"type": "PerPixel", "sigma": 1e-3}},
        "psf": {"type": "PerExposure", "fwhm": 0.95, "pixel_scale": 0.3},
        "gal": {**PER_PIXEL["gal"], "bands": {"r": {"flux_ratio": 1.0}}},
    }
    campaign = observed(write, config, table=name)
    seen = family.observe(shear_config.of(campaign.manifest), campaign.plan.realizations[0].planned)
    (first, *_), sizes = seen.members, seen.sizes
    assert first is not None
    assert set(seen.ragged) == set(first)
    assert {len(array) for array in first.values()} == {2}
    assert list(sizes) == [2] * K


def test_objects_of_another_order_are_another_population(write: Write, tmp_path: Path) -> None:
    np.save(tmp_path / "stamps.npy", np.ones((K, 24, 24)))
    rows = [{"id": at, "image": "stamps.npy", "index": at} for at in range(K)]
    first, other = (observed(write, table=table(tmp_path, one)) for one in (rows, rows[::-1]))
    assert first.plan.realizations[0].identity != other.plan.realizations[0].identity

"""Objects with stamps of several sizes: each has a program of its size, and results that depend on itself alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import galsim
import numpy as np
import pandas as pd
import pytest

from conftest import MANIFEST, SCENE, Write, load
from lanewise.api import Campaign
from lanewise.engine.engine import Engine
from lanewise.engine.results import Result
from lanewise.errors import DataError, ManifestError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.report import gallery
from lanewise.machine.progress import Silent
from lanewise.manifest.problem import Observation
from lanewise.storage import checkpoints
from lanewise.storage.checkpoints import CheckpointKeeper, Policy

SCALE, SIGMA = 0.3, 2e-3
# Of each object: its shear, and of each of its exposures the pixels of the image and the object's place in it.
OBJECTS: tuple[tuple[float, tuple[tuple[int, int, float, float], ...]], ...] = (
    (0.03, ((22, 22, 11.0, 11.0),)),
    (-0.02, ((32, 29, 16.2, 14.4),)),
    (0.01, ((22, 21, 11.0, 10.5), (30, 30, 15.0, 15.3))),
    (0.05, ((24, 24, 12.25, 11.5),)),
    (0.02, ((18, 18, 9.0, 9.0),)),
)
EDGES = (24, 32, 32, 24, 24)
IMAGE = {**SCENE["image"], "noise": {"type": "PerPixel", "sigma": SIGMA}}
CONFIG = {
    **SCENE,
    "image": {**IMAGE, "sizes": [32, 24]},
    "gal": {**SCENE["gal"], "position": {"type": "Normal", "sigma": 0.5}},
    "inference": {"method": "importance", "precision": "float64", "importance_config": {"samples": 200}},
}


def rows_of(tmp_path: Path, at: int) -> list[dict[str, Any]]:
    """An object's rows, with its images on disk."""
    g1, planes = OBJECTS[at]
    rows = []
    for number, (nx, ny, x, y) in enumerate(planes):
        galaxy = galsim.Exponential(flux=1.0, half_light_radius=0.5).shear(g1=g1, g2=0.0)
        seen = galsim.Convolve([galaxy, galsim.Gaussian(sigma=0.4)])
        offset = galsim.PositionD(x - nx / 2, y - ny / 2)
        image = seen.drawImage(nx=nx, ny=ny, scale=SCALE, offset=offset, dtype=float).array
        name = f"o{at}e{number}.npy"
        np.save(tmp_path / name, image + np.random.default_rng([at, number]).normal(scale=SIGMA, size=image.shape))
        rows.append({"id": at, "image": name, "x": x, "y": y})
    return rows


@pytest.fixture
def made(write: Write, tmp_path: Path) -> Callable[..., Campaign]:
    def make(objects: list[int], url: str, **changes: Any) -> Campaign:
        rows = [row for at in objects for row in rows_of(tmp_path, at)]
        pd.DataFrame(rows).to_csv(tmp_path / f"{url}.csv", index=False)
        asked = {"shear": ..., "config": CONFIG, "observations": {"table": f"{url}.csv"}}
        # The seed of an object is the same in every campaign.
        asked |= {"realizations": {"base_seed": 42 + objects[0]}, "batch": {"size": 5, "width": 2}}
        return load(write(f"{url}.yaml", str(tmp_path / url), **{**asked, **changes}))

    return make


def results(campaign: Campaign) -> list[Result]:
    engine = Engine(campaign.manifest, campaign.plan)
    return [one for chunk in campaign.plan.chunks for one in engine.run(chunk)]


def same(one: Result, other: Result) -> bool:
    assert one.posterior.keys() == other.posterior.keys() != set()
    return all(np.array_equal(one.posterior[name], other.posterior[name]) for name in one.posterior) and (
        one.diagnostics == other.diagnostics
    )


def observations(campaign: Campaign) -> list[Observation]:
    config = shear_config.of(campaign.manifest)
    return [family.observe(config, one.planned) for one in campaign.plan.realizations]


def test_an_object_has_the_smallest_stamp_that_holds_all_its_images(made: Callable[..., Campaign]) -> None:
    found = observations(made([0, 1, 2, 3, 4], "mixed"))
    assert [one.data["image"].shape for one in found] == [
        (len(planes), edge, edge) for (_, planes), edge in zip(OBJECTS, EDGES, strict=True)
    ]
    assert [one.shape for one in found] == [(edge, edge) for edge in EDGES]
    for one, (_, planes) in zip(found, OBJECTS, strict=True):
        # What fills a stamp up has no weight, and the pixels of the images all have theirs.
        assert [int((weight > 0).sum()) for weight in one.data["weight"]] == [nx * ny for nx, ny, _, _ in planes]


@pytest.mark.parametrize(("asked", "edge"), [(24, 24), (25, 32)])
def test_the_table_may_say_how_much_to_cut_out_of_a_larger_image(
    made: Callable[..., Campaign], tmp_path: Path, asked: int, edge: int
) -> None:
    field = np.arange(90.0 * 80).reshape(80, 90)
    np.save(tmp_path / "field.npy", field)
    pd.DataFrame([{"id": 1, "image": "field.npy", "x": 40.0, "y": 33.0, "stamp_size": asked}]).to_csv(
        tmp_path / "cut.csv", index=False
    )
    (found,) = observations(made([0], "of", observations={"table": "cut.csv"}))
    half = edge // 2
    np.testing.assert_array_equal(found.data["image"][0], field[33 - half : 33 + half, 40 - half : 40 + half])
    assert found.shape == (edge, edge)


@pytest.mark.slow
def test_results_are_those_of_each_object_alone(made: Callable[..., Campaign]) -> None:
    """In the table's order, whatever the neighbours, their number in a chunk and the other sizes of the campaign."""
    mixed = results(made([0, 1, 2, 3, 4], "mixed"))
    assert [one.run_id for one in mixed] == [f"obs_{at:05d}_s{42 + at}" for at in range(5)]
    in_twos = results(made([0, 1, 2, 3, 4], "twos", batch={"size": 2, "width": 2}))
    for at, (one, other) in enumerate(zip(mixed, in_twos, strict=True)):
        assert one.status.word == "ok"
        assert same(one, other)
        (alone,) = results(made([at], f"alone{at}", config={**CONFIG, "image": {**IMAGE, "sizes": [EDGES[at]]}}))
        assert same(one, alone)
        g1, width = float(np.mean(one.posterior["g1"])), one.width("g1")
        assert width is not None
        assert abs(g1 - OBJECTS[at][0]) < 4 * width
    # The wrong object's posterior is another one.
    assert not same(mixed[0], mixed[4])


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 4])
def test_a_stamp_says_what_it_says_in_a_campaign_of_its_size(made: Callable[..., Campaign], at: int) -> None:
    """The same grid and the same draws, but x and y are counted from another middle; and more padding says no more."""
    (one,) = results(made([at], "sized"))
    edges = {"size_x": EDGES[at], "size_y": EDGES[at]}
    (plain,) = results(made([at], "plain", config={**CONFIG, "image": {**IMAGE, **edges}}))
    assert plain.model == one.model
    middle = {"x": (EDGES[at] - 24) / 2, "y": (EDGES[at] - 24) / 2}
    for name, draws in one.posterior.items():
        np.testing.assert_allclose(plain.posterior[name] - middle.get(name, 0), draws, rtol=0, atol=1e-9)
    assert plain.diagnostics.goodness is not None
    assert one.diagnostics.goodness is not None
    assert one.diagnostics.goodness.peak_sigma == pytest.approx(plain.diagnostics.goodness.peak_sigma, rel=1e-3)
    (wide,) = results(made([at], "wide", config={**CONFIG, "image": {**IMAGE, "sizes": [48]}}))
    for name in ("g1", "g2", "x", "y"):
        # The modes are the same up to the grid's tolerance, and so are the draws from them.
        apart = np.mean(one.posterior[name]) - np.mean(wide.posterior[name])
        assert abs(apart) < 0.01 * np.std(one.posterior[name])


class _Stop(Exception):
    pass


class _Until(Silent):
    """Counts the rounds; ends the run as the one with this number begins."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps, self._stop = 0, stop

    def step(self, done: int, note: str = "") -> None:
        if self.steps == self._stop:
            raise _Stop
        self.steps += 1


@pytest.mark.slow
def test_a_chunk_of_several_sizes_goes_on_from_a_checkpoint_to_the_same_bits(made: Callable[..., Campaign]) -> None:
    hmc = {"method": "hmc", "precision": "float64", "hmc_config": {"samples": 40, "chains": 2}}
    campaign = made([0, 1, 2, 3], "stopped", config={**CONFIG, "inference": hmc}, batch={"size": 4, "width": 2})
    engine, (chunk,), count = Engine(campaign.manifest, campaign.plan), campaign.plan.chunks, _Until()
    whole = engine.run(chunk, count)

    def keeper() -> CheckpointKeeper:
        always = Policy(long_s=0, interval_s=0, share=1e9)
        return CheckpointKeeper(campaign.store, chunk, checkpoints.surroundings(), always)

    # Two chains of four objects, two of each size, in blocks of two: four blocks; and the third form has two exposures.
    for stop in range(2, count.steps, 3):
        with pytest.raises(_Stop):
            engine.run(chunk, _Until(stop), keeper())
        kept, again = keeper(), _Until()
        assert kept.load() > 0
        resumed = engine.run(chunk, again, kept)
        assert again.steps < count.steps
        assert all(same(one, other) for one, other in zip(whole, resumed, strict=True))
        kept.clear()


@pytest.mark.slow
def test_a_campaign_of_several_sizes_is_reported(made: Callable[..., Campaign]) -> None:
    quick = {"method": "map", "precision": "float64"}
    truths = [{"g1": OBJECTS[at][0], "g2": 0.0} for at in range(2)]
    campaign = made(
        [0, 1], "told", config={**CONFIG, "inference": quick}, observations={"table": "told.csv", "truths": truths}
    )
    campaign.run()
    campaign.aggregate()
    assert list(campaign.summary["status"]) == ["ok", "ok"]
    ids = [one.run_id for one in campaign.plan.realizations]
    for run_id, edge in zip(ids, EDGES, strict=False):
        shown = gallery.stamps(campaign.record, *gallery.results_of(campaign.record, [run_id])[run_id])
        assert shown.model.shape == (edge, edge)
        assert np.abs(shown.residual).max() < 5


def test_the_memory_of_a_plan_is_that_of_the_largest_stamp(made: Callable[..., Campaign]) -> None:
    campaign = made([0, 1, 3, 4], "planned", config={**CONFIG, "inference": {"method": "map", "precision": "float64"}})
    (chunk,) = campaign.plan.chunks
    small, large = (
        Engine(one.manifest, one.plan).footprint(one.plan.chunks[0])
        for one in (made([at], f"of{at}", config=campaign.manifest.document.value["config"]) for at in (0, 1))
    )
    found = Engine(campaign.manifest, campaign.plan).footprint(chunk)
    assert found == large
    assert large is not None
    assert small is not None
    assert large[0] > small[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config__image__sizes": "auto"}, "simulated ones have one size"),
        ({"config__image__sizes": [0]}, "config.image.sizes"),
        ({"config__image__sizes": []}, "config.image.sizes"),
        (
            {"shear": ..., "realizations": ..., "observations": {"images": "a.npy"}, "config__image__sizes": [24]},
            "stamps of several sizes need a table of exposures",
        ),
        (
            {"shear": ..., "realizations": ..., "observations": {"table": "t.csv"}},
            "the column 'stamp_size' needs image.sizes in the config",
        ),
        ({"kind": "calibration", "shear": ..., "config__image__sizes": "auto"}, "simulated ones have one size"),
    ],
)
def test_sizes_that_nothing_uses_are_refused(
    write: Write, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((24, 24)))
    pd.DataFrame([{"id": 1, "image": "a.npy", "stamp_size": 24}]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ManifestError) as caught:
        load(write(**changes))
    assert message in str(caught.value)


def test_an_image_that_no_size_holds_is_told(made: Callable[..., Campaign], tmp_path: Path) -> None:
    np.save(tmp_path / "field.npy", np.zeros((40, 50)))
    pd.DataFrame([{"id": 1, "image": "field.npy"}]).to_csv(tmp_path / "t.csv", index=False)
    campaign = made([0], "of", observations={"table": "t.csv"})
    with pytest.raises(DataError, match=r"row 1, column image: .*: 50 × 40 pixels; the largest of image.sizes is 32"):
        observations(campaign)


def test_a_config_without_sizes_has_the_identity_that_it_had() -> None:
    content = shear_config.parse(MANIFEST["config"]).content["image"]
    assert set(content) == {
        *("pixel_scale", "size_x", "size_y", "noise", "n_objects", "padding", "accuracy", "renderer"),
    }

from pathlib import Path

import pytest

from conftest import Lanewise, Write, load
from lanewise.errors import ManifestError, UsageError
from lanewise.families.shear import config as shear_config
from lanewise.families.shear import family
from lanewise.families.shear.point_spread import Psf
from lanewise.manifest import loading


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"apiVersion": "v2"}, "apiVersion", "expected 'lanewise/v1'"),
        ({"kind": "sheer"}, "kind", "model, got 'sheer' (a string); did you mean 'shear'?"),
        ({"name": "Level 0"}, "name", "lower-case letters"),
        ({"inputs": "*.h5"}, "inputs", "a key of kind heterodyne; images of kind shear stand under 'observations'"),
        ({"sweep": {"grid": {"a": [1]}}}, "sweep", "a key of kind heterodyne; kind shear runs over the truths"),
        ({"output": ...}, "", "expected the key 'output'"),
        ({"config": ...}, "", "expected the key 'config'"),
        ({"config": ..., "kind": "calibration", "shear": ...}, "", "expected the key 'config'"),
        ({"batch__size": "4"}, "batch.size", "expected an integer ≥ 1, got '4' (a string); write it without quotes"),
        ({"batch__sise": 4}, "batch.sise", "unknown key; did you mean 'size'?"),
        ({"shear__grid": []}, "shear.grid", "expected at least 1 element, got 0"),
        ({"shear__grid": [0.01, 1.5]}, "shear.grid[1]", "expected a number > -1 and < 1, got 1.5"),
        ({"shear__grid": [0.01, 0.01]}, "shear.grid[1]", "the shear stands a second time (first at grid[0])"),
        ({"shear__grid": 0.01}, "shear.grid", "expected a list, got 0.01; write [0.01]"),
        ({"shear__points": [[0.8, 0.8]], "shear__grid": ...}, "shear.points[0]", "expected |g| < 1"),
        ({"shear__points": [[0.1, 0.1]]}, "shear", "expected either 'grid' or 'points'"),
        ({"shear": {"grid": [0.0], "paired": True}}, "shear.grid[0]", "a pair needs a nonzero shear"),
        ({"realizations__base_seed": 0}, "realizations.base_seed", "expected an integer ≥ 1"),
        ({"acceptance__max_m": 1}, "acceptance.max_m", "did you mean 'max_abs_m'?"),
        ({"config__gal__flx": 1}, "config.gal.flx", "did you mean 'flux'?"),
        ({"config__gal__flux": -1}, "config.gal.flux", "expected a number > 0"),
        ({"config__gal__flux": {"type": "Norml"}}, "config.gal.flux.type", "did you mean 'Normal'?"),
        ({"config__gal__flux": {"type": "Normal", "mean": 1}}, "config.gal.flux", "expected the key 'sigma'"),
        ({"config__gal__flux": {"type": "Uniform", "min": 2, "max": 1}}, "config.gal.flux.max", "more than min (2)"),
        ({"config__gal__shear": {"g1": 0.0, "g2": 0.0}}, "config.gal.shear", "expected a prior on g1 or g2"),
        ({"config__gal__position": {"x_min": 0.8}}, "config.gal.position.x_max", "expected more than x_min"),
        ({"config__image__fft_size": 16}, "config.image.fft_size", "expected one of 32, 64"),
        ({"config__image__noise__sigma": 0}, "config.image.noise.sigma", "expected a number > 0"),
        ({"config__output_path": "x"}, "config.output_path", "results go to the manifest's output.url"),
        ({"config__psf__sigma": float("nan")}, "config.psf.sigma", "expected a finite number, got nan"),
        ({"shear__grid": [float("inf")]}, "shear.grid[0]", "expected a finite number, got inf"),
        ({"acceptance": {"max_abs_m": float("inf")}}, "acceptance.max_abs_m", "expected a finite number"),
        ({"kind": ["shear"]}, "kind", "expected one of shear, calibration, heterodyne, model, got a list of 1"),
        ({"realizations__count": 10**22}, "realizations.count", "expected an integer ≥ 1 and ≤ 1e+07"),
        ({"realizations__count": 6 * 10**6}, "realizations.count", "12000000 realizations; a campaign has at most"),
        ({"config__gal__shear__g2": 0.01}, "shear", "the config fixes gal.shear.g2 at 0.01, the truths are 0"),
        ({"config__gal__shear__g2": 1.5}, "config.gal.shear", "expected a size below 1"),
        ({"config__gal__ellipticity": {"e1": 2, "e2": 0}}, "config.gal.ellipticity", "expected a size below 1"),
        ({"config__gal__flux": {"type": "Normal", "mean": -3, "sigma": 1}}, "config.gal.flux", "around a positive"),
        ({"acceptance": {"rank_p_min": 0.01}}, "acceptance.rank_p_min", "at fixed true shears even an exact posterior"),
        ({"kind": "calibration"}, "shear", "kind calibration draws g from the config's prior"),
        (
            {"kind": "calibration", "shear": ..., "acceptance": {"level": "level_0"}},
            "acceptance.level",
            "levels judge m and c, which need true shears that are set; write kind: shear",
        ),
        (
            {"kind": "calibration", "shear": ..., "observations": {"images": "a.npy"}},
            "observations",
            "write kind: shear for images from files",
        ),
        (
            {"kind": "calibration", "shear": ...},
            "config.inference.method",
            "map leaves no draws to rank the truth among",
        ),
        ({"config__inference": {"method": "mcmc"}}, "config.inference.method", "expected one of nuts, map"),
    ],
)
def test_a_broken_key_is_named_with_line_and_remedy_and_nothing_is_written(
    write: Write, lanewise: Lanewise, tmp_path: Path, changes: dict[str, object], field: str, message: str
) -> None:
    path = write(**changes)
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert len(caught.value.complaints) == 1, str(caught.value)
    complaint = caught.value.complaints[0]
    assert (complaint.source, complaint.field) == (path, field)
    assert complaint.line > 0
    assert message in complaint.message
    code, out, err = lanewise("run", path)
    assert (code, out, err) == (
        65,
        "",
        f"{path}:{complaint.line}: {field + ': ' if field else ''}{complaint.message}\n",
    )
    assert [one.name for one in tmp_path.iterdir()] == ["manifest.yaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", ":1: expected a mapping of keys, got an empty file"),
        (b"# only a comment\n", ":1: expected a mapping of keys, got an empty file"),
        (b"- a\n- b\n", ":1: expected a mapping, got a list of 2"),
        (
            b"name: a\nkind: shear\nname: b\n",
            ":3: name: the key occurs a second time (first in line 1); keep one of them",
        ),
        (b"batch:\n\tsize: 1\n", ":2: expected spaces, got a tab"),
        (b"name: 'a\n", "cannot be read as YAML"),
        (b"a: 1\n---\nb: 2\n", ":2: cannot be read as YAML: but found another document"),
        (b"name: \xff\n", ": expected UTF-8 text"),
        (b"name: a\nshear: {grid: [1e-3, 1e-3}\n", ":2: cannot be read as YAML"),
        (b"name: !!python/object:os.system x\n", ":1: cannot be read as YAML: could not determine a constructor"),
        (b"a: &x [*x]\n", ": cannot be read"),
    ],
)
def test_a_text_that_is_no_manifest_is_refused_in_words(
    lanewise: Lanewise, tmp_path: Path, text: bytes, said: str
) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_bytes(text)
    code, out, err = lanewise("run", str(path))
    assert (code, out) == (65, "")
    assert f"{path}{said}" in err or said in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == [path]


def test_all_complaints_come_at_once_sorted_by_line(write: Write) -> None:
    with pytest.raises(ManifestError) as caught:
        load(write(batch__size=0, kind="shear", shear__grid=["a"], config__psf__sigma=0))
    lines = [c.line for c in caught.value.complaints]
    assert len(lines) == 3
    assert lines == sorted(lines)


def test_config_is_found_relative_to_the_manifest(write: Write, tmp_path: pytest.TempPathFactory) -> None:
    path = write(config="scene/level.yaml")
    with pytest.raises(ManifestError, match=r"config: .*scene/level.yaml: no such file"):
        load(path)


def test_set_overrides_the_manifest_and_the_config_it_names() -> None:
    loaded = loading.load("manifests/level0.yaml", ["batch.size=2", "config.psf.sigma=0.5"])
    assert (loaded.batch.size, shear_config.of(loaded).psf) == (2, Psf(0.5))
    with pytest.raises(UsageError, match="expected path=value"):
        loading.load("manifests/level0.yaml", ["batch.size"])
    with pytest.raises(ManifestError, match=r"^--set: batch.size: expected an integer ≥ 1, got 0"):
        loading.load("manifests/level0.yaml", ["batch.size=0"])


def test_output_url_with_its_manifest_stands_for_the_campaign(write: Write, tmp_path: pytest.TempPathFactory) -> None:
    campaign = load(write())
    campaign.run()
    again = load(campaign.manifest.output.url)
    assert again.plan == campaign.plan
    assert again.manifest.output == campaign.manifest.output


def test_both_published_forms_of_inference_load() -> None:
    settings = ["warmup=300", "samples=400", "chains=3", "dense_mass=true", "map_init={enabled: true, num_steps: 1000}"]
    name = "manifests/level0.yaml"
    flat = loading.load(name, ["config.inference={}", *(f"config.inference.{s}" for s in settings)])
    later = loading.load(name, ["config.inference={}", *(f"config.inference.nuts_config.{s}" for s in settings)])
    config = shear_config.of(flat)
    assert config.inference == shear_config.of(later).inference
    assert (config.method, config.inference.settings.samples, config.inference.settings.chains) == ("nuts", 400, 3)
    assert family.remarks(flat) == ("inference.nuts_config.map_init is accepted for compatibility and not used",)


def test_settings_of_another_method_are_accepted() -> None:
    loaded = loading.load("manifests/level0.yaml", ["config.inference.vi_config={num_steps: 5000}"])
    assert (loaded.config.method, family.remarks(loaded)) == ("map", ())


def test_latent_shape_and_shear_of_one_galaxy_are_warned_of() -> None:
    prior = "{type: Normal, mean: 0, sigma: 0.1}"
    loaded = loading.load("manifests/level0.yaml", [f"config.gal.ellipticity={{e1: {prior}, e2: {prior}}}"])
    assert "one galaxy cannot tell its shape from the shear" in family.remarks(loaded)[0]


def test_a_number_takes_the_type_of_its_field() -> None:
    loaded = loading.load(
        "manifests/level0.yaml", ["batch.size=4.0", "realizations.count=1e1", "convergence.ess_min=7"]
    )
    assert [repr(n) for n in (loaded.batch.size, loaded.realizations.count, loaded.convergence.ess_min)] == [
        "4",
        "10",
        "7.0",
    ]

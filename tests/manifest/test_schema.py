"""The schemas: every leaf explained, every file valid, and no drift between them and the code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from conftest import MANIFEST, SCENE, Write, load
from families.model.campaigns import write as write_model
from lanewise.errors import ManifestError
from lanewise.families.model import config as model_config
from lanewise.families.shear.population_config import HYPER
from lanewise.families.shear.scene import Image, Noise
from lanewise.families.shear.simulation_config import Planted
from lanewise.manifest import loading, manifest, schema, yaml_text
from lanewise.manifest.document import Document
from lanewise.methods.inference import SETTINGS
from lanewise.operations import doctor, plan_summary, status

NAMES = sorted(path.name.removesuffix(".schema.json") for path in Path("schemas").iterdir())


def _leaves(
    root: Mapping[str, Any], branch: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every value that a person or a program reads, with its path; definitions where they are used."""
    branch = schema.resolved(branch, root)
    inner = [(f"{path}.{key}".strip("."), part) for key, part in branch.get("properties", {}).items()]
    inner += [(f"{path}[]", part) for part in [branch.get("items")] if isinstance(part, dict)]
    inner += [(f"{path}.*", part) for part in [branch.get("additionalProperties")] if isinstance(part, dict)]
    inner += [(f"{path}|{at}", part) for at, part in enumerate(branch.get("anyOf", ()))]
    for where, part in inner:
        below = schema.resolved(part, root)
        yield where, below
        yield from _leaves(root, below, where)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_explained_and_every_number_has_its_unit(name: str) -> None:
    content = schema.load(name)
    jsonschema.Draft7Validator.check_schema(content)
    assert content["$schema"] == "http://json-schema.org/draft-07/schema#"
    silent, unitless = [], []
    for path, leaf in _leaves(content, content):
        if leaf.get("type") == "null":
            continue  # what it means is said by the value that it stands for
        if not (leaf.get("description") or leaf.get("title")):
            silent.append(path)
        kinds = leaf.get("type", ())
        if {"number", "integer"} & set([kinds] if isinstance(kinds, str) else kinds) and "unit" not in leaf:
            unitless.append(path)
    assert (silent, unitless) == ([], [])


@pytest.mark.long
def test_every_json_of_a_campaign_is_as_its_schema_says(write: Write, tmp_path: Path) -> None:
    campaign = load(write(shear={"grid": [0.01, 0.02]}, config__inference={"method": "map"}))
    campaign.run(0)
    open_campaign = status.status(campaign.record, "m.yaml")
    campaign.run()
    campaign.aggregate()
    checked = set()
    root = tmp_path / "results"
    for path in root.rglob("*"):
        if path.suffix in {".json", ".commit"}:
            name = path.stem if path.suffix == ".json" else "commit"
            _check(json.loads(path.read_text()), name)
            checked.add(name)
    assert checked == {"truth", "convergence", "bias_results", "commit"}
    _check(dataclasses.asdict(open_campaign), "status")
    _check(dataclasses.asdict(status.status(campaign.record, "m.yaml")), "status")
    _check(dataclasses.asdict(plan_summary.summarise(campaign.record)), "plan")
    _check(dataclasses.asdict(plan_summary.chunk(campaign.record, 1)), "plan-chunk")
    _check([vars(one) for one in doctor.examine()], "doctor")


def _check(content: Any, name: str) -> None:
    jsonschema.Draft7Validator(schema.load(name)).validate(json.loads(json.dumps(content)))


HETERODYNE: dict[str, Any] = {
    "apiVersion": "lanewise/v1",
    "kind": "heterodyne",
    "name": "test",
    # A pinned file is not read before it is fitted.
    "inputs": [{"path": "/absent/a.h5", "sha256": "0" * 64}],
    "config": {"data": {"dt": 0.1, "keys": {"c2": "a"}}},
    "output": {"url": "unset"},
}
_SHEARS = {"g1": {"type": "Normal", "mean": 0, "sigma": 0.2}, "g2": 0.0}
_PROFILE = {"flux": 1.0, "half_light_radius": 0.5, "shear": _SHEARS}
# Settings under which a key has its effect.
_CORRELATED = {"type": "Correlated", "sigma": 1e-3, "correlation": "COSMOS"}
_NARROW = {"type": "LogNormal", "mean": 0.1, "sigma": 0.1}
_WIDE = {**_NARROW, "sigma": 0.9}
_TABLE = {"e": [0.02, 0.1, 0.2, 0.3], "density": [1.0, 2.0, 1.0, 0.05]}
_SCENES: tuple[dict[str, Any], ...] = (
    {},
    {"psf": {"type": "Moffat", "sigma": 0.5}, "gal": {"type": "Sersic", "n": 1.0, **_PROFILE}},
    {"gal": {"type": "Moffat", "beta": 3.0, **_PROFILE, "ellipticity": {"e1": 0.0, "e2": 0.0}}},
    {"psf": {"sigma": 0.4, "ellipticity": {"e1": 0.0, "e2": 0.0}}},
    *({"inference": {"method": method}} for method in SETTINGS),
    {"gal": {**_PROFILE, "ellipticity": {"e1": _SHEARS["g1"], "e2": 0.0}}, "simulation": {"given": ["e1"]}},
    {"simulation": {"gal": {"ellipticity": {"e1": 0.0, "e2": 0.0}}}},
    {"gal": {**_PROFILE, "ellipticity": {"e1": _SHEARS["g1"], "e2": _SHEARS["g1"]}}},
    {"simulation": {"gal": {"ellipticity": {"e1": _SHEARS["g1"], "e2": _SHEARS["g1"]}}}},
    {"simulation": {"psf": {"type": "Moffat", "sigma": 0.4, "ellipticity": {"e1": 0.0, "e2": 0.0}}}},
    {"simulation": {"gal": {"type": "Moffat", "beta": 3.0}}},
    {"gal": {**_PROFILE, "position": {"type": "Normal", "sigma": 1.0}}},
    {"simulation": {"gal": {"position": {"type": "Normal", "sigma": 1.0}}}},
    {"simulation": {"gal": {"type": "Sersic", "n": 1.0}}},
    {
        "population": {
            "galaxies": 9,
            "ellipticity": {"type": "Gaussian", "sigma": 0.1},
            "selection": {"snr_min": 5.0},
        },
        "inference": {"method": "importance"},
    },
    {
        "gal": {**SCENE["gal"], "flux": _WIDE, "half_light_radius": _WIDE},
        "population": {
            **{"galaxies": 9, "ellipticity": {"type": "Gaussian", "sigma": 0.1}},
            **{"flux": _NARROW, "half_light_radius": _NARROW},
            "free": dict.fromkeys(HYPER, _NARROW),
        },
        "inference": {"method": "importance"},
    },
    {
        "population": {"galaxies": 9, "ellipticity": {"type": "Table", **_TABLE}},
        "inference": {"method": "importance"},
    },
    {"image": {**SCENE["image"], "noise": _CORRELATED}},
    {"simulation": {"noise": _CORRELATED}},
)
# Values where the schema does not lead to a valid one, and keys that are tried elsewhere.
_VALUES: dict[str, list[Any]] = {
    "kind": [],
    "name": ["another"],
    "config": [],
    "config.errors": ["speckle"],
    "shear.grid": [[0.03]],
    "shear.points": [],
    "shear.ring": [],
    "config.simulation.given": [[]],
    "config.population.half_width": [0.1],
    "config.population.ellipticity.e": [[0.03, 0.1, 0.2, 0.3]],
    "config.population.ellipticity.density": [[1.0, 2.0, 1.0, 0.04]],
    # Each type has keys of its own.
    "config.gal.position.type": [],
    "config.simulation.gal.position.type": [],
    "config.simulation.noise.type": [],
    "config.simulation.catalogue.columns": [{"flux": "2 * flux"}],
    "config.simulation.catalogue.cuts": [["flux > 1"]],
    "config.population.catalogue.columns": [{"flux": "2 * flux"}],
    "config.population.catalogue.cuts": [["flux > 1"]],
    "realizations.extensions": [[2]],
    "output.url": ["elsewhere"],
    "resources.memory": ["1Gi"],
    "inputs": [[{"path": "/absent/b.h5", "sha256": "1" * 64}]],
    "config.model.compare": [["static"]],
    "config.model.tied": [{"D0_ref": "D0_sample"}],
    "config.cmc.priors": [{"alpha_ref": {"type": "uniform"}}],
    "config.data.mask_pairs": [["1-2 x 3"]],
    "config.data.keys.c2": ["b"],
    "config.data.keys.q": ["b"],
    "config.data.keys.phi": ["b"],
    "config.data.keys.t": ["b"],
    "sweep.grid": [{"data.start_frame": [1, 2]}],
    "convergence.sites": [{"mu": {"ess_min": 50}}],
    "sweep.zip": [{"data.start_frame": [1, 2]}],
    "sweep.list": [[{"data.start_frame": 1}]],
}
_ELSEWHERE = (
    "observations",
    # Ranges must fit to the realizations; see test_rechunk.
    "batch.kept",
    "config.gal.components",
    "config.simulation.gal.components",
    # Images are simulated with no image of a PSF.
    "config.simulation.psf.file",
    "config.simulation.psf.pixel_scale",
    "config.simulation.psf.pixel",
    "config.simulation.psf.fwhm",
    "config.simulation.psf.tiles",
    # For tables of exposures; see test_exposure_table, test_psf_tiles, test_stamp_sizes and test_bands.
    "config.psf.fwhm",
    "config.psf.tiles",
    "config.image.sizes",
    "config.gal.bands",
)


@pytest.mark.long
def test_every_key_of_the_schemas_reaches_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [str(tmp_path / f"psf{n}.npy") for n in range(2)]
    for n, file in enumerate(files):
        np.save(file, np.pad(np.ones((2, 2 + n)), 4))
    monkeypatch.setitem(_VALUES, "config.psf.file", [files[1]])
    for earlier in ("nlsq_result", "shard_results"):
        monkeypatch.setitem(_VALUES, f"config.cmc.{earlier}", [files[1]])
    np.save(tmp_path / "lags.npy", np.ones((1, 1)))
    for place in ("image", "simulation"):
        monkeypatch.setitem(_VALUES, f"config.{place}.noise.correlation", [str(tmp_path / "lags.npy")])
    tables = [str(tmp_path / f"galaxies{n}.csv") for n in range(2)]
    for n, named in enumerate(tables):
        Path(named).write_text(f"flux,size\n1.0,0.5\n2.0,0.{6 + n}\n")
    for place in ("simulation", "population"):
        monkeypatch.setitem(_VALUES, f"config.{place}.catalogue.file", [tables[1]])
    catalogue = {"catalogue": {"file": tables[0], "columns": {"flux": "flux"}}}
    table = {"simulation": catalogue}
    rows = {
        "gal": {**SCENE["gal"], "flux": {"type": "LogNormal", "mean": 1.0, "sigma": 2.0}},
        "population": {"galaxies": 9, "ellipticity": {"type": "Gaussian", "sigma": 0.1}, **catalogue},
        "inference": {"method": "importance"},
    }
    image = {"psf": {"type": "Image", "file": files[0], "pixel_scale": 0.2}}
    manifests = [{**MANIFEST, "config": {**SCENE, **scene}} for scene in (*_SCENES, image, table, rows)]
    calibration = {key: part for key, part in MANIFEST.items() if key != "shear"}
    calibration |= {"kind": "calibration", "config": {**SCENE, "inference": {"method": "nuts"}}}
    of_model = {"model", "inference", "calibration", "outputs"}
    population = next(one for one in manifests if "population" in one["config"])
    skipped = {"inputs", "sweep", "convergence.sites", *of_model}
    idle = _idle("manifest", [manifests[0], calibration, population], "", skipped)
    idle += _idle("shear-config", manifests, "config", set())
    others = {"shear", "realizations", "acceptance"}
    counted = {"calibration": {"count": 100}}
    idle += _idle("manifest", [HETERODYNE], "", {*others, "convergence", "batch.width", *of_model})
    flow = {**HETERODYNE["config"], "model": {"type": "laminar_flow", "gap": 1e6}}
    idle += _idle("heterodyne-config", [HETERODYNE, {**HETERODYNE, "config": flow}], "config", set())
    model = yaml_text.parse(Path(write_model(tmp_path)).read_text(), "m.yaml").value
    where = {
        "model": str(tmp_path / "model.py:model"),
        "inputs": {**model["inputs"], "table": str(tmp_path / "stars.csv")},
    }
    models = [
        {**model, **where, **(counted if method != "map" else {}), "inference": {"method": method}}
        for method in (*SETTINGS, "auto")
    ]
    idle += _idle("manifest", models, "", {*others, "config", "inputs", "model", "sweep"})
    assert idle == []


def _idle(name: str, bases: list[dict[str, Any]], prefix: str, skipped: set[str]) -> list[str]:
    """Keys no value of which changes what a manifest is read as."""
    before = [_parsed(base) for base in bases]
    found = []
    for path, leaf in _keys(schema.load(name), schema.load(name), prefix):
        if path.startswith(_ELSEWHERE) or {path, path.split(".")[0]} & skipped or "const" in leaf:
            continue
        values = _VALUES.get(path, _candidates(leaf))
        if values and not any(_differs(base, was, path, values) for base, was in zip(bases, before, strict=True)):
            found.append(path)
    return found


def _keys(root: Mapping[str, Any], branch: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Keys that hold a value, with their dotted path."""
    for key, part in branch.get("properties", {}).items():
        below = schema.resolved(part, root)
        where = f"{path}.{key}".strip(".")
        if "properties" in below:
            yield from _keys(root, below, where)
        else:
            yield where, below


def _candidates(leaf: Mapping[str, Any]) -> list[Any]:
    if "enum" in leaf:
        return list(leaf["enum"])
    return [
        True,
        False,
        0.31,
        0.7,
        1,
        2,
        3,
        7,
        64,
        1e-3,
        0.0,
        "all",
        [1.0],
        {"type": "Uniform", "min": 0.1, "max": 0.9},
    ]


def _differs(base: dict[str, Any], was: Any, path: str, values: list[Any]) -> bool:
    for value in values:
        doc = Document("tried", base).override(tuple(path.split(".")), value, "tried")
        with contextlib.suppress(ManifestError):
            if _parsed(doc.value) != was:
                return True
    return False


def _parsed(content: dict[str, Any]) -> Any:
    """What the code sees of a manifest: all but its text."""
    read = loading.load(Document("tried", content))
    return {name: value for name, value in vars(read).items() if name not in {"content", "document"}}


def test_every_setting_of_the_code_is_in_the_schemas_with_its_default() -> None:
    """The schemas are the only way in, so a setting that they lack could never be given."""
    whole = schema.load("manifest")["properties"]
    scene = schema.load("shear-config")["properties"]
    inference = scene["inference"]["properties"]
    pairs: list[tuple[Any, Mapping[str, Any]]] = [
        (manifest.Realizations, whole["realizations"]["properties"]),
        (manifest.Batch, whole["batch"]["properties"]),
        (manifest.Convergence, whole["convergence"]["properties"]),
        (manifest.Acceptance, whole["acceptance"]["properties"]),
        (manifest.Output, whole["output"]["properties"]),
        (model_config.Outputs, whole["outputs"]["properties"]),
        (manifest.Resources, whole["resources"]["properties"]),
        (Image, scene["image"]["properties"]),
        (Noise, scene["image"]["properties"]["noise"]["properties"]),
        (Planted, scene["simulation"]["properties"]["bias"]["properties"]),
        *((kind, inference[f"{name}_config"]["properties"]) for name, kind in SETTINGS.items()),
    ]
    # Kind model has the same settings, and defaults of its own.
    own = whole["inference"]["properties"]
    assert {name: set(own[f"{name}_config"]["properties"]) for name in SETTINGS} == {
        name: {field.name for field in dataclasses.fields(kind)} for name, kind in SETTINGS.items()
    }
    defaults = {"code": {"path": "", "function": "", "sha256": ""}, "table": {"path": "", "sha256": ""}}
    parsed = model_config.parse({"model": defaults["code"], "inputs": {"table": defaults["table"]}}).inference
    for name in SETTINGS:
        stated = {key: part["default"] for key, part in own[f"{name}_config"]["properties"].items()}
        assert stated == dataclasses.asdict(getattr(parsed, name)), name
    assert parsed.method == own["method"]["default"]
    for kind, properties in pairs:
        for field in dataclasses.fields(kind):
            if (kind, field.name) == (Image, "origin"):
                continue  # set for a stamp of another size, by no file
            assert field.name in properties, f"{kind.__name__}.{field.name}"
            default = properties[field.name].get("default", dataclasses.MISSING)
            if default is not dataclasses.MISSING and field.default is not dataclasses.MISSING:
                assert field.default == (tuple(default) if isinstance(default, list) else default), field.name

"""The schemas: every leaf explained, every file valid, and no drift between them and the code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import Write, load
from lanewise import doctor, schema, views

NAMES = ("commit", "convergence", "doctor", "plan", "result", "status", "truth")


def _leaves(name: str, branch: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every value that a person or a program reads, with its path; definitions where they are used."""
    branch = schema.resolved(dict(branch), name)
    inner = [(f"{path}.{key}".strip("."), part) for key, part in branch.get("properties", {}).items()]
    inner += [(f"{path}[]", part) for part in [branch.get("items")] if isinstance(part, dict)]
    inner += [(f"{path}.*", part) for part in [branch.get("additionalProperties")] if isinstance(part, dict)]
    inner += [(f"{path}|{at}", part) for at, part in enumerate(branch.get("anyOf", ()))]
    for where, part in inner:
        below = schema.resolved(part, name)
        yield where, below
        yield from _leaves(name, below, where)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_explained_and_every_number_has_its_unit(name: str) -> None:
    content = schema.load(name)
    jsonschema.Draft7Validator.check_schema(content)
    assert content["$schema"] == "http://json-schema.org/draft-07/schema#"
    silent, unitless = [], []
    for path, leaf in _leaves(name, content):
        if not (leaf.get("description") or leaf.get("title")):
            silent.append(path)
        kinds = leaf.get("type", ())
        if {"number", "integer"} & set([kinds] if isinstance(kinds, str) else kinds) and "unit" not in leaf:
            unitless.append(path)
    assert (silent, unitless) == ([], [])


def test_every_json_of_a_campaign_is_as_its_schema_says(write: Write, tmp_path: Path) -> None:
    campaign = load(write(shear={"grid": [0.01, 0.02]}, config__inference={"method": "map"}))
    campaign.run(0)
    open_campaign = views.status(campaign, "m.yaml")
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
    _check(open_campaign, "status")
    _check(views.status(campaign, "m.yaml"), "status")
    _check(views.plan(campaign), "plan")
    _check([vars(one) for one in doctor.examine()], "doctor")


def _check(content: Any, name: str) -> None:
    jsonschema.Draft7Validator(schema.load(name)).validate(content)

from __future__ import annotations

from typing import Any

import pytest

from lanewise.errors import ManifestError
from lanewise.families.heterodyne import config
from lanewise.families.heterodyne.c2 import NAMES
from lanewise.families.heterodyne.models import MODELS
from lanewise.manifest import schema, yaml_text


def leaves(node: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Every property of the schema by its dotted path."""
    found: dict[str, dict[str, Any]] = {}
    for key, part in node.get("properties", {}).items():
        found[f"{path}{key}"] = part
        for branch in (part, *part.get("anyOf", ())):
            found |= leaves(branch, f"{path}{key}.")
    return found


SCHEMA = leaves(schema.load(config.SCHEMA))


def test_every_key_of_the_schema_is_described() -> None:
    assert all(part.get("description", "").endswith(".") for part in SCHEMA.values())


def test_the_schema_names_the_defaults_that_the_types_have() -> None:
    parsed = config.parse({})
    assert set(parsed.parameters) == set(NAMES)
    ranges = config.default_ranges(MODELS)
    for name, bounds in {
        **ranges,
        "contrast": parsed.scaling.contrast,
        "offset": parsed.scaling.offset,
    }.items():
        place = f"parameters.{name}" if name in ranges else f"scaling.{name}"
        assert SCHEMA[place]["default"] == {"min": bounds.min, "max": bounds.max}
    for section in ("data", "model", "fit"):
        values = getattr(parsed, section)
        for key in values.__dataclass_fields__:
            own = getattr(values, key)
            assert SCHEMA[f"{section}.{key}"].get("default") == (list(own) if isinstance(own, tuple) else own)
    assert SCHEMA["scaling.mode"]["default"] == parsed.scaling.mode


def test_a_number_fixes_and_a_mapping_bounds() -> None:
    parsed = config.checked({"parameters": {"phi0": 2, "v0": {"max": 5e3}}, "scaling": {"offset": 1.0}})
    assert parsed.parameters["phi0"].bounds == (2.0, 2.0)
    assert parsed.parameters["v0"].bounds == (1e-6, 5e3)
    assert parsed.scaling.offset.bounds == (1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data: {qq: 1}", "c.yaml:1: data.qq: unknown key"),
        ("data: {q: -1}", "data.q: expected a number > 0, got -1"),
        ("data: {phi: 5}", "data.phi: expected"),
        ("data: {end_frame: 0}", "data.end_frame: expected −1 or a frame counted from 1, got 0"),
        ("data: {dt: '0.1'}", "data.dt: expected a number > 0, got '0.1' (a string); write it without quotes"),
        ("parameters: {D0_ref: {min: 5, max: 2}}", "parameters.D0_ref.max: expected min < max, got 5 and 2"),
        ("parameters:\n  D0_reff: 5", "c.yaml:2: parameters.D0_reff: unknown key; did you mean 'D0_ref'?"),
        ("scaling: {mode: fourrier}", "did you mean 'fourier'?"),
        ("scaling: {contrast: {min: 2}}", "scaling.contrast.min: expected min < max"),
        ("fit: {polish: 40}", "fit.polish: expected polish ≤ starts, got 40 and 24"),
        ("model: {fraction_clip: none}", "expected one of soft, hard"),
    ],
)
def test_complaints_say_where_and_what(text: str, message: str) -> None:
    complaints = config.check(yaml_text.parse(text, "c.yaml"))
    assert message in "\n".join(map(str, complaints))


def test_a_mapping_from_python_is_checked_too() -> None:
    with pytest.raises(ManifestError, match=r"config: fit\.starts"):
        config.checked({"fit": {"starts": 0}})


def test_a_number_takes_the_type_of_its_field() -> None:
    parsed = config.checked({"fit": {"starts": 16.0, "reduced_chi2_max": 2}, "data": {"dt": 1, "q": 1, "phi": [0]}})
    found = (parsed.fit.starts, parsed.fit.reduced_chi2_max, parsed.data.dt, parsed.data.q, parsed.data.phi)
    assert [repr(value) for value in found] == ["16", "2.0", "1.0", "1.0", "(0.0,)"]

"""Validation by JSON Schema. Messages say what was expected, what was got, and the remedy."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from lanewise.errors import Complaint
from lanewise.manifest.document import Document, Path

_LARGEST = sys.float_info.max
_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "nothing",
}


@cache
def load(name: str) -> dict[str, Any]:
    """The schema `schemas/<name>.schema.json` that ships with the package."""
    text = files("lanewise").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def manifest(
    kind: str, kinds: Sequence[str], keys: Mapping[str, Any], *, config_inside: bool = False
) -> Mapping[str, Any]:
    """The schema of manifests of one kind.

    Args:
        kind: the family; if it is not installed, the result is the schema of lanewise's own families.
        kinds: the installed families.
        keys: schema of the family's own keys; lanewise's own families have theirs in manifest.schema.json.
        config_inside: as `Family.config_inside`.
    """
    whole = load("manifest")
    ours = whole["properties"]["kind"]
    every = {**whole["properties"], "kind": {**ours, "enum": list(dict.fromkeys([*ours["enum"], *kinds]))}}
    if kind in ours["enum"] or kind not in kinds:
        return {**whole, "properties": every}
    common = {name: part for name, part in every.items() if "kinds" not in part}
    if config_inside:
        del common["config"]
    return {
        **{name: part for name, part in whole.items() if name != "allOf"},
        "properties": {**common, **keys.get("properties", {})},
        "required": [*whole["required"], *([] if config_inside else ["config"]), *keys.get("required", ())],
        "definitions": keys.get("definitions", {}),
    }


def resolved(branch: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A branch of a schema with its `$ref` resolved; its own description and default have precedence."""
    while "$ref" in branch:
        target: Any = root
        for step in branch["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        branch = {**target, **{key: part for key, part in branch.items() if key != "$ref"}}
    return branch


def complaints(document: Document, schema: Mapping[str, Any]) -> list[Complaint]:
    """All violations of the schema in a document."""
    return [document.complaint(path, message) for path, message in faults(document.value, schema)]


def faults(value: Any, schema: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """All violations of the schema in a value, as (path, message) pairs."""
    infinite = [(path, number) for path, number in _numbers(value, ()) if not abs(number) <= _LARGEST]
    if infinite:
        return [(path, f"expected a finite number, got {number:.3g}") for path, number in infinite]
    validator = jsonschema.Draft7Validator(schema)
    return [fault for error in validator.iter_errors(value) for fault in _read(error)]


def _numbers(value: Any, path: Path) -> Iterator[tuple[Path, float]]:
    """Path and value of every number; an integer beyond the largest float counts as infinity."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, (*path, str(key)))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _numbers(part, (*path, index))
    elif isinstance(value, float):
        yield path, value
    elif isinstance(value, int) and abs(value) > _LARGEST:
        yield path, math.inf


def _read(error: jsonschema.ValidationError) -> Iterator[tuple[Path, str]]:
    """One jsonschema error as (path, message) pairs."""
    path: Path = tuple(error.absolute_path)
    got, want = error.instance, error.validator_value
    match error.validator:
        case "anyOf" | "oneOf":
            yield from _alternatives(error, path)
        case "if" | "then" | "else" | "allOf":
            for inner in error.context or ():
                yield from _read(inner)
        case "additionalProperties":
            known = list(error.schema.get("properties", {}))
            for key in got:
                if key not in known:
                    yield (*path, key), f"unknown key; {nearest(str(key), known)}"
        case "required":
            missing = next(key for key in want if key not in got and f"'{key}'" in error.message)
            yield path, f"expected the key '{missing}'{_description(error, missing)}, got none; add it"
        case "type":
            kinds = [want] if isinstance(want, str) else want
            yield path, f"expected {expected(error.schema)}, got {show(got)}{_hint(kinds, got)}"
        case "enum":
            yield path, f"expected one of {', '.join(map(str, want))}, got {show(got)}{_near(got, want)}"
        case "const":
            yield path, f"expected {want!r}, got {show(got)}"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            kind = _TYPES[error.schema["type"]] if isinstance(error.schema.get("type"), str) else "a number"
            yield path, f"expected {kind}{_bounds(error.schema)}, got {show(got)}"
        case "minItems":
            yield path, f"expected at least {want} element{'s' if want != 1 else ''}, got {len(got)}"
        case "maxItems":
            yield path, f"expected at most {want} elements, got {len(got)}"
        case "minProperties":
            yield path, f"expected at least {want} key{'s' if want != 1 else ''}, got {len(got)}"
        case "minLength":
            yield path, "expected some text, got an empty string"
        case "pattern":
            yield path, f"expected {error.schema.get('title', 'text')} (pattern {want}), got {show(got)}"
        case "not":
            yield path, error.schema.get("$comment", error.message)
        case _:
            yield path, error.message


def _alternatives(error: jsonschema.ValidationError, path: Path) -> Iterator[tuple[Path, str]]:
    """The complaints of the alternative that the user meant; if that is unclear, the titles of all alternatives."""
    branches: dict[int, list[jsonschema.ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.schema_path[0]), []).append(inner)
    meant = [
        errors
        for errors in branches.values()
        if not any(e.validator in {"type", "const", "enum"} and _rejects_kind(e) for e in errors)
    ]
    if len(meant) == 1:
        for inner in meant[0]:
            yield from _read(inner)
        return
    got = error.instance
    kinds = [inner.validator_value for inner in error.context or () if list(inner.relative_path) == ["type"]]
    if isinstance(got, dict) and "type" in got and kinds:
        yield (*path, "type"), f"expected one of {', '.join(kinds)}, got {show(got['type'])}{_near(got['type'], kinds)}"
        return
    titles = [branch.get("title", branch.get("$ref", "?").rsplit("/", 1)[-1]) for branch in error.validator_value]
    yield path, f"expected {' or '.join(titles)}, got {show(got)}"


def _rejects_kind(error: jsonschema.ValidationError) -> bool:
    """Whether the error rules its alternative out: it is at the root, or in the key `type`."""
    return not error.relative_path or list(error.relative_path) == ["type"]


def nearest(name: str, known: Collection[str]) -> str:
    """Remedy for an unknown name: the most similar known name, or all known names."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"


def _near(got: Any, allowed: list[Any]) -> str:
    near = difflib.get_close_matches(str(got), [str(a) for a in allowed], n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def _hint(kinds: list[str], got: Any) -> str:
    if isinstance(got, str) and ("number" in kinds or "integer" in kinds):
        try:
            float(got)
        except ValueError:
            return ""
        return "; write it without quotes"
    if "array" in kinds and isinstance(got, int | float):
        return f"; write [{got}]"
    return ""


def expected(branch: Mapping[str, Any]) -> str:
    """Type and range of a branch of a schema, in words."""
    kinds = branch.get("type", ())
    words = [_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    return f"{' or '.join(words)}{_bounds(branch)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " and".join(f" {sign} {schema[key]:g}" for key, sign in signs.items() if key in schema)


def _description(error: jsonschema.ValidationError, key: str) -> str:
    text = error.schema.get("properties", {}).get(key, {}).get("description", "")
    return f" ({text.split('.')[0].split(';')[0]})" if text else ""


def show(value: Any) -> str:
    """A short description of a value for messages."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value}' (a string)"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return str(value)

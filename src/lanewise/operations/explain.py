"""`plan --explain`: the origin of each setting: command line, environment, line of a file, or default."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanewise.manifest import document, loading, registry, schema, yaml_text
from lanewise.manifest.document import Document, Path
from lanewise.manifest.planning import index_variable
from lanewise.methods import STAGES

DEFAULT = "default"
_SETTINGS = "_config"
_VALUE_WIDTH = 60


@dataclass(frozen=True)
class Setting:
    """One effective setting.

    Attributes:
        path: dotted path; settings of the config begin with `config.`.
        value: the value as YAML.
        origin: `--set`, a variable, `file:line`, or `default`.
    """

    path: str
    value: str
    origin: str


def settings(source: str, overrides: Sequence[str] = ()) -> list[Setting]:
    """Every setting of a valid manifest, in the order of the schemas."""
    doc, config, _ = loading.documents(source, overrides)
    if variable := index_variable():
        doc = doc.override(("batch", "index"), yaml_text.parse(os.environ[variable], variable).value, variable)
    family = registry.family(doc.value["kind"])
    whole = schema.manifest(family.kind, registry.kinds(), family.keys, config_inside=family.config_inside)
    found = list(_walk(doc, whole, whole, ()))
    if config is not None:
        inside = _walk(config, family.config_schema, family.config_schema, ())
        prefix = "" if config.prefix else "config."
        found += [Setting(prefix + one.path, one.value, one.origin) for one in inside]
    return found


def _walk(doc: Document, branch: Mapping[str, Any], root: Mapping[str, Any], path: Path) -> Iterator[Setting]:
    value = _at(doc.value, path)
    for key, part in branch.get("properties", {}).items():
        below = schema.resolved(part, root)
        here = (*path, key)
        if "kinds" in part and root is branch and doc.value.get("kind") not in part["kinds"]:
            continue  # a key of another kind
        if key.endswith(_SETTINGS) and key not in value and key.removesuffix(_SETTINGS) not in _methods(value):
            continue  # defaults of an unused method
        if path == () and key == "config":
            if isinstance(value.get(key), str):
                yield _setting(doc, here, value[key])
        elif "properties" in below and isinstance(value.get(key, {}), dict):
            # A missing part with required keys has no default.
            if key in value or not (below.get("required") or below.get("minProperties")):
                yield from _walk(doc, below, root, here)
        elif key in value:
            yield _setting(doc, here, value[key])
        elif "default" in below:
            yield Setting(document.dotted((*doc.prefix, *here)), yaml_text.flow(below["default"]), DEFAULT)


def _methods(inference: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods of an inference."""
    method = inference.get("method", "nuts")
    return (method, *STAGES.get(method, ()))


def _setting(doc: Document, path: Path, value: Any) -> Setting:
    source, line = doc.origin(path)
    return Setting(document.dotted((*doc.prefix, *path)), yaml_text.flow(value), f"{source}:{line}" if line else source)


def _at(value: Any, path: Path) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}


def text(found: Sequence[Setting]) -> str:
    """Settings in three columns; the origin is last, because files have long names."""
    paths, values = (max(len(getattr(one, name)) for one in found) for name in ("path", "value"))
    values = min(values, _VALUE_WIDTH)
    return "\n".join(f"{one.path:<{paths}}  {one.value:<{values}}  {one.origin}" for one in found)

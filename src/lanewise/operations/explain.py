"""Where each setting of a campaign comes from: command line, environment, the line of a file, or the default."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanewise.manifest import document, loading, registry, schema
from lanewise.manifest.document import Document, Path
from lanewise.manifest.plan import index_variable
from lanewise.methods import STAGES

DEFAULT = "default"
_SETTINGS = "_config"


@dataclass(frozen=True)
class Setting:
    """One effective setting.

    Attributes:
        path: dotted; what the config says begins with `config.`.
        value: as YAML would have it.
        origin: `--set`, a variable, `file:line`, or `default`.
    """

    path: str
    value: str
    origin: str


def settings(source: str, overrides: Sequence[str] = ()) -> list[Setting]:
    """Every setting of a manifest that `manifest.load` accepts, in the order of the schemas."""
    doc, config, _ = loading.documents(source, overrides)
    if variable := index_variable():
        doc = doc.override(("batch", "index"), document.parse(os.environ[variable], variable).value, variable)
    found = list(_walk(doc, schema.load("manifest"), "manifest", ()))
    if config is not None:
        name = registry.config_schema(doc.value["kind"])
        inside = _walk(config, schema.load(name), name, ())
        prefix = "" if config.prefix else "config."
        found += [Setting(prefix + one.path, one.value, one.origin) for one in inside]
    return found


def _walk(doc: Document, branch: Mapping[str, Any], name: str, path: Path) -> Iterator[Setting]:
    value = _at(doc.value, path)
    for key, part in branch.get("properties", {}).items():
        below = schema.resolved(part, name)
        here = (*path, key)
        if key.endswith(_SETTINGS) and key not in value and key.removesuffix(_SETTINGS) not in _methods(value):
            continue  # the defaults of a method that is not used
        if path == () and key == "config":
            if isinstance(value.get(key), str):
                yield _setting(doc, here, value[key])
        elif "properties" in below and isinstance(value.get(key, {}), dict):
            # An absent part that could not stand without more says nothing.
            if key in value or not (below.get("required") or below.get("minProperties")):
                yield from _walk(doc, below, name, here)
        elif key in value:
            yield _setting(doc, here, value[key])
        elif "default" in below:
            yield Setting(document.dotted((*doc.prefix, *here)), document.flow(below["default"]), DEFAULT)


def _methods(inference: Mapping[str, Any]) -> tuple[str, ...]:
    """The methods that an inference uses."""
    method = inference.get("method", "nuts")
    return (method, *STAGES.get(method, ()))


def _setting(doc: Document, path: Path, value: Any) -> Setting:
    source, line = doc.origin(path)
    return Setting(document.dotted((*doc.prefix, *path)), document.flow(value), f"{source}:{line}" if line else source)


def _at(value: Any, path: Path) -> Mapping[str, Any]:
    for key in path:
        value = value.get(key, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, dict) else {}
